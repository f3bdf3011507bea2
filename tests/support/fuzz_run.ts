/** Runs what fuzzed importers let through: a graph that verifies must also compute. */

import assert from "node:assert/strict";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { evaluateShape, shapeBound } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { emptyTensor, sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import { verify } from "../../compiler/ir/verify.ts";

/** Larger graphs would take the time of many cases. */
const largestValue = 200_000;

/** Asserts that a graph has no faults and, where it is small, that it computes outputs of its declared shapes from zeros. */
export function assertRuns(graph: Graph): void {
  assert.deepEqual(verify(graph), []);
  const sizes = [...graph.types.values()].map((type) => sizeOf(shapeBound(type.shape, graph.symbols)));
  if (sizes.some((size) => size > largestValue)) return;
  const symbols = Object.fromEntries(Object.entries(graph.symbols).map(([name, range]) => [name, range.min]));
  const inputs = graph.inputs.map(({ name, value }): [string, Tensor] => {
    const type = typeOf(graph, value);
    return [name, emptyTensor(type.element, evaluateShape(type.shape, symbols))];
  });
  const { outputs } = evaluateGraph(graph, Object.fromEntries(inputs));
  for (const { name, value } of graph.outputs) {
    assert.deepEqual([...outputs[name].shape], evaluateShape(typeOf(graph, value).shape, symbols));
  }
}
