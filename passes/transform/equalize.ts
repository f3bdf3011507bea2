import { fail } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import { choiceOption, integerOption, numberOption } from "../../compiler/rewrite/options.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { ChannelTensor, Region } from "../../compiler/rewrite/region/region.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import type { Statistics } from "../../compiler/rewrite/statistics.ts";
import { liftLimits } from "./lift_limits.ts";
import { scaleObstacle, scaleRegion } from "./scale_region.ts";
import { WeightEditor } from "./weight_editor.ts";

const options = {
  balance: choiceOption(
    ["weights", "activations", "both"],
    "weights",
    "What is evened out: the weights that write a channel against those that read it, its calibrated range, or both",
  ),
  strength: numberOption(
    { min: 0, max: 1 },
    0.25,
    "activations: share of the spread that is evened out; 0.5 makes ranges and weights alike, and leaves no headroom",
  ),
  rounds: integerOption({ min: 1, max: 1000 }, 100, "weights: most rounds over all regions"),
} as const;

/**
 * Cross-layer equalization (Nagel et al. 2019, arXiv 1906.04721, section 4.1): scales the channels between a convolution
 * and the next one, so that one step per tensor suits all of them.
 *
 *   W1[c] /= s[c],  b1[c] /= s[c],  W2[:, c] *= s[c],  limits[c] /= s[c]
 *
 * `weights`: s = sqrt(r1 / r2) with r the largest magnitude of a channel in W1 and in W2, round after round until no factor
 * moves: then r1 = r2. For weights with one step per tensor. `activations`: s = (a / r2)^strength with a the largest calibrated
 * magnitude of the channel and r2 that of W2[:, c] against its row's (1 where the reader is depthwise): for weights whose
 * rows have steps of their own, so that only the activations and the columns share one. A channel scaled to the full
 * range has no headroom for what calibration did not see, hence a strength below 0.5.
 *
 * Exact over the reals for s > 0 as long as every reader is scaled. A clipped activation is homogeneous only together with
 * its limits, so they scale too: ReLU6 gets one limit per channel. Statistics of the scaled values go stale: calibrate after.
 */
export const equalize = definePass({
  name: "equalize",
  summary: "Scale channels between convolutions so that weights or activations have even ranges",
  from: "float",
  to: "float",
  exactness: "reassociates",
  needs: [],
  options,
  run: (graph, scope) => {
    const { balance, strength, rounds } = scope.options;
    const { statistics } = scope;
    if (balance !== "weights" && statistics === undefined) {
      return fail("Q0309", `"equalize" by ${balance} needs a "calibrate" pass before it`);
    }
    const refused: Declined[] = [];
    const refuse = (region: { readonly name: string }, reason: string) =>
      refused.push({ rule: "equalize", node: region.name, reason });
    const { lifted, regions, declined } = clippedRegions(graph);
    declined.forEach((entry) => refuse(entry, entry.reason));
    const editor = new WeightEditor(lifted);
    const chosen = regions.filter((region) => {
      if (!scope.selects(region.sources[0].node)) return false;
      const obstacle = scaleObstacle(editor, region);
      if (obstacle !== undefined) refuse(region, obstacle);
      return obstacle === undefined;
    });
    const ranged = balance === "weights" || statistics === undefined
      ? chosen.map((region) => ({ region, activations: new Float64Array(region.channels) }))
      : chosen.flatMap((region) => {
        const activations = activationRanges(region, statistics);
        if (activations !== undefined) return [{ region, activations }];
        refuse(region, "calibration saw none of its channels");
        return [];
      });
    const metrics = balance === "activations"
      ? balanceActivations(editor, ranged, strength)
      : balanceWeights(editor, ranged, rounds);
    return { graph: editor.finish(), applied: [], declined: refused, metrics };
  },
});

/** The conv-conv regions, limits of clipped activations lifted to constants where, and only where, that makes a region. */
function clippedRegions(graph: Graph) {
  const everywhere = findRegions(liftLimits(graph, () => true));
  const clipped = new Set(
    everywhere.regions.flatMap(({ sources }) => sources.filter(isLimit).map(({ node }) => node.outputs[0])),
  );
  const lifted = liftLimits(graph, (value) => clipped.has(value));
  const { regions, declined } = findRegions(lifted);
  return {
    lifted,
    regions: regions.filter(({ kind }) => kind === "convConv"),
    declined: declined.filter(({ kind }) => kind === "convConv"),
  };
}

function isLimit({ node }: ChannelTensor): boolean {
  return node.op === "map";
}

function isWeight({ node, operand }: ChannelTensor): boolean {
  return node.op !== "map" && operand === 1;
}

