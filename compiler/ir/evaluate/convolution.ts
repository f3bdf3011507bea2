/** Convolution as products of weight rows with gathered patches, a tile of positions at a time. */

import type { Tensor } from "../tensor.ts";
import { centredValues } from "./codes.ts";
import { dotRows, type RowBlock, type Rows } from "./dot.ts";
import { floatData } from "./numbers.ts";
import { depthSegments, dotSteppedRows, type OperandRows, type Steps } from "./operand_rows.ts";
import { stepOffsets } from "./step_grid.ts";
import { outside, tapOffsets, type WindowAxis, type WindowGeometry } from "./window_geometry.ts";

/** Takes the sum of one output entry: its index, its channel, its value. */
export type SumStore = (index: number, channel: number, sum: number) => void;

/** The input of a convolution in its own order. Steps vary along batch (`row`) and channel (`depth`) only. */
export interface ImageOperand {
  readonly values: Rows;
  readonly steps?: Steps;
}

export function imageOperand(x: Tensor, geometry: WindowGeometry, withSteps: boolean): ImageOperand {
  if (x.kind === "plain") return { values: floatData(x) };
  const values = centredValues(x);
  if (!withSteps) return { values };
  const steps = {
    data: x.steps.data,
    row: stepOffsets(x.scheme, x.shape, [0]),
    depth: stepOffsets(x.scheme, x.shape, [geometry.weightChannelAxis]),
  };
  return { values, steps };
}

/** Patch entries of one tile; keeps it in the second-level cache. */
const tileEntries = 1 << 15;

/** Calls `store(index in the output, channel, sum)` for every output entry. Weights are rows of [C/groups * taps]. */
export function convolve(
  geometry: WindowGeometry,
  image: ImageOperand,
  weights: OperandRows,
  store: SumStore,
): void {
  const { batch, groups, channelsPerGroup, outPerGroup, positions, taps, input } = geometry;
  if (
    channelsPerGroup === 1 && image.steps === undefined && geometry.axes.every((axis) => axis.advance !== undefined)
  ) {
    return convolveDepthwise(geometry, image.values, weights.values, store);
  }
  const depth = channelsPerGroup * taps;
  const tile = Math.max(1, Math.min(positions, Math.max(8, Math.floor(tileEntries / Math.max(1, depth)))));
  const patches = image.values instanceof Float32Array
    ? new Float32Array(tile * depth)
    : new Float64Array(tile * depth);
  const offsets = new Int32Array(tile * taps);
  const sums = new Float64Array(outPerGroup * tile);
  const stepped = steppedDot(geometry, image, weights, sums);
  for (let first = 0; first < positions; first += tile) {
    const count = Math.min(tile, positions - first);
    tapOffsets(geometry, first, count, offsets);
    for (let sample = 0; sample < batch; sample++) {
      for (let group = 0; group < groups; group++) {
        const base = sample * input.batchStride + group * channelsPerGroup * input.channelStride;
        gatherPatches(image.values, base, input.channelStride, channelsPerGroup, taps, offsets, count, patches);
        const left = { data: weights.values, offset: group * outPerGroup * depth, count: outPerGroup };
        const right = { data: patches, offset: 0, count };
        if (stepped === undefined) dotRows(left, right, depth, 0, depth, { data: sums, offset: 0, stride: count });
        else stepped(left, right, sample, group);
        storeTile(geometry, sample, group, first, count, sums, store);
      }
    }
  }
}

/** Hands the sums of one tile, [channels of the group, positions], to the store. */
function storeTile(
  { outPerGroup, output }: WindowGeometry,
  sample: number,
  group: number,
  first: number,
  count: number,
  sums: Float64Array,
  store: SumStore,
): void {
  const base = sample * output.batchStride + first * output.positionStride;
  for (let row = 0, at = 0; row < outPerGroup; row++) {
    const channel = group * outPerGroup + row;
    let index = base + channel * output.channelStride;
    for (let column = 0; column < count; column++, index += output.positionStride) store(index, channel, sums[at++]);
  }
}

type SteppedDot = (left: RowBlock, right: RowBlock, sample: number, group: number) => void;

