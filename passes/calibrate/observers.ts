/** Observers: the range of real numbers that codes should cover, from what calibration saw. */

import { decodeCode, encodeValue, formatMax, type NumberFormat } from "../../compiler/numeric/number_format.ts";
import type { Histogram, ValueStatistics } from "../../compiler/rewrite/statistics.ts";

export const observers = ["min-max", "percentile", "mse", "kl"] as const;
export type Observer = (typeof observers)[number];

/** Holds zero, so that zero has a code. */
export interface Range {
  readonly low: number;
  readonly high: number;
}

export interface ObserverOptions {
  /** Share of the entries that `percentile` keeps, in percent. */
  readonly percentile: number;
  /** Codes that share the range. */
  readonly levels: number;
  /** The format of the codes; uniform codes when absent or an integer format. */
  readonly format?: NumberFormat;
  /** Widens the range to reach as far below zero as above. */
  readonly symmetric: boolean;
}

export function observedRange(observer: Observer, seen: ValueStatistics, options: ObserverOptions): Range {
  const whole = { low: Math.min(0, seen.min), high: Math.max(0, seen.max) };
  if (!(whole.high > whole.low) || seen.count === 0) return { low: 0, high: 0 };
  const shaped = (range: Range) => (options.symmetric ? mirrored(range) : range);
  switch (observer) {
    case "min-max":
      return shaped(whole);
    case "percentile":
      return shaped(percentileRange(seen.histogram, seen.count, options.percentile, whole));
    case "mse":
      return searchedRange(
        shaped(whole),
        options.symmetric,
        costOf(seen.histogram, options),
      );
    case "kl":
      return klRange(seen.histogram, shaped(whole), options);
  }
}

function costOf(histogram: Histogram, { format, levels }: ObserverOptions): (range: Range) => number {
  return format === undefined || format.kind === "int"
    ? (range) => squaredError(histogram, range, levels)
    : (range) => codedError(histogram, range, format);
}

/** Squared error of the bins' centres under codes of unequal spacing; bins at zero hold zeros for the most part. */
function codedError({ low, width, counts }: Histogram, range: Range, format: NumberFormat): number {
  const step = range.high / formatMax(format);
  let sum = 0;
  for (let bin = 0; bin < counts.length; bin++) {
    const centre = low + (bin + 0.5) * width;
    if (counts[bin] === 0 || Math.abs(centre) < width) continue;
    sum += counts[bin] * (centre - step * decodeCode(format, encodeValue(format, centre / step))) ** 2;
  }
  return sum;
}

function mirrored({ low, high }: Range): Range {
  const reach = Math.max(-low, high);
  return { low: -reach, high: reach };
}

/** Cuts an equal share of the entries off both ends; an end that has none on its side of zero stays at zero. */
function percentileRange(histogram: Histogram, count: number, percentile: number, whole: Range): Range {
  const cut = count * (1 - percentile / 100);
  const below = reachFrom(histogram, cut, "low");
  const above = reachFrom(histogram, cut, "high");
  return { low: Math.max(whole.low, Math.min(0, below)), high: Math.min(whole.high, Math.max(0, above)) };
}

/** The edge of the bin, from one end, up to which no more than `cut` entries lie. */
function reachFrom({ low, width, counts }: Histogram, cut: number, end: "low" | "high"): number {
  let sum = 0;
  for (let step = 0; step < counts.length; step++) {
    const bin = end === "low" ? step : counts.length - 1 - step;
    sum += counts[bin];
    if (sum > cut) return low + width * (end === "low" ? bin : bin + 1);
  }
  return 0;
}

/** Factors by which each end is drawn in. A search stops at a tenth: what lies outside is then an outlier of its own. */
const shrinks: readonly number[] = Array.from({ length: 91 }, (_, index) => 1 - index * 0.01);