/** ln of the largest change of a factor that counts as none. */
const settled = 1e-4;

/** A region with the largest calibrated magnitude of each channel; zeros where only weights count. */
interface RangedRegion {
  readonly region: Region;
  readonly activations: Float64Array;
}

function balanceWeights(editor: WeightEditor, ranged: readonly RangedRegion[], rounds: number) {
  const activations = ranged.map((entry) => entry.activations.slice());
  let round = 0;
  for (let moved = Infinity; moved > settled && round < rounds; round++) {
    moved = 0;
    ranged.forEach(({ region }, index) => {
      const written = [channelRanges(editor, region.sources.filter(isWeight), region.channels), activations[index]];
      const most = written.map(largestOf);
      const read = channelRanges(editor, region.sinks, region.channels);
      // Where only weights count, the plain ratio; else both sides as shares of their largest channel.
      const share = most[1] === 0
        ? (channel: number) => written[0][channel]
        : (channel: number) => Math.max(written[0][channel] / most[0], written[1][channel] / most[1]) * largestOf(read);
      const factors = read.map((range, channel) => usable(Math.sqrt(share(channel) / range)));
      moved = Math.max(moved, ...factors.map((factor) => Math.abs(Math.log(factor))));
      scaleRegion(editor, region, factors);
      activations[index] = activations[index].map((range, channel) => range / factors[channel]);
    });
  }
  return { regions: ranged.length, rounds: round };
}

function largestOf(values: Float64Array): number {
  return values.reduce((most, value) => Math.max(most, value), 0);
}

function balanceActivations(editor: WeightEditor, ranged: readonly RangedRegion[], strength: number) {
  for (const { region, activations } of ranged) {
    const read = relativeRanges(editor, region.sinks, region.channels);
    scaleRegion(editor, region, activations.map((range, channel) => usable((range / read[channel]) ** strength)));
  }
  return { regions: ranged.length };
}

/** A channel that nothing writes or reads keeps its size. */
function usable(factor: number): number {
  return Number.isFinite(factor) && factor > 0 ? factor : 1;
}

function isDepthwise({ node }: ChannelTensor): boolean {
  return node.op === "conv" && node.attributes.groups > 1;
}

/** The largest magnitude of every channel over all places. */
function channelRanges(editor: WeightEditor, places: readonly ChannelTensor[], channels: number): Float64Array {
  const ranges = new Float64Array(channels);
  for (const place of places) {
    forEachEntry(editor, place, (channel, entry) => ranges[channel] = Math.max(ranges[channel], Math.abs(entry)));
  }
  return ranges;
}

/** The same with every output row divided by its largest magnitude, since rows have steps of their own. */
function relativeRanges(editor: WeightEditor, places: readonly ChannelTensor[], channels: number): Float64Array {
  const ranges = new Float64Array(channels);
  for (const place of places) {
    const rowAxis = place.axis === 0 && !isDepthwise(place) ? 1 : 0;
    const { shape, entries } = editor.tensor(place);
    const inner = sizeOf(shape.slice(rowAxis + 1));
    const largest = new Float64Array(shape[rowAxis]);
    entries.forEach((entry, index) => {
      const row = Math.floor(index / inner) % shape[rowAxis];
      largest[row] = Math.max(largest[row], Math.abs(entry));
    });
    forEachEntry(editor, place, (channel, entry, index) => {
      const whole = largest[Math.floor(index / inner) % shape[rowAxis]];
      if (whole > 0) ranges[channel] = Math.max(ranges[channel], Math.abs(entry) / whole);
    });
  }
  return ranges;
}

function forEachEntry(
  editor: WeightEditor,
  place: ChannelTensor,
  visit: (channel: number, entry: number, index: number) => void,
): void {
  const { shape, entries } = editor.tensor(place);
  const inner = sizeOf(shape.slice(place.axis + 1));
  entries.forEach((entry, index) => visit(place.channels[Math.floor(index / inner) % shape[place.axis]], entry, index));
}

/** The largest calibrated magnitude of every channel, over all values that the readers read. */
function activationRanges(region: Region, statistics: Statistics): Float64Array | undefined {
  const ranges = new Float64Array(region.channels);
  for (const { value, axes, channels } of region.activations) {
    const seen = statistics.values.get(value);
    if (seen === undefined || axes.length !== 1 || seen.channelAxis !== axes[0]) return undefined;
    channels.forEach((channel, index) => {
      const magnitude = Math.max(Math.abs(seen.channelMin[index]), Math.abs(seen.channelMax[index]));
      ranges[channel] = Math.max(ranges[channel], magnitude);
    });
  }
  return ranges;
}
