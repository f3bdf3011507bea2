/** Finds the weights of layers. */

import { fail } from "../../../diagnostics.ts";
import type { ConstantStore } from "../../../ir/constants.ts";
import type { PlainTensor, Tensor } from "../../../ir/tensor.ts";
import { decoded } from "../constants.ts";
import type { TfWeight } from "../weights.ts";

/** The weights of a model by layer and parameter. */
export interface LayerWeights {
  /** A weight as the file holds it, quantized or not. Throws a DiagnosticError (Q0463) when there is none. */
  stored(layer: string, parameter: string): Tensor;
  /** A weight with its codes decoded. */
  plain(layer: string, parameter: string): PlainTensor;
}

/** `layer/parameter`, or the one name that ends so below the scopes of an enclosing model. */
export function layerWeights(weights: ReadonlyMap<string, TfWeight>, constants: ConstantStore): LayerWeights {
  const bySuffix = new Map<string, string[]>();
  for (const name of weights.keys()) {
    const suffix = name.split("/").slice(-2).join("/");
    bySuffix.set(suffix, [...bySuffix.get(suffix) ?? [], name]);
  }
  const stored = (layer: string, parameter: string): Tensor => {
    const name = `${layer}/${parameter}`;
    const scoped = bySuffix.get(name) ?? [];
    const found = weights.get(name) ?? (scoped.length === 1 ? weights.get(scoped[0]) : undefined);
    if (found === undefined) return fail("Q0463", `Weight "${name}" is missing`, { node: layer });
    if (found.kind === "strings") return fail("Q0463", `Weight "${name}" holds strings`, { node: layer });
    return found.tensor;
  };
  return { stored, plain: (layer, parameter) => decoded(stored(layer, parameter), constants) };
}
