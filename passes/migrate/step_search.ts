/** Static steps of activations from sampled rows: the range, or the clipped range with the least squared error. */

import { roundHalfEven } from "../../compiler/numeric/element.ts";
import type { RowSample } from "./collect_rows.ts";

export interface StepOptions {
  /** Largest code: 2^(bits-1) - 1. Codes reach one further below zero. */
  readonly top: number;
  readonly clip: "none" | "search";
}

/** Shrinking factors of the range that a search tries. */
const shrinks: readonly number[] = Array.from({ length: 36 }, (_, index) => 1 - index * 0.02);

/** A channel that calibration never saw move still needs a step: this one maps it to zero. */
const leastStep = 1e-5;

/** One step per channel: column j of the rows belongs to `channels[j]`; tied columns are searched together. */
export function channelSteps(rows: RowSample, channels: Int32Array, count: number, options: StepOptions): Float64Array {
  const columns: number[][] = Array.from({ length: count }, () => []);
  channels.forEach((channel, column) => columns[channel].push(column));
  return Float64Array.from(columns, (group) => searchStep(gather(rows, group), options));
}

/** One step for all entries. */
export function tensorStep(rows: RowSample, options: StepOptions): number {
  return searchStep(rows.data, options);
}

function gather(rows: RowSample, columns: readonly number[]): Float32Array {
  const values = new Float32Array(rows.count * columns.length);
  let place = 0;
  for (let row = 0; row < rows.count; row++) {
    for (const column of columns) values[place++] = rows.data[row * rows.columns + column];
  }
  return values;
}

function searchStep(values: Float32Array, { top, clip }: StepOptions): number {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  const whole = Math.max(leastStep, largest / top);
  if (clip === "none" || largest === 0) return whole;
  let best = whole;
  let bestError = Infinity;
  for (const shrink of shrinks) {
    const step = Math.max(leastStep, shrink * whole);
    const error = squaredError(values, step, top, bestError);
    if (error < bestError) [best, bestError] = [step, error];
  }
  return best;
}

function squaredError(values: Float32Array, step: number, top: number, limit: number): number {
  let sum = 0;
  for (const value of values) {
    const code = Math.max(-top - 1, Math.min(top, roundHalfEven(value / step)));
    sum += (value - code * step) ** 2;
    if (sum >= limit) return sum;
  }
  return sum;
}
