/** Rotations on the real decoders, as every importer gives them: the float function stays the same. */

import assert from "node:assert/strict";
import { importModel } from "../../compiler/import/mod.ts";
import type { ImportOptions } from "../../compiler/import/model.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { isPlain, type Tensor } from "../../compiler/ir/tensor.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { preparation } from "../../passes/mod.ts";
import { foldNormGain } from "../../passes/transform/fold_norm_gain.ts";
import { rotate } from "../../passes/transform/rotate.ts";
import { maxRelativeDifference } from "../support/compare.ts";
import { sharedTest } from "../support/models.ts";
import { verifiedGraph } from "../support/onnx_check.ts";
import { prefillInputs } from "../support/prefill.ts";

const prompt = 32;

const own = { seq: { min: 1, max: prompt } };
const exported = { sequence_length: prompt, past_sequence_length: 0 };
const dynamo = { ...exported, total_sequence_length: prompt };

const decoders: readonly (readonly [string, ImportOptions["bind"]])[] = [
  ["stories260k", own],
  ["gguf-stories260k/stories260k.f16.gguf", own],
  ["lm-stories260k/optimum/model.onnx", exported],
  ["lm-stories260k/torch-dynamo-opset18/model.onnx", dynamo],
  ["lm-stories260k/torch-dynamo-opset23/model.onnx", dynamo],
];

/**
 * Five layers of some 20 roundings of 2^-24, amplified by norms and softmax some tens of times: 2^-24 · 100 · 32 is below
 * 2e-4. Balanced transforms amplify no more: the product of norms that rounding is relative to is what they minimize.
 */
const bound = 2e-4;

/** Options, and the least number of places that they find in five layers. */
const kinds: readonly (readonly [Readonly<Record<string, Json>>, number])[] = [
  [{ outputs: "heads", down: "hadamard", keys: "hadamard" }, 6],
  [{ residual: "klt", heads: "klt", outputs: "hadamard", down: "klt" }, 6],
  [{ heads: "balanced", down: "balanced" }, 6],
  [{ norms: "kronecker", outputs: "kronecker", down: "kronecker" }, 15],
  [{ norms: "dense", outputs: "dense", down: "dense" }, 15],
];

function logitsOf(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Float32Array {
  const { logits } = evaluateGraph(graph, inputs).outputs;
  assert.ok(isPlain(logits, "f32"));
  return logits.data;
}

async function preparedGraph(file: string, bind: ImportOptions["bind"]): Promise<Graph> {
  let graph = verifiedGraph(await importModel(file, { bind }));
  for (const pass of preparation) ({ graph } = await pass.run(graph, plainContext()));
  return graph;
}

for (const [decoder, bind] of decoders) {
  sharedTest(
    `${decoder}: rotations of every kind keep the float function`,
    [decoder, "lm-stories260k/expected.json"],
    async (
      [file, expected],
    ) => {
      const promptIds: readonly number[] = JSON.parse(Deno.readTextFileSync(expected)).prompt_ids.slice(0, prompt);
      const graph = await preparedGraph(file, bind);
      const inputs = prefillInputs(graph, promptIds);
      const reference = logitsOf(graph, inputs);
      const folded = await foldNormGain.run(graph, plainContext());
      for (const [options, places] of kinds) {
        const { graph: rotated, metrics } = await rotate.run(folded.graph, {
          ...plainContext(options),
          seed: 3,
          calibration: [inputs],
        });
        const moved = maxRelativeDifference(reference, logitsOf(rotated, inputs));
        assert.ok(metrics.rotated >= places, `${JSON.stringify(options)} found ${metrics.rotated} places`);
        assert.ok(moved < bound, `${JSON.stringify(options)} moves the logits by ${moved}`);
      }
    },
  );
}
