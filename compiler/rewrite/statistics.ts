/** What calibration saw of each value. Stored beside the graph, by value name. */

import type { ValueName } from "../ir/node.ts";
import type { Tensor } from "../ir/tensor.ts";

/** Counts of |x| or x over equal bins. Bin i covers `low + i * width` up to `low + (i + 1) * width`. */
export interface Histogram {
  readonly low: number;
  readonly width: number;
  readonly counts: Float64Array<ArrayBuffer>;
}

/** Of one value, over all samples. Channel arrays run along `channelAxis`. */
export interface ValueStatistics {
  /** Entries seen. */
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly channelAxis: number;
  readonly channelMin: Float64Array<ArrayBuffer>;
  readonly channelMax: Float64Array<ArrayBuffer>;
  readonly channelMean: Float64Array<ArrayBuffer>;
  readonly channelMeanSquare: Float64Array<ArrayBuffer>;
  /** Over the samples of `Statistics.together` alone. */
  readonly togetherMean: Float64Array<ArrayBuffer>;
  readonly histogram: Histogram;
}

export interface Statistics {
  readonly samples: number;
  /** The samples that later passes may run side by side, to compare with `togetherMean`. */
  readonly together: readonly Readonly<Record<string, Tensor>>[];
  readonly values: ReadonlyMap<ValueName, ValueStatistics>;
}
