/** Inputs of decoders for a first run. */

import { evaluateShape } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { emptyTensor, plainTensor, sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";

/** The inputs of a first run over a prompt, with nothing cached, by the names that exporters give them. */
export function prefillInputs(graph: Graph, promptIds: readonly number[]): Readonly<Record<string, Tensor>> {
  const symbols = Object.fromEntries(Object.keys(graph.symbols).map((name) => [name, promptIds.length]));
  return Object.fromEntries(graph.inputs.map(({ name, value }) => {
    const { element, shape } = typeOf(graph, value);
    const extents = evaluateShape(shape, symbols);
    const integers = (entry: (index: number) => number) =>
      plainTensor("i64", extents, BigInt64Array.from({ length: sizeOf(extents) }, (_, index) => BigInt(entry(index))));
    switch (name) {
      case "ids":
        return [name, plainTensor("i32", extents, Int32Array.from(promptIds))];
      case "input_ids":
        return [name, integers((index) => promptIds[index])];
      case "attention_mask":
        return [name, integers(() => 1)];
      case "position_ids":
        return [name, integers((index) => index)];
      default:
        return [name, emptyTensor(element, extents)];
    }
  }));
}
