/** How far the channels of regions reach: over activations, from calibration, and over the weights that read them. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import type { CalibrationData } from "../../compiler/rewrite/pass.ts";
import type { Region } from "../../compiler/rewrite/region/region.ts";
import { observeSamples } from "../calibrate/observe_samples.ts";
import type { WeightEditor } from "./weight_editor.ts";

/** One entry per channel of a region; tied columns are taken together. */
export interface ChannelReach {
  readonly low: Float64Array;
  readonly high: Float64Array;
  /** Largest |x|. */
  readonly largest: Float64Array;
  /** Mean |x|. */
  readonly mean: Float64Array;
}

class ReachCollector {
  readonly #low: Float64Array;
  readonly #high: Float64Array;
  readonly #sum: Float64Array;
  readonly #count: Float64Array;

  constructor(readonly channels: Int32Array, count: number) {
    this.#low = new Float64Array(count).fill(Infinity);
    this.#high = new Float64Array(count).fill(-Infinity);
    this.#sum = new Float64Array(count);
    this.#count = new Float64Array(count);
  }

  /** Adds rows that end in the channel axes, the first `skip` of them left out. Entries that are not finite are passed over. */
  add(data: Float32Array, skip: number): void {
    const columns = this.channels.length;
    const first = Math.min(skip, data.length / columns - 1) * columns;
    for (let start = first; start < data.length; start += columns) {
      for (let column = 0; column < columns; column++) {
        const value = data[start + column];
        if (!Number.isFinite(value)) continue;
        const channel = this.channels[column];
        if (value < this.#low[channel]) this.#low[channel] = value;
        if (value > this.#high[channel]) this.#high[channel] = value;
        this.#sum[channel] += Math.abs(value);
        this.#count[channel]++;
      }
    }
  }

  finish(): ChannelReach {
    const low = this.#low.map((value, channel) => (this.#count[channel] === 0 ? 0 : value));
    const high = this.#high.map((value, channel) => (this.#count[channel] === 0 ? 0 : value));
    return {
      low,
      high,
      largest: low.map((value, channel) => Math.max(Math.abs(value), Math.abs(high[channel]))),
      mean: this.#sum.map((sum, channel) => sum / Math.max(1, this.#count[channel])),
    };
  }
}

/** What the regions' activations were seen to hold. The first `skip` positions of each sample are left out. */
export async function channelReach(
  graph: Graph,
  regions: readonly Region[],
  samples: CalibrationData,
  skip: number,
  onProgress?: (fraction: number) => void,
): Promise<ReadonlyMap<Region, ChannelReach>> {
  const collectors = new Map<ValueName, ReachCollector>();
  for (const { activations: [{ value, channels }], channels: count } of regions) {
    collectors.set(value, new ReachCollector(channels, count));
  }
  await observeSamples(graph, samples, (value) => collectors.has(value), (value, { data }) => {
    collectors.get(value)?.add(data, skip);
  }, onProgress);
  return new Map(regions.flatMap((region) => {
    const collector = collectors.get(region.activations[0].value);
    return collector === undefined ? [] : [[region, collector.finish()]];
  }));
}

/** Largest |W| over every row of every sink, by channel. */
export function weightReach(editor: WeightEditor, region: Region): Float64Array {
  const largest = new Float64Array(region.channels);
  for (const sink of region.sinks) {
    const { shape, entries } = editor.tensor(sink);
    const inner = sizeOf(shape.slice(sink.axis + 1));
    const extent = shape[sink.axis];
    for (let index = 0; index < entries.length; index++) {
      const channel = sink.channels[Math.floor(index / inner) % extent];
      largest[channel] = Math.max(largest[channel], Math.abs(entries[index]));
    }
  }
  return largest;
}
