/** The arrays of a model's border: graph inputs and outputs, or the parts of quantized ones. */

import type { ElementType } from "../../compiler/numeric/element.ts";
import type { Extent } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";
import { partsOfType } from "./parts.ts";

/** One array of a graph's inputs or outputs. */
export interface BorderPart {
  readonly name: string;
  readonly value: ValueName;
  readonly part: TensorRole;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
}

export interface Borders {
  readonly inputs: readonly BorderPart[];
  readonly outputs: readonly BorderPart[];
}

/** Numbers go by the name of the input or output itself, what belongs to them by `name.steps` and the like. */
export function bordersOf(graph: Graph): Borders {
  const partsOf = (entry: { readonly name: string; readonly value: ValueName }): readonly BorderPart[] =>
    partsOfType(typeOf(graph, entry.value)).map((type) => ({
      ...type,
      name: portName(entry.name, type.part),
      value: entry.value,
    }));
  return { inputs: graph.inputs.flatMap(partsOf), outputs: graph.outputs.flatMap(partsOf) };
}

/** The name of one array of an input or output. */
export function portName(name: string, part: TensorRole): string {
  return part === "data" || part === "codes" ? name : `${name}.${part}`;
}
