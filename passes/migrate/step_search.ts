/** Static grids of activations from sampled rows: the range, or the clipped range with the least squared error. */

import { roundHalfEven } from "../../compiler/numeric/element.ts";
import type { RowSample } from "./collect_rows.ts";

export interface StepOptions {
  /** Largest code: 2^(bits-1) - 1. Codes reach one further below zero. */
  readonly top: number;
  readonly clip: "none" | "search";
  /** Without it the middle of the range takes the middle code, by a zero point. */
  readonly symmetric: boolean;
}

/** x ≈ (code - zero) · step, code = clamp(round(x / step + zero), -top - 1, top). */
export interface Grid {
  readonly step: number;
  readonly zero: number;
}

/** Shrinking factors of the range that a search tries. */
const shrinks: readonly number[] = Array.from({ length: 36 }, (_, index) => 1 - index * 0.02);

/** A channel that calibration never saw move still needs a step: this one maps it to zero. */
const leastStep = 1e-5;

/** One grid per channel: column j of the rows belongs to `channels[j]`; tied columns are searched together. */
export function channelGrids(
  rows: RowSample,
  channels: Int32Array,
  count: number,
  options: StepOptions,
): readonly Grid[] {
  const columns: number[][] = Array.from({ length: count }, () => []);
  channels.forEach((channel, column) => columns[channel].push(column));
  return columns.map((group) => searchGrid(gather(rows, group), options));
}

/** One grid for all entries. */
export function tensorGrid(rows: RowSample, options: StepOptions): Grid {
  return searchGrid(rows.data, options);
}

function gather(rows: RowSample, columns: readonly number[]): Float32Array {
  const values = new Float32Array(rows.count * columns.length);
  let place = 0;
  for (let row = 0; row < rows.count; row++) {
    for (const column of columns) values[place++] = rows.data[row * rows.columns + column];
  }
  return values;
}

function searchGrid(values: Float32Array, { top, clip, symmetric }: StepOptions): Grid {
  let [low, high] = [0, 0];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const gridOf = (shrink: number): Grid => {
    if (symmetric) return { step: Math.max(leastStep, shrink * Math.max(-low, high) / top), zero: 0 };
    const step = Math.max(leastStep, shrink * (high - low) / (2 * top + 1));
    return { step, zero: Math.max(-top - 1, Math.min(top, roundHalfEven(-0.5 - (low + high) / (2 * step)))) };
  };
  const whole = gridOf(1);
  if (clip === "none" || high === low) return whole;
  let best = whole;
  let bestError = Infinity;
  for (const shrink of shrinks) {
    const grid = gridOf(shrink);
    const error = squaredError(values, grid, top, bestError);
    if (error < bestError) [best, bestError] = [grid, error];
  }
  return best;
}

function squaredError(values: Float32Array, { step, zero }: Grid, top: number, limit: number): number {
  let sum = 0;
  for (const value of values) {
    const code = Math.max(-top - 1, Math.min(top, roundHalfEven(value / step + zero)));
    sum += (value - (code - zero) * step) ** 2;
    if (sum >= limit) return sum;
  }
  return sum;
}

/** Steps of 3 to 8 bits for a normal variable of variance 1 with the least squared error, codes from -2^(b-1) to 2^(b-1) - 1. */
const normalSteps: Readonly<Record<number, number>> = {
  3: 0.60182,
  4: 0.33861,
  5: 0.18879,
  6: 0.10418,
  7: 0.05689,
  8: 0.03077,
};

/** The step of a normal variable of the given root mean square. */
export function normalStep(bits: number, rms: number): number {
  return normalSteps[bits] * rms;
}
