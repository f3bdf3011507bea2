/** Codes of quantized tensors as numbers: centred values, decoded reals, nearest codes. */

import { isFloat } from "../../numeric/element.ts";
import { decodeCode, formatBits, intRange, type NumberFormat } from "../../numeric/number_format.ts";
import { encodeValue } from "../../numeric/number_format.ts";
import { outerScheme, type QuantScheme } from "../../numeric/scheme.ts";
import { float32Encoder } from "../../numeric/float32_encoder.ts";
import { type PlainTensor, plainTensor, type QuantizedTensor } from "../tensor.ts";
import type { Rows } from "./dot.ts";
import { numberData, storeNumbers } from "./numbers.ts";
import { stepGrid } from "./step_grid.ts";

/** Values of all codes of a format that is not an integer, by code. */
const tables = new Map<NumberFormat, Float64Array>();

function valueTable(format: NumberFormat): Float64Array {
  let table = tables.get(format);
  if (table === undefined) {
    const count = format.kind === "codebook" ? format.values.length : 2 ** formatBits(format);
    table = Float64Array.from({ length: count }, (_, code) => decodeCode(format, code));
    tables.set(format, table);
  }
  return table;
}

/** value(code) of every entry, in f32 where that is exact. */
function codeValues(tensor: QuantizedTensor): Rows {
  const codes = numberData(tensor.codes.data);
  const { format } = tensor.scheme;
  // A difference of two codes of at most 23 bits is an integer below 2^24, which f32 holds exactly.
  const values = formatBits(format) <= 23 ? new Float32Array(codes.length) : new Float64Array(codes.length);
  if (format.kind === "int") {
    values.set(codes);
  } else {
    const table = valueTable(format);
    for (let index = 0; index < codes.length; index++) values[index] = table[codes[index]];
  }
  return values;
}

/**
 * What a contraction multiplies: value(code) - zero of every entry, times the inner step where steps have two levels. Exact
 * integers for integer formats (with integer inner steps), f32 for the others.
 */
export function centredValues(tensor: QuantizedTensor): Rows {
  const values = codeValues(tensor);
  const zeros = tensor.zeros?.data;
  const inner = tensor.outerSteps === undefined ? undefined : tensor.steps.data;
  if (zeros === undefined && inner === undefined) return values;
  const { rows, columns, rowStep, columnStep } = stepGrid(tensor.scheme, tensor.shape);
  for (let row = 0, at = 0; row < rows; row++) {
    const base = rowStep[row];
    if (zeros !== undefined) {
      for (let column = 0; column < columns; column++) values[at + column] -= zeros[base + columnStep[column]];
    }
    if (inner !== undefined) scaleRow(values, at, columns, base, columnStep, inner);
    at += columns;
  }
  return values;
}

/** The steps that stand before a contraction's sums: the outer ones where steps have two levels. */
export function contractionSteps(tensor: QuantizedTensor): {
  readonly scheme: QuantScheme;
  readonly steps: Float32Array<ArrayBuffer>;
} {
  const { scheme, outerSteps, steps } = tensor;
  return { scheme: outerScheme(scheme), steps: (outerSteps ?? steps).data };
}

/** (value(code) - zero) * step, then * outer step or + offset, of every entry; each operation in f32. */
export function decodeTensor(tensor: QuantizedTensor): Float32Array<ArrayBuffer> {
  const values = centredValues(tensor);
  const real = values instanceof Float32Array ? values : Float32Array.from(values);
  const { scheme, steps } = contractionSteps(tensor);
  const offsets = tensor.offsets?.data;
  const { rows, columns, rowStep, columnStep } = stepGrid(scheme, tensor.shape);
  for (let row = 0; row < rows; row++) {
    if (offsets === undefined) scaleRow(real, row * columns, columns, rowStep[row], columnStep, steps);
    else scaleAndShiftRow(real, row * columns, columns, rowStep[row], columnStep, steps, offsets);
  }
  return real;
}

function scaleRow(
  real: Rows,
  start: number,
  columns: number,
  base: number,
  columnStep: Int32Array,
  steps: Float32Array,
): void {
  for (let column = 0; column < columns; column++) real[start + column] *= steps[base + columnStep[column]];
}

function scaleAndShiftRow(
  real: Float32Array,
  start: number,
  columns: number,
  base: number,
  columnStep: Int32Array,
  steps: Float32Array,
  offsets: Float32Array,
): void {
  for (let column = 0; column < columns; column++) {
    const step = base + columnStep[column];
    real[start + column] = Math.fround(real[start + column] * steps[step]) + offsets[step];
  }
}

/** The plain tensor that a quantized one stands for, of its real element. */
export function decodedTensor(tensor: QuantizedTensor): PlainTensor {
  const values = decodeTensor(tensor);
  if (tensor.element === "f32") return plainTensor("f32", tensor.shape, values);
  const whole = isFloat(tensor.element) ? new Float64Array(values) : Float64Array.from(values, Math.trunc);
  return storeNumbers(tensor.element, tensor.shape, whole);
}

/** The code nearest to `quotient` (in steps, a float32) after the zero point is added. */
export function encodeQuotient(format: NumberFormat, quotient: number, zero: number): number {
  if (format.kind !== "int") {
    // Adding a zero point of 0 turns -0 into 0.
    return zero === 0 ? float32Encoder(format)(quotient + 0) : encodeValue(format, quotient + zero);
  }
  const { min, max } = intRange(format);
  return clampCode(quotient, zero, min, max);
}

/** clamp(round(quotient) + zero); NaN counts as 0. */
export function clampCode(quotient: number, zero: number, low: number, high: number): number {
  if (quotient !== quotient) return Math.min(high, Math.max(low, zero));
  // Adding and removing 1.5 * 2^52 rounds to an integer, ties to even, for |quotient| < 2^51; beyond, it clamps anyway.
  const rounded = Math.abs(quotient) < 2 ** 31 ? quotient + 6755399441055744 - 6755399441055744 : quotient;
  return Math.min(high, Math.max(low, rounded + zero));
}