/** The range with the least cost, each end searched in turn, twice. Ties keep the wider range. */
function searchedRange(whole: Range, symmetric: boolean, costOf: (range: Range) => number): Range {
  let best = whole;
  let bestCost = costOf(whole);
  let factors = { low: 1, high: 1 };
  const consider = (tried: { readonly low: number; readonly high: number }) => {
    const range = { low: whole.low * tried.low, high: whole.high * tried.high };
    const cost = costOf(range);
    if (cost < bestCost) [best, bestCost, factors] = [range, cost, tried];
  };
  if (symmetric) {
    for (const factor of shrinks) consider({ low: factor, high: factor });
    return best;
  }
  for (let round = 0; round < 2; round++) {
    if (whole.high > 0) { for (const high of shrinks) consider({ ...factors, high }); }
    if (whole.low < 0) { for (const low of shrinks) consider({ ...factors, low }); }
  }
  return best;
}

/**
 * Expected squared error of uniform codes: step² / 12 inside the range, the squared distance to its end outside.
 * Zeros have a code of their own and cost nothing, so the bin at zero counts by its width at most.
 */
function squaredError({ low, width, counts }: Histogram, range: Range, levels: number): number {
  const step = (range.high - range.low) / (levels - 1);
  const inside = step * step / 12;
  let sum = 0;
  for (let bin = 0; bin < counts.length; bin++) {
    if (counts[bin] === 0) continue;
    const centre = low + (bin + 0.5) * width;
    const outside = centre > range.high ? centre - range.high : centre < range.low ? range.low - centre : 0;
    const rounding = Math.abs(centre) < width ? Math.min(inside, width * width / 12) : inside;
    sum += counts[bin] * (outside > 0 ? outside * outside : rounding);
  }
  return sum;
}

/** Zeros have a code of their own, so their bin is levelled: a spike there says nothing about the range. */
function klRange(histogram: Histogram, whole: Range, options: ObserverOptions): Range {
  const counts = histogram.counts.slice();
  const zero = Math.floor(-histogram.low / histogram.width);
  counts[zero] = Math.min(counts[zero], Math.max(counts[zero - 1], counts[zero + 1]));
  return searchedRange(
    whole,
    options.symmetric,
    (range) => divergence({ ...histogram, counts }, range, options.levels),
  );
}

/**
 * Divergence of the entries' distribution from the one that is left after clipping and coding, as in TensorRT's
 * calibration (Migacz 2017): bins of one code share their mass evenly over those that were not empty.
 */
function divergence({ low, width, counts }: Histogram, range: Range, levels: number): number {
  const first = Math.max(0, Math.floor((range.low - low) / width));
  const last = Math.min(counts.length - 1, Math.ceil((range.high - low) / width) - 1);
  if (last - first + 1 <= levels) return Infinity;
  const clipped = counts.slice(first, last + 1);
  for (let bin = 0; bin < first; bin++) clipped[0] += counts[bin];
  for (let bin = last + 1; bin < counts.length; bin++) clipped[clipped.length - 1] += counts[bin];
  const total = clipped.reduce((sum, entries) => sum + entries, 0);
  let inner = 0;
  for (let bin = first; bin <= last; bin++) inner += counts[bin];
  let sum = 0;
  for (let code = 0; code < levels; code++) {
    const from = Math.floor(code * clipped.length / levels);
    const to = Math.floor((code + 1) * clipped.length / levels);
    let mass = 0;
    let filled = 0;
    for (let bin = from; bin < to; bin++) {
      mass += counts[first + bin];
      if (clipped[bin] > 0) filled++;
    }
    for (let bin = from; bin < to; bin++) {
      if (clipped[bin] === 0) continue;
      const p = clipped[bin] / total;
      // An end bin that holds clipped mass alone would divide by zero; a smallest mass keeps the cost finite.
      const q = Math.max(mass / filled / Math.max(1, inner), 1e-12);
      sum += p * Math.log(p / q);
    }
  }
  return sum;
}
