/** Convolutions and pools from tfjs ops, for one to three spatial axes, any padding, dilation and grouping. */

import * as tf from "@tensorflow/tfjs-core";
import type { OpAttributes } from "../ir/node.ts";

/** What a window does along each spatial axis. */
interface WindowGeometry {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly outputExtents: readonly number[];
}

/** Moves the channels of a channels-first tensor last. */
export function channelsLast(x: tf.Tensor): tf.Tensor {
  const rank = x.shape.length;
  return tf.transpose(x, [0, ...spatialAxes(rank).map((axis) => axis + 1), 1]);
}

export function channelsFirst(x: tf.Tensor): tf.Tensor {
  const rank = x.shape.length;
  return tf.transpose(x, [0, rank - 1, ...spatialAxes(rank)]);
}

/** Spatial axes of a channels-last tensor. */
function spatialAxes(rank: number): number[] {
  return Array.from({ length: rank - 2 }, (_, index) => index + 1);
}

/** Pads the spatial axes of a channels-last tensor; negative amounts crop. */
function padSpatial(x: tf.Tensor, before: readonly number[], after: readonly number[], value: number): tf.Tensor {
  const amounts = [...before, ...after];
  if (amounts.every((amount) => amount === 0)) return x;
  const cropped = amounts.some((amount) => amount < 0) ? cropSpatial(x, before, after) : x;
  const paddings = cropped.shape.map((_, axis): [number, number] => {
    const index = axis - 1;
    return index >= 0 && index < before.length ? [Math.max(0, before[index]), Math.max(0, after[index])] : [0, 0];
  });
  return tf.pad(cropped, paddings, value);
}

function cropSpatial(x: tf.Tensor, before: readonly number[], after: readonly number[]): tf.Tensor {
  const begin = x.shape.map((_, axis) => Math.max(0, -(before[axis - 1] ?? 0)));
  const size = x.shape.map((extent, axis) => extent - begin[axis] - Math.max(0, -(after[axis - 1] ?? 0)));
  return tf.slice(x, begin, size);
}

/** The entries of a padded channels-last tensor that one place of the kernel meets. */
function strided(x: tf.Tensor, place: readonly number[], geometry: WindowGeometry): tf.Tensor {
  const { strides, dilations, outputExtents } = geometry;
  const begin = x.shape.map((_, axis) => (place[axis - 1] ?? 0) * (dilations[axis - 1] ?? 1));
  const end = x.shape.map((extent, axis) => {
    const index = axis - 1;
    if (index < 0 || index >= strides.length) return extent;
    return begin[axis] + (outputExtents[index] - 1) * strides[index] + 1;
  });
  if (strides.every((stride) => stride === 1)) return tf.slice(x, begin, end.map((stop, axis) => stop - begin[axis]));
  const steps = x.shape.map((_, axis) => (axis === 0 ? 1 : strides[axis - 1] ?? 1));
  return tf.stridedSlice(x, begin, end, steps);
}

/** All places of a kernel, row-major. */
function places(kernel: readonly number[]): number[][] {
  return kernel.reduce<number[][]>(
    (list, extent) => list.flatMap((place) => Array.from({ length: extent }, (_, index) => [...place, index])),
    [[]],
  );
}

/** Σ over the kernel's places and input channels. `x` channels-last, `w` [M, ...kernel, C/groups]; the result channels-last. */
function convolve(x: tf.Tensor, w: tf.Tensor, groups: number, geometry: WindowGeometry): tf.Tensor {
  if (geometry.kernel.length === 2) {
    const result = convolvePlane(x, w, groups, geometry);
    if (result !== undefined) return result;
  }
  const parts = groups === 1 ? [x] : tf.split(x, groups, -1);
  const filters = groups === 1 ? [w] : tf.split(w, groups, 0);
  const sums = parts.map((part, group) => convolveGroup(part, filters[group], geometry));
  return sums.length === 1 ? sums[0] : tf.concat(sums, -1);
}

