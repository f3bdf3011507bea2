/** Compares an output with its expected tensor. */

import { decodeBf16, type ElementType, isFloat } from "../../compiler/numeric/element.ts";
import type { PlainTensor, Tensor } from "../../compiler/ir/tensor.ts";

/** |actual - expected| may be up to `absolute + relative * |expected|`, and up to `ofLargest` times the largest one. */
export interface Tolerance {
  readonly relative: number;
  readonly absolute: number;
  readonly ofLargest: number;
}

/** The tolerance of the ONNX backend test suite, which its data were made for. */
export const onnxTolerance: Tolerance = { relative: 1e-3, absolute: 1e-7, ofLargest: Infinity };

/** Roundings of a formula beside those of its sums: a softmax of a scaled product, a cell of a recurrent net. */
const formulaRoundings = 16;

/**
 * The tolerance of a float element. f32 and f64: the suite's own and, over the whole output, one rounding (2^-24, 2^-53)
 * for each of the up to `terms` summands of an entry and for each operation of the formula. Expected halves were computed
 * in halves, step by step: they may lie two units in the last place (2^-10 of a float16, 2^-7 of a bfloat16) off.
 */
export function toleranceOf(element: ElementType, terms: number): Tolerance {
  const { absolute, relative } = onnxTolerance;
  switch (element) {
    case "f16":
      return { ...onnxTolerance, relative: 2 * 2 ** -10 };
    case "bf16":
      return { ...onnxTolerance, relative: 2 * 2 ** -7 };
    case "f64":
      return { absolute, relative, ofLargest: (formulaRoundings + terms) * 2 ** -53 };
    default:
      return { absolute, relative, ofLargest: (formulaRoundings + terms) * 2 ** -24 };
  }
}

/** What is wrong with `actual`, in one line; undefined when it agrees. Integers and booleans must be equal. */
export function difference(
  actual: Tensor | undefined,
  expected: PlainTensor,
  tolerance: Tolerance,
): string | undefined {
  if (actual === undefined) return "is missing";
  if (actual.kind !== "plain") return "is quantized";
  if (actual.element !== expected.element) return `is ${actual.element}, wanted ${expected.element}`;
  if (String(actual.shape) !== String(expected.shape)) {
    return `has the shape [${actual.shape}], wanted [${expected.shape}]`;
  }
  const slack = tolerance.ofLargest === Infinity ? Infinity : tolerance.ofLargest * largestOf(expected);
  let wrong = 0;
  let first = "";
  for (let index = 0; index < expected.data.length; index++) {
    const [got, wanted] = [entry(actual, index), entry(expected, index)];
    if (agrees(got, wanted, expected.element, tolerance, slack)) continue;
    if (wrong === 0) first = `entry ${index} is ${got}, wanted ${wanted}`;
    wrong++;
  }
  return wrong === 0 ? undefined : `${wrong} of ${expected.data.length} entries differ: ${first}`;
}

/** The largest finite magnitude. */
function largestOf(tensor: PlainTensor): number {
  let largest = 0;
  for (let index = 0; index < tensor.data.length; index++) {
    const magnitude = Math.abs(Number(entry(tensor, index)));
    if (Number.isFinite(magnitude)) largest = Math.max(largest, magnitude);
  }
  return largest;
}

function entry(tensor: PlainTensor, index: number): number | bigint {
  const value = tensor.data[index];
  return tensor.element === "bf16" ? decodeBf16(Number(value)) : value;
}

function agrees(
  got: number | bigint,
  wanted: number | bigint,
  element: ElementType,
  { absolute, relative }: Tolerance,
  slack: number,
): boolean {
  if (!isFloat(element)) return got === wanted;
  const [x, y] = [Number(got), Number(wanted)];
  if (Number.isNaN(y)) return Number.isNaN(x);
  if (!Number.isFinite(y)) return x === y;
  const distance = Math.abs(x - y);
  return distance <= absolute + relative * Math.abs(y) && distance <= absolute + slack;
}
