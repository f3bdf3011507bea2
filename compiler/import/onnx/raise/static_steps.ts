/** Steps and zero points of quantized values that are known at compile time. */

import type { QuantScheme } from "../../../numeric/scheme.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { Tensor } from "../../../ir/tensor.ts";
import type { FoldingBuilder } from "../folding_builder.ts";
import { stepOperands } from "../step_operands.ts";

/** A quantized value's scheme with its numbers, in row-major order of the step shape. */
export interface StaticSteps {
  readonly scheme: QuantScheme;
  readonly steps: readonly number[];
  /** Empty when the scheme has no zero point. */
  readonly zeros: readonly number[];
}

/** The steps of a quantized value; undefined where they are computed at run time or the value is not quantized. */
export function staticSteps(builder: FoldingBuilder, value: ValueName): StaticSteps | undefined {
  const { encoding } = builder.typeOf(value);
  if (encoding.kind !== "quantized" || encoding.scheme.range !== "static") return undefined;
  const { scheme } = encoding;
  const constant = builder.constantOf(value);
  if (constant?.kind === "quantized") {
    if (constant.offsets !== undefined) return undefined;
    return { scheme, steps: Array.from(constant.steps.data), zeros: Array.from(constant.zeros?.data ?? []) };
  }
  const made = builder.producerOf(value);
  const operands = made === undefined ? undefined : stepOperands(made);
  if (operands === undefined || scheme.offset) return undefined;
  const steps = plainNumbers(builder.constantOf(operands.step));
  const zeros = operands.zero === undefined ? [] : plainNumbers(builder.constantOf(operands.zero));
  return steps === undefined || zeros === undefined ? undefined : { scheme, steps, zeros };
}

export function plainNumbers(tensor: Tensor | undefined): readonly number[] | undefined {
  return tensor?.kind === "plain" ? Array.from<number | bigint, number>(tensor.data, Number) : undefined;
}

/** Whether both numbers stand for the same step: computed in different orders, they may differ in the last bits of f32. */
export function isSameStep(x: number, y: number): boolean {
  // Two roundings to f32, each of relative error 2^-24, on either side.
  return Math.abs(x - y) <= 4 * 2 ** -24 * Math.abs(y);
}
