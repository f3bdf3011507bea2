/** Fits steps and zero points to blocks of weights, and encodes them: round to nearest, with a search over clipping. */

import { roundHalfEven } from "../../compiler/numeric/element.ts";
import { float32Encoder } from "../../compiler/numeric/float32_encoder.ts";
import {
  decodeCode,
  formatBits,
  formatMax,
  type IntFormat,
  intRange,
  type NumberFormat,
} from "../../compiler/numeric/number_format.ts";

/** Step and zero point of one block. `zero` is 0 where the scheme has none. */
export interface BlockFit {
  readonly step: number;
  readonly zero: number;
}

export interface FitOptions {
  readonly format: NumberFormat;
  readonly zeroPoint: boolean;
  /** `none`: the range of the block. `search`: the clipped range with the least squared error. */
  readonly clip: "none" | "search";
  /** Rounds a step to its storage format. */
  readonly roundStep: (step: number) => number;
  /** The step of a block whose largest magnitude this is, when nothing is clipped; largest / formatMax when absent. */
  readonly wholeStep?: (largest: number) => number;
}

/**
 * Shrinking factors that a search tries, in steps of 0.02. The best reach for a normal is 2.5 sigma at 4 bits and 1.05 at
 * 2 bits, of a largest entry of up to 5 sigma: codes of 4 bits and more stop at 0.4 of the range, narrower ones at 0.14.
 */
const wideShrinks: readonly number[] = Array.from({ length: 31 }, (_, index) => 1 - index * 0.02);
const narrowShrinks: readonly number[] = Array.from({ length: 44 }, (_, index) => 1 - index * 0.02);

function shrinksFor(format: NumberFormat): readonly number[] {
  return formatBits(format) >= 4 ? wideShrinks : narrowShrinks;
}

/** The fit of one block of real weights. */
export function fitBlock(values: Float32Array, options: FitOptions): BlockFit {
  if (options.zeroPoint && options.format.kind === "int") return fitAsymmetric(values, options.format, options);
  return fitSymmetric(values, options);
}

function fitSymmetric(values: Float32Array, options: FitOptions): BlockFit {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return { step: 1, zero: 0 };
  const whole = usableStep(options.wholeStep?.(largest) ?? options.roundStep(largest / formatMax(options.format)));
  if (options.clip === "none") return { step: whole, zero: 0 };
  let best = { step: whole, zero: 0 };
  let bestError = squaredError(values, best, options.format);
  for (const shrink of shrinksFor(options.format)) {
    const candidate = { step: usableStep(options.roundStep(shrink * largest / formatMax(options.format))), zero: 0 };
    const error = squaredError(values, candidate, options.format, bestError);
    if (error < bestError) [best, bestError] = [candidate, error];
  }
  return refined(values, best, bestError, options);
}

/** A range [low, high] that holds zero gives the step and the zero point that stands for 0. */
function rangeFit(low: number, high: number, format: IntFormat, roundStep: FitOptions["roundStep"]): BlockFit {
  const { min, max } = intRange(format);
  if (high <= low) return { step: 1, zero: Math.min(max, Math.max(min, 0)) };
  const step = usableStep(roundStep((high - low) / (max - min)));
  return { step, zero: Math.min(max, Math.max(min, roundHalfEven(min - low / step))) };
}

function fitAsymmetric(values: Float32Array, format: IntFormat, options: FitOptions): BlockFit {
  let low = 0;
  let high = 0;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  let best = rangeFit(low, high, format, options.roundStep);
  if (options.clip === "none" || high === low) return best;
  let bestError = squaredError(values, best, format);
  let ends = { low: 1, high: 1 };
  // Two rounds of one search along each end find the pair: the error is nearly separable in the two ends.
  for (let round = 0; round < 2; round++) {
    for (const end of ["low", "high"] as const) {
      for (const shrink of shrinksFor(format)) {
        const tried = { ...ends, [end]: shrink };
        const candidate = rangeFit(tried.low * low, tried.high * high, format, options.roundStep);
        const error = squaredError(values, candidate, format, bestError);
        if (error < bestError) [best, bestError, ends] = [candidate, error, tried];
      }
    }
  }
  return refined(values, best, bestError, options);
}

/** Alternates the least-squares step of the codes with the codes of the step: <w, q> / <q, q>. */
function refined(values: Float32Array, start: BlockFit, startError: number, options: FitOptions): BlockFit {
  let best = start;
  let bestError = startError;
  for (let round = 0; round < 4; round++) {
    let dot = 0;
    let square = 0;
    for (const value of values) {
      const code = decodeCode(options.format, encodeWith(value, best, options.format)) - best.zero;
      dot += value * code;
      square += code * code;
    }
    if (square === 0 || dot <= 0) return best;
    const candidate = { step: usableStep(options.roundStep(dot / square)), zero: best.zero };
    const error = squaredError(values, candidate, options.format, bestError);
    if (!(error < bestError)) return best;
    [best, bestError] = [candidate, error];
  }
  return best;
}

/** Adding and taking away 1.5 * 2^52 rounds a double below 2^51 to an integer, ties to even. */
const integerShift = 1.5 * 2 ** 52;

function integerError(values: Float32Array, { step, zero }: BlockFit, format: IntFormat, limit: number): number {
  const range = intRange(format);
  const [low, high] = [range.min - zero, range.max - zero];
  const inverse = 1 / step;
  let sum = 0;
  for (let index = 0; index < values.length; index++) {
    const rounded = Math.min(high, Math.max(low, values[index] * inverse)) + integerShift - integerShift;
    const difference = values[index] - rounded * step;
    sum += difference * difference;
    if (sum >= limit) return sum;
  }
  return sum;
}

/** A step that rounded to zero in its storage format would decode every code to zero and divide by zero: take 1. */
function usableStep(step: number): number {
  return step > 0 && Number.isFinite(step) ? step : 1;
}

/**
 * The code of a weight: clamp(round(w / step) + zero), all in f32 as the quantize op computes it. `range` narrows the codes
 * of an integer format.
 */
export function encodeWith(
  value: number,
  fit: BlockFit,
  format: NumberFormat,
  range?: { readonly min: number; readonly max: number },
): number {
  const scaled = Math.fround(value / fit.step);
  if (format.kind !== "int") return float32Encoder(format)(scaled);
  const { min, max } = range ?? intRange(format);
  return Math.min(max, Math.max(min, roundHalfEven(scaled) + fit.zero));
}

function squaredError(values: Float32Array, fit: BlockFit, format: NumberFormat, limit = Infinity): number {
  if (format.kind === "int") return integerError(values, fit, format, limit);
  let sum = 0;
  for (const value of values) {
    const decoded = (decodeCode(format, encodeWith(value, fit, format)) - fit.zero) * fit.step;
    sum += (value - decoded) ** 2;
    if (sum >= limit) return sum;
  }
  return sum;
}
