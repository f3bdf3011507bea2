/** Places constants in weights.bin, in the order in which kernels first read them, each once. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import { bytesOf } from "../../compiler/numeric/element.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { tensorParts, type TensorRole } from "../../compiler/ir/tensor.ts";
import type { WeightEntry } from "../target.ts";
import { alignUp } from "./memory.ts";
import type { PackedWeights } from "./packed_weights.ts";
import { partKey } from "./parts.ts";
import type { StorageOf } from "./storage.ts";

/** Weights start on cache lines. */
const weightAlignment = 64;

/** What kernels read of constants. */
export type WeightOperand =
  | { readonly kind: "value"; readonly value: ValueName; readonly part: TensorRole }
  | { readonly kind: "weights"; readonly weights: PackedWeights };

/** Entries of weights.bin for the operands that are constants; `before` are those that lie there already. */
export function placeWeights(
  graph: Graph,
  operands: Iterable<WeightOperand>,
  storage: StorageOf,
  before: readonly WeightEntry[] = [],
): readonly WeightEntry[] {
  const placed = new Map(before.map((entry) => [entry.key, entry]));
  let end = weightsEnd(before);
  const place = (key: string, value: ValueName, layout: string, make: () => Uint8Array<ArrayBuffer>) => {
    if (placed.has(key)) return;
    const bytes = make();
    const offset = alignUp(end, weightAlignment);
    placed.set(key, { key, value, layout, offset, bytes });
    end = offset + bytes.byteLength;
  };
  for (const operand of operands) {
    if (operand.kind === "weights") {
      const { key, value, layout, pack } = operand.weights;
      place(key, value, layout, pack);
      continue;
    }
    const found = storage(operand.value, operand.part);
    if (found.kind !== "constant") continue;
    const { hash, part } = found;
    place(partKey(hash, part), operand.value, part, () => constantBytes(graph, hash, part));
  }
  return [...placed.values()];
}

/** Bytes of weights.bin. */
export function weightsEnd(weights: readonly WeightEntry[]): number {
  return weights.reduce((end, { offset, bytes }) => Math.max(end, offset + bytes.byteLength), 0);
}

function constantBytes(graph: Graph, hash: string, part: TensorRole): Uint8Array<ArrayBuffer> {
  const found = tensorParts(graph.constants.get(hash)).find(({ role }) => role === part);
  if (found === undefined) throw new InvariantError(`Constant ${hash} has no ${part}`);
  return bytesOf(found.tensor.data);
}
