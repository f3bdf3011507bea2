/** What a dynamic quantizer makes of rows of activations: codes and back, by the op that will run. */

import { makeNode } from "../../compiler/ir/build.ts";
import { constantEnvironment, evaluateNode } from "../../compiler/ir/evaluate/mod.ts";
import { isPlain, type PlainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import type { NumberFormat } from "../../compiler/numeric/number_format.ts";
import { perToken, type QuantScheme, type StepFormat } from "../../compiler/numeric/scheme.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { divided, largestMagnitude, tensorScale } from "../quantize/tensor_scale.ts";

export interface RowRounding {
  readonly format: NumberFormat;
  readonly zeroPoint: boolean;
  /** Entries along the last axis that share a step; 0 for the whole row. */
  readonly block: number;
  readonly step: StepFormat;
}

/** The scheme of a dynamic quantizer over rows of this rank; blocks reach no further than the row. */
export function rowScheme({ format, zeroPoint, block, step }: RowRounding, rank: number, extent: number): QuantScheme {
  const inner = block === 0 || block >= extent ? "all" : block;
  const leading = perToken(rank).slice(0, -1);
  return { format, block: [...leading, inner], step, zeroPoint, range: "dynamic" };
}

/** Every tensor rounded and decoded. Two-level steps take the scale of all tensors together. */
export function roundRows(
  tensors: readonly PlainTensor<"f32">[],
  rounding: RowRounding | undefined,
): readonly PlainTensor<"f32">[] {
  if (rounding === undefined) return tensors;
  const largest = tensors.reduce((most, { data }) => Math.max(most, largestMagnitude(data)), 0);
  const scale = tensorScale(rounding.format, rounding.step, largest);
  return tensors.map((x) => {
    const rank = x.shape.length;
    const scheme = rowScheme(rounding, rank, x.shape[rank - 1]);
    const codes = apply(makeNode("quantize", ["x"], ["q"], { scheme }, []), divided(x, scale));
    const decoded = apply(makeNode("dequantize", ["q"], ["y"], {}, []), codes);
    if (!isPlain(decoded, "f32")) throw new InvariantError("f32 rows decode to f32");
    return divided(decoded, 1 / scale);
  });
}

function apply(node: ReturnType<typeof makeNode>, operand: Tensor): Tensor {
  const [result] = evaluateNode(node, [operand], constantEnvironment({ get: () => operand }));
  return result;
}
