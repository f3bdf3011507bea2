/** What codes stand for as 8-bit integers, where they do. */

import { decodeCode, formatBits, intRange, type NumberFormat } from "../../../compiler/numeric/number_format.ts";
import type { QuantizedMatrix } from "./matrix.ts";
import type { Entries } from "./packed.ts";
import type { Declined } from "./problem.ts";

export interface PackedEntries {
  readonly form: Entries;
  /** Subtracted from codes and zero points, so that they start from 0. */
  readonly low: number;
  /** Largest magnitude of an entry. */
  readonly largest: number;
  /** Entries are values times 2 to this power. */
  readonly scaleBits: number;
}

/** Most bits that a value is raised by to make it an integer. */
const mostScaleBits = 6;

const fitsByte = (value: number): boolean => Number.isInteger(value) && value >= -128 && value <= 127;

/** Values of a format's codes times the least power of two that makes them all integers; undefined where they leave 8 bits. */
export function integerTable(
  format: NumberFormat,
): { readonly values: readonly number[]; readonly scaleBits: number } | undefined {
  // More codes than that take more pieces of a table than they are worth.
  if (format.kind !== "minifloat" || formatBits(format) > 6) return undefined;
  const values = Array.from({ length: 2 ** formatBits(format) }, (_, code) => decodeCode(format, code));
  for (let scaleBits = 0; scaleBits <= mostScaleBits; scaleBits++) {
    const raised = values.map((value) => value * 2 ** scaleBits);
    if (raised.every(Number.isInteger)) return raised.every(fitsByte) ? { values: raised, scaleBits } : undefined;
  }
  return undefined;
}

export function packedEntries(matrix: QuantizedMatrix, format: NumberFormat): PackedEntries | Declined {
  if (format.kind === "int") return integerEntries(matrix, intRange(format).min);
  const table = integerTable(format);
  if (table === undefined) return { declined: "values that are no 8-bit integers" };
  if (matrix.zeros !== undefined || matrix.outerStep !== undefined) {
    return { declined: "zero points or two-level steps of codes that are no integers" };
  }
  const largest = Math.max(...table.values.map(Math.abs));
  return { form: { kind: "table", values: table.values }, low: 0, largest, scaleBits: table.scaleBits };
}

/** (code - zero), times the inner step of two levels, in 8 bits; with inner steps code and zero times the step as well. */
function integerEntries(matrix: QuantizedMatrix, low: number): PackedEntries | Declined {
  const { view, codes, steps, zeros, outerStep, stepIndex, block } = matrix;
  const twoLevel = outerStep !== undefined;
  const [first] = zeros ?? [0];
  const zero = zeros === undefined ? -low : zeros.every((one) => one === first) ? first - low : "column";
  let largest = 1;
  for (let column = 0; column < view.columns; column++) {
    for (let k = 0; k < view.depth; k++) {
      const index = stepIndex(Math.floor(k / block), column);
      const inner = twoLevel ? steps[index] : 1;
      const code = codes[k * view.depthStride + column * view.columnStride] - low;
      const own = (zeros?.[index] ?? 0) - low;
      const entry = (code - own) * inner;
      if (!fitsByte(entry) || own < 0 || own * inner > 255 || code * inner > 255) {
        return { declined: "entries that leave 8 bits" };
      }
      largest = Math.max(largest, Math.abs(entry));
    }
  }
  return { form: { kind: twoLevel ? "twoLevel" : "centred", zero }, low, largest, scaleBits: 0 };
}