/** Two spatial axes by tfjs's own kernels, where they cover the case. */
function convolvePlane(
  x: tf.Tensor,
  w: tf.Tensor,
  groups: number,
  { kernel, strides, dilations, outputExtents }: WindowGeometry,
): tf.Tensor | undefined {
  if (strides.some((stride) => stride > 1) && dilations.some((dilation) => dilation > 1)) return undefined;
  const [channels, perGroup, outChannels]: readonly number[] = [
    x.shape[x.shape.length - 1],
    w.shape[w.shape.length - 1],
    w.shape[0],
  ];
  const depthwise = perGroup === 1 && groups === channels && groups > 1;
  if (groups !== 1 && !depthwise) return undefined;
  // The padded input may reach further than the last window.
  const reach = outputExtents.map((extent, axis) =>
    (extent - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
  );
  const input = tf.reshape<tf.Rank.R4>(tf.slice(x, [0, 0, 0, 0], [x.shape[0], ...reach, channels]), [
    x.shape[0],
    reach[0],
    reach[1],
    channels,
  ]);
  const steps: [number, number] = [strides[0], strides[1]];
  const spread: [number, number] = [dilations[0], dilations[1]];
  if (depthwise) {
    const multiplier = outChannels / groups;
    const grouped = tf.reshape(w, [groups, multiplier, kernel[0], kernel[1]]);
    const filter = tf.reshape<tf.Rank.R4>(tf.transpose(grouped, [2, 3, 0, 1]), [
      kernel[0],
      kernel[1],
      groups,
      multiplier,
    ]);
    return tf.depthwiseConv2d(input, filter, steps, "valid", "NHWC", spread);
  }
  const filter = tf.reshape<tf.Rank.R4>(tf.transpose(w, [1, 2, 3, 0]), [kernel[0], kernel[1], perGroup, outChannels]);
  return tf.conv2d(input, filter, steps, "valid", "NHWC", spread);
}

function convolveGroup(x: tf.Tensor, w: tf.Tensor, geometry: WindowGeometry): tf.Tensor {
  const [outChannels, channels] = [w.shape[0], w.shape[w.shape.length - 1]];
  const flat = tf.reshape(w, [outChannels, -1, channels]);
  let sum: tf.Tensor | undefined;
  places(geometry.kernel).forEach((place, index) => {
    const entries = strided(x, place, geometry);
    const filter = tf.reshape(tf.slice(flat, [0, index, 0], [outChannels, 1, channels]), [outChannels, channels]);
    const product = tf.matMul(tf.reshape(entries, [-1, channels]), filter, false, true);
    const term = tf.reshape(product, [...entries.shape.slice(0, -1), outChannels]);
    sum = sum === undefined ? term : tf.add(sum, term);
  });
  return sum ?? tf.zeros([x.shape[0], ...geometry.outputExtents, outChannels]);
}

/** conv(x, w) without bias, in the layout of the attributes. */
export function convolution(x: tf.Tensor, w: tf.Tensor, attributes: OpAttributes["conv"]): tf.Tensor {
  const { strides, dilations, pads, groups, layout } = attributes;
  const isFirst = layout === "channelsFirst";
  const [input, filter] = isFirst ? [channelsLast(x), channelsLast(w)] : [x, w];
  const rank = strides.length;
  const padded = padSpatial(input, pads.slice(0, rank), pads.slice(rank), 0);
  const kernel = filter.shape.slice(1, -1);
  const outputExtents = kernel.map((extent, axis) =>
    Math.floor((padded.shape[axis + 1] - dilations[axis] * (extent - 1) - 1) / strides[axis]) + 1
  );
  const result = convolve(padded, filter, groups, { kernel, strides, dilations, outputExtents });
  return isFirst ? channelsFirst(result) : result;
}

/**
 * The adjoint of a convolution: zeros put between the entries of x, then a convolution with the kernel turned about.
 * x [N, C, ...], w [C, M/groups, ...kernel].
 */
export function transposedConvolution(
  x: tf.Tensor,
  w: tf.Tensor,
  attributes: OpAttributes["convTranspose"],
): tf.Tensor {
  const { strides, dilations, pads, outputPadding, groups } = attributes;
  const rank = strides.length;
  const kernel = w.shape.slice(2);
  const spread = spreadSpatial(channelsLast(x), strides);
  const before = kernel.map((extent, axis) => dilations[axis] * (extent - 1) - pads[axis]);
  const after = kernel.map((extent, axis) => dilations[axis] * (extent - 1) - pads[axis + rank] + outputPadding[axis]);
  const padded = padSpatial(spread, before, after, 0);
  const outputExtents = kernel.map((extent, axis) => padded.shape[axis + 1] - dilations[axis] * (extent - 1));
  const filter = adjointFilter(w, groups);
  const ones = strides.map(() => 1);
  return channelsFirst(convolve(padded, filter, groups, { kernel, strides: ones, dilations, outputExtents }));
}

/** [C, M/groups, ...kernel] as [M, ...kernel, C/groups], turned about every spatial axis. */
function adjointFilter(w: tf.Tensor, groups: number): tf.Tensor {
  const [channels, perGroup, ...kernel] = w.shape;
  const turned = tf.reverse(w, kernel.map((_, axis) => axis + 2));
  const split = tf.reshape(turned, [groups, channels / groups, perGroup, ...kernel]);
  const order = [0, 2, ...kernel.map((_, axis) => axis + 3), 1];
  return tf.reshape(tf.transpose(split, order), [groups * perGroup, ...kernel, channels / groups]);
}

/** Puts stride - 1 zeros between neighbours along every spatial axis. */
function spreadSpatial(x: tf.Tensor, strides: readonly number[]): tf.Tensor {
  return strides.reduce((value, stride, index) => {
    const axis = index + 1;
    if (stride === 1) return value;
    const { shape } = value;
    const [outer, inner] = [product(shape.slice(0, axis)), product(shape.slice(axis + 1))];
    const columns = tf.reshape(value, [outer, shape[axis], 1, inner]);
    const spread = tf.reshape(tf.pad(columns, [[0, 0], [0, 0], [0, stride - 1], [0, 0]]), [
      outer,
      shape[axis] * stride,
      inner,
    ]);
    const extent = (shape[axis] - 1) * stride + 1;
    const cut = tf.slice(spread, [0, 0, 0], [outer, extent, inner]);
    return tf.reshape(cut, shape.map((old, place) => (place === axis ? extent : old)));
  }, x);
}

function product(extents: readonly number[]): number {
  return extents.reduce((size, extent) => size * extent, 1);
}

/** Windows over two spatial axes by tfjs's own kernels, where they are not dilated. */
function planePool(
  kind: "max" | "average",
  x: tf.Tensor,
  { kernel, strides, dilations, outputExtents }: WindowGeometry,
): tf.Tensor | undefined {
  if (kernel.length !== 2 || dilations.some((dilation) => dilation > 1)) return undefined;
  const [height, width] = outputExtents.map((extent, axis) => (extent - 1) * strides[axis] + kernel[axis]);
  const reached = tf.slice(x, [0, 0, 0, 0], [x.shape[0], height, width, x.shape[x.shape.length - 1]]);
  const plane = tf.reshape<tf.Rank.R4>(reached, [
    reached.shape[0],
    height,
    width,
    reached.shape[reached.shape.length - 1],
  ]);
  const pool = kind === "max" ? tf.maxPool : tf.avgPool;
  return pool(plane, [kernel[0], kernel[1]], [strides[0], strides[1]], "valid");
}

/** Max, average and lp pools. */
export function pooled(x: tf.Tensor, attributes: OpAttributes["pool"]): tf.Tensor {
  const { kind, kernel, strides, dilations, pads, outputExtents, layout, norm, countPadding } = attributes;
  const isFirst = layout === "channelsFirst";
  const input = isFirst ? channelsLast(x) : x;
  const rank = kernel.length;
  // Windows may reach past the padding (ceil mode): what lies there counts for nothing.
  const overhang = kernel.map((extent, axis) => {
    const reach = (outputExtents[axis] - 1) * strides[axis] + dilations[axis] * (extent - 1) + 1;
    return Math.max(0, reach - (input.shape[axis + 1] + pads[axis] + pads[axis + rank]));
  });
  const geometry = { kernel, strides, dilations, outputExtents };
  const pad = (value: tf.Tensor, fill: number) =>
    padSpatial(value, pads.slice(0, rank), pads.slice(rank).map((amount, axis) => amount + overhang[axis]), fill);
  const over = (value: tf.Tensor, combine: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor) =>
    places(kernel).map((place) => strided(value, place, geometry)).reduce((a, b) => combine(a, b));
  if (kind === "max") {
    const padded = pad(input, Number.NEGATIVE_INFINITY);
    const result = planePool("max", padded, geometry) ?? over(padded, tf.maximum);
    return isFirst ? channelsFirst(result) : result;
  }
  const even = kind === "average" && overhang.every((amount) => amount === 0) &&
    (countPadding || pads.every((amount) => amount === 0));
  const mean = even ? planePool("average", pad(input, 0), geometry) : undefined;
  if (mean !== undefined) return isFirst ? channelsFirst(mean) : mean;
  const terms = kind === "lp" ? tf.pow(tf.abs(input), norm) : input;
  const sum = over(pad(terms, 0), tf.add);
  const inside = tf.ones([1, ...input.shape.slice(1, -1), 1]);
  const counted = countPadding
    ? padSpatial(
      tf.onesLike(padSpatial(inside, pads.slice(0, rank), pads.slice(rank), 0)),
      overhang.map(() => 0),
      overhang,
      0,
    )
    : pad(inside, 0);
  const result = kind === "lp" ? tf.pow(sum, 1 / norm) : tf.div(sum, over(counted, tf.add));
  return isFirst ? channelsFirst(result) : result;
}
