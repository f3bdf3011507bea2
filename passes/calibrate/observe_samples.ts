/** Runs the float reference over samples and shows what chosen values hold. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { isPlain, type PlainTensor } from "../../compiler/ir/tensor.ts";
import { graphUpTo } from "../../compiler/reference/graph_up_to.ts";
import { FloatReference } from "../../compiler/reference/tfjs.ts";
import type { CalibrationData } from "../../compiler/rewrite/pass.ts";

/** Calls `see` with every wanted value that is f32, sample after sample; what follows the last of them is not computed. */
export async function observeSamples(
  graph: Graph,
  samples: CalibrationData,
  isWanted: (value: ValueName) => boolean,
  see: (value: ValueName, tensor: PlainTensor<"f32">) => void,
  onProgress?: (fraction: number) => void,
): Promise<void> {
  const reference = await FloatReference.create(graphUpTo(graph, isWanted));
  try {
    samples.forEach((sample, index) => {
      reference.run(sample, {
        observe: (value, read) => {
          if (!isWanted(value)) return;
          const tensor = read();
          if (isPlain(tensor, "f32")) see(value, tensor);
        },
      });
      onProgress?.((index + 1) / samples.length);
    });
  } finally {
    reference.dispose();
  }
}