function steppedDot(
  geometry: WindowGeometry,
  image: ImageOperand,
  weights: OperandRows,
  sums: Float64Array<ArrayBuffer>,
): SteppedDot | undefined {
  const { steps } = image;
  const weightSteps = weights.steps;
  if (steps === undefined || weightSteps === undefined) return undefined;
  const { groups, channelsPerGroup, taps, outPerGroup } = geometry;
  const depth = channelsPerGroup * taps;
  const partial = new Float64Array(sums.length);
  const byGroup = Array.from({ length: groups }, (_, group) => {
    const patchDepth = Int32Array.from(
      { length: depth },
      (_, index) => steps.depth[group * channelsPerGroup + Math.floor(index / taps)],
    );
    return { patchDepth, segments: depthSegments(depth, weightSteps.depth, patchDepth) };
  });
  return (left, right, sample, group) => {
    const { patchDepth, segments } = byGroup[group];
    // Every patch of one sample uses that sample's steps.
    const row = new Int32Array(right.count).fill(steps.row[sample]);
    dotSteppedRows(
      { ...left, steps: weightSteps, firstRow: group * outPerGroup },
      { ...right, steps: { data: steps.data, row, depth: patchDepth }, firstRow: 0 },
      depth,
      segments,
      sums,
      partial,
    );
  };
}

/** One input channel per output channel: each tap adds a scaled, shifted copy of the channel's rows to the sums. */
function convolveDepthwise(
  geometry: WindowGeometry,
  image: Rows,
  weights: Rows,
  store: SumStore,
): void {
  const { batch, groups, outPerGroup, positions, taps, input, output } = geometry;
  const sums = new Float64Array(positions);
  for (let sample = 0; sample < batch; sample++) {
    for (let channel = 0; channel < groups * outPerGroup; channel++) {
      sums.fill(0);
      const base = sample * input.batchStride + Math.floor(channel / outPerGroup) * input.channelStride;
      const kernel = weights.subarray(channel * taps, (channel + 1) * taps);
      addTaps(geometry.axes, 0, 0, 0, kernel, image, base, sums);
      let index = sample * output.batchStride + channel * output.channelStride;
      for (let position = 0; position < positions; position++, index += output.positionStride) {
        store(index, channel, sums[position]);
      }
    }
  }
}

/** Adds all taps from `axis` on; `tap`, `position` and `base` are the flat places that the axes before have led to. */
function addTaps(
  axes: readonly WindowAxis[],
  axis: number,
  tap: number,
  position: number,
  kernel: Rows,
  image: Rows,
  base: number,
  sums: Float64Array,
): void {
  const { positions, taps, sources, stride, advance = 1 } = axes[axis];
  for (let own = 0; own < taps; own++) {
    const nextTap = tap * taps + own;
    if (axis < axes.length - 1) {
      for (let place = 0; place < positions; place++) {
        const source = sources[place * taps + own];
        if (source === outside) continue;
        addTaps(axes, axis + 1, nextTap, position * positions + place, kernel, image, base + source * stride, sums);
      }
      continue;
    }
    let first = 0;
    while (first < positions && sources[first * taps + own] === outside) first++;
    let end = positions;
    while (end > first && sources[(end - 1) * taps + own] === outside) end--;
    if (first === end) continue;
    const start = base + sources[first * taps + own] * stride;
    addScaled(sums, position * positions + first, end - first, image, start, advance * stride, kernel[nextTap]);
  }
}

/** sums[at + i] += weight * image[start + i * step] */
function addScaled(
  sums: Float64Array,
  at: number,
  count: number,
  image: Rows,
  start: number,
  step: number,
  weight: number,
): void {
  for (let index = 0, from = start; index < count; index++, from += step) sums[at + index] += weight * image[from];
}

/** patches[p][c * taps + t] = image[base + c * channelStride + offsets[p][t]], 0 where outside. */
function gatherPatches(
  image: Rows,
  base: number,
  channelStride: number,
  channels: number,
  taps: number,
  offsets: Int32Array,
  count: number,
  patches: Rows,
): void {
  let at = 0;
  for (let row = 0; row < count; row++) {
    const firstTap = row * taps;
    let start = base;
    for (let channel = 0; channel < channels; channel++, start += channelStride) {
      for (let tap = 0; tap < taps; tap++) {
        const offset = offsets[firstTap + tap];
        patches[at++] = offset === outside ? 0 : image[start + offset];
      }
    }
  }
}
