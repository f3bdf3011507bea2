/** Gathers statistics of one value over samples, in bounded memory. */

import type { Histogram, ValueStatistics } from "../../compiler/rewrite/statistics.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";

/** Bins of the histogram of x over [-reach, reach]; reach is a power of two that grows with the data. */
const binCount = 4096;

/**
 * Running statistics of one value. Memory is the histogram and four numbers a channel, however many samples come.
 * When a sample reaches past the histogram, its reach is doubled and neighbouring bins are merged.
 */
export class ValueCollector {
  #count = 0;
  #reach = 0;
  #counts = new Float64Array(binCount);
  readonly #min: Float64Array<ArrayBuffer>;
  readonly #max: Float64Array<ArrayBuffer>;
  readonly #sum: Float64Array<ArrayBuffer>;
  readonly #square: Float64Array<ArrayBuffer>;
  readonly #togetherSum: Float64Array<ArrayBuffer>;
  #togetherCount = 0;

  constructor(readonly channelAxis: number, channels: number) {
    this.#min = new Float64Array(channels).fill(Infinity);
    this.#max = new Float64Array(channels).fill(-Infinity);
    this.#sum = new Float64Array(channels);
    this.#square = new Float64Array(channels);
    this.#togetherSum = new Float64Array(channels);
  }

  /** Adds one tensor; entries that are not finite are left out. `together` counts it into `togetherMean` too. */
  add(data: Float32Array, shape: readonly number[], together: boolean): void {
    const inner = sizeOf(shape.slice(this.channelAxis + 1));
    const channels = this.#min.length;
    const before = together ? this.#sum.slice() : undefined;
    this.#grow(largestMagnitude(data));
    const scale = this.#reach === 0 ? 0 : binCount / (2 * this.#reach);
    for (let start = 0, channel = 0; start < data.length; start += inner) {
      this.#addRun(data, start, start + inner, channel, scale);
      channel = channel + 1 === channels ? 0 : channel + 1;
    }
    if (before === undefined) return;
    before.forEach((sum, channel) => this.#togetherSum[channel] += this.#sum[channel] - sum);
    this.#togetherCount += data.length / channels;
  }

  finish(): ValueStatistics {
    const entries = this.#count / this.#sum.length;
    const width = this.#reach === 0 ? 1 / binCount : 2 * this.#reach / binCount;
    const histogram: Histogram = { low: -width * binCount / 2, width, counts: this.#counts };
    return {
      count: this.#count,
      min: this.#min.reduce((a, b) => Math.min(a, b), Infinity),
      max: this.#max.reduce((a, b) => Math.max(a, b), -Infinity),
      channelAxis: this.channelAxis,
      channelMin: this.#min,
      channelMax: this.#max,
      channelMean: this.#sum.map((sum) => (entries === 0 ? 0 : sum / entries)),
      togetherMean: this.#togetherSum.map((sum) => (this.#togetherCount === 0 ? 0 : sum / this.#togetherCount)),
      channelMeanSquare: this.#square.map((sum) => (entries === 0 ? 0 : sum / entries)),
      histogram,
    };
  }

  #addRun(data: Float32Array, start: number, end: number, channel: number, scale: number): void {
    const counts = this.#counts;
    let [min, max, sum, square, skipped] = [this.#min[channel], this.#max[channel], 0, 0, 0];
    for (let index = start; index < end; index++) {
      const value = data[index];
      // Also true of NaN.
      if (!(value - value === 0)) {
        skipped++;
        continue;
      }
      if (value < min) min = value;
      if (value > max) max = value;
      sum += value;
      square += value * value;
      const bin = (value * scale + binCount / 2) | 0;
      counts[bin < binCount ? bin : binCount - 1]++;
    }
    this.#min[channel] = min;
    this.#max[channel] = max;
    this.#sum[channel] += sum;
    this.#square[channel] += square;
    this.#count += end - start - skipped;
  }

  #grow(magnitude: number): void {
    if (magnitude <= this.#reach) return;
    const wanted = 2 ** Math.ceil(Math.log2(magnitude));
    if (this.#reach === 0) {
      // Zeros seen so far lie in the middle bin whatever the reach.
      this.#reach = wanted;
      return;
    }
    for (; this.#reach < wanted; this.#reach *= 2) this.#counts = mergedBins(this.#counts);
  }
}

/** Each bin of the doubled reach holds two bins of the old one, about the middle. */
function mergedBins(counts: Float64Array): Float64Array<ArrayBuffer> {
  const merged = new Float64Array(binCount);
  const half = binCount / 2;
  for (let bin = 0; bin < binCount; bin++) merged[half + Math.floor((bin - half) / 2)] += counts[bin];
  return merged;
}

function largestMagnitude(data: Float32Array): number {
  let largest = 0;
  for (let index = 0; index < data.length; index++) {
    const magnitude = Math.abs(data[index]);
    if (magnitude > largest && magnitude !== Infinity) largest = magnitude;
  }
  return largest;
}
