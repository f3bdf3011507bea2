/** Compares an output with its expected tensor. */

import { decodeBf16, type ElementType, isFloat } from "../../compiler/numeric/element.ts";
import type { PlainTensor, Tensor } from "../../compiler/ir/tensor.ts";

/** |actual - expected| may be up to `absolute + relative * |expected|`. */
export interface Tolerance {
  readonly relative: number;
  readonly absolute: number;
}

/** The tolerance of the ONNX backend test suite, which its data were made for. */
export const onnxTolerance: Tolerance = { relative: 1e-3, absolute: 1e-7 };

/**
 * The tolerance of a float element. Expected halves were computed in halves, step by step: two of them may lie a few
 * units in the last place (2^-10 of a float16, 2^-7 of a bfloat16) apart where the suite's relative one allows one.
 */
export function toleranceOf(element: ElementType): Tolerance {
  switch (element) {
    case "f16":
      return { relative: 2 * 2 ** -10, absolute: onnxTolerance.absolute };
    case "bf16":
      return { relative: 2 * 2 ** -7, absolute: onnxTolerance.absolute };
    default:
      return onnxTolerance;
  }
}

/** What is wrong with `actual`, in one line; undefined when it agrees. Integers and booleans must be equal. */
export function difference(
  actual: Tensor | undefined,
  expected: PlainTensor,
  tolerance: Tolerance = toleranceOf(expected.element),
): string | undefined {
  if (actual === undefined) return "is missing";
  if (actual.kind !== "plain") return "is quantized";
  if (actual.element !== expected.element) return `is ${actual.element}, wanted ${expected.element}`;
  if (String(actual.shape) !== String(expected.shape)) {
    return `has the shape [${actual.shape}], wanted [${expected.shape}]`;
  }
  let wrong = 0;
  let first = "";
  for (let index = 0; index < expected.data.length; index++) {
    const [got, wanted] = [entry(actual, index), entry(expected, index)];
    if (agrees(got, wanted, expected.element, tolerance)) continue;
    if (wrong === 0) first = `entry ${index} is ${got}, wanted ${wanted}`;
    wrong++;
  }
  return wrong === 0 ? undefined : `${wrong} of ${expected.data.length} entries differ: ${first}`;
}

function entry(tensor: PlainTensor, index: number): number | bigint {
  const value = tensor.data[index];
  return tensor.element === "bf16" ? decodeBf16(Number(value)) : value;
}

function agrees(got: number | bigint, wanted: number | bigint, element: ElementType, tolerance: Tolerance): boolean {
  if (!isFloat(element)) return got === wanted;
  const [x, y] = [Number(got), Number(wanted)];
  if (Number.isNaN(y)) return Number.isNaN(x);
  if (!Number.isFinite(y)) return x === y;
  return Math.abs(x - y) <= tolerance.absolute + tolerance.relative * Math.abs(y);
}
