/** Where windows fall: for every output position and kernel tap, the input entry it reads. */

import type { ChannelLayout, OpAttributes } from "../node.ts";
import { sizeOf, stridesOf } from "../tensor.ts";

/** Marks a tap that falls into padding. */
export const outside = -1;

/** One spatial axis: `sources[position * taps + tap]` is the input index along the axis, or `outside`. */
export interface WindowAxis {
  readonly positions: number;
  readonly taps: number;
  readonly sources: Int32Array;
  /** Entries between neighbours along this axis in the input. */
  readonly stride: number;
  /** Input indices between the windows of neighbouring positions; absent where positions read the input unevenly. */
  readonly advance?: number;
}

/** A windowed op over [N, C, ...spatial] or [N, ...spatial, C]. */
export interface WindowGeometry {
  readonly batch: number;
  readonly groups: number;
  readonly channelsPerGroup: number;
  readonly outPerGroup: number;
  readonly axes: readonly WindowAxis[];
  /** Product of all axes' positions and taps. */
  readonly positions: number;
  readonly taps: number;
  readonly input: { readonly shape: readonly number[]; readonly batchStride: number; readonly channelStride: number };
  readonly output: { readonly batchStride: number; readonly channelStride: number; readonly positionStride: number };
  /** The output's shape. */
  readonly shape: readonly number[];
  /** Axes of the weights that taps run along, and the one of channels. */
  readonly kernelAxes: readonly number[];
  readonly weightChannelAxis: number;
}

/** Spatial axes of a tensor of this rank. */
export function spatialAxes(layout: ChannelLayout, rank: number): number[] {
  return Array.from({ length: rank - 2 }, (_, index) => index + (layout === "channelsFirst" ? 2 : 1));
}

export interface WindowPlan {
  readonly layout: ChannelLayout;
  readonly input: readonly number[];
  readonly groups: number;
  readonly outChannels: number;
  readonly axes: readonly WindowAxis[];
}

export function windowGeometry(plan: WindowPlan): WindowGeometry {
  const { layout, input, groups, outChannels, axes } = plan;
  const rank = input.length;
  const channelAxis = layout === "channelsFirst" ? 1 : rank - 1;
  const spatial = spatialAxes(layout, rank);
  const shape = input.map((extent, axis) =>
    axis === 0 ? extent : axis === channelAxis ? outChannels : axes[spatial.indexOf(axis)].positions
  );
  const inStrides = stridesOf(input);
  const outStrides = stridesOf(shape);
  return {
    batch: input[0],
    groups,
    channelsPerGroup: input[channelAxis] / groups,
    outPerGroup: outChannels / groups,
    axes,
    positions: sizeOf(axes.map((axis) => axis.positions)),
    taps: sizeOf(axes.map((axis) => axis.taps)),
    input: { shape: input, batchStride: inStrides[0], channelStride: inStrides[channelAxis] },
    output: {
      batchStride: outStrides[0],
      channelStride: outStrides[channelAxis],
      positionStride: layout === "channelsFirst" ? 1 : outChannels,
    },
    shape,
    kernelAxes: spatial,
    weightChannelAxis: channelAxis,
  };
}

/** Window `position` starts at position * stride - before; tap k reads `dilation * k` further. */
export function windowAxis(
  extent: number,
  positions: number,
  taps: number,
  stride: number,
  dilation: number,
  before: number,
  entryStride: number,
): WindowAxis {
  const sources = new Int32Array(positions * taps);
  for (let position = 0; position < positions; position++) {
    for (let tap = 0; tap < taps; tap++) {
      const source = position * stride - before + tap * dilation;
      sources[position * taps + tap] = source >= 0 && source < extent ? source : outside;
    }
  }
  return { positions, taps, sources, stride: entryStride, advance: stride };
}

export function convGeometry(
  x: readonly number[],
  w: readonly number[],
  attributes: OpAttributes["conv"],
): WindowGeometry {
  const { layout, strides, dilations, pads, groups } = attributes;
  const spatial = spatialAxes(layout, x.length);
  const entryStrides = stridesOf(x);
  const axes = spatial.map((axis, index) => {
    const taps = w[axis];
    const room = x[axis] + pads[index] + pads[index + spatial.length] - dilations[index] * (taps - 1) - 1;
    const positions = Math.floor(room / strides[index]) + 1;
    return windowAxis(x[axis], positions, taps, strides[index], dilations[index], pads[index], entryStrides[axis]);
  });
  return windowGeometry({ layout, input: x, groups, outChannels: w[0], axes });
}

/** Pools and their indices: extents are given, windows may reach past the end. */
export function poolGeometry(
  x: readonly number[],
  attributes: Pick<OpAttributes["pool"], "strides" | "dilations" | "pads" | "kernel" | "outputExtents" | "layout">,
): WindowGeometry {
  const { layout, strides, dilations, pads, kernel, outputExtents } = attributes;
  const entryStrides = stridesOf(x);
  const axes = spatialAxes(layout, x.length).map((axis, index) =>
    windowAxis(
      x[axis],
      outputExtents[index],
      kernel[index],
      strides[index],
      dilations[index],
      pads[index],
      entryStrides[axis],
    )
  );
  const channels = layout === "channelsFirst" ? x[1] : x[x.length - 1];
  return windowGeometry({ layout, input: x, groups: channels, outChannels: channels, axes });
}

/** The adjoint of conv, gathered: output o reads input (o + before - dilation * k) / stride where that is whole and in range. */
export function transposedConvGeometry(
  x: readonly number[],
  w: readonly number[],
  attributes: OpAttributes["convTranspose"],
): WindowGeometry {
  const { strides, dilations, pads, outputPadding, groups } = attributes;
  const rank = x.length - 2;
  const entryStrides = stridesOf(x);
  const axes = strides.map((stride, index): WindowAxis => {
    const extent = x[index + 2];
    const taps = w[index + 2];
    const reach = dilations[index] * (taps - 1) + 1;
    const positions = stride * (extent - 1) + reach + outputPadding[index] - pads[index] - pads[index + rank];
    const sources = new Int32Array(positions * taps);
    for (let position = 0; position < positions; position++) {
      for (let tap = 0; tap < taps; tap++) {
        const scaled = position + pads[index] - tap * dilations[index];
        const source = scaled / stride;
        const fits = scaled >= 0 && Number.isInteger(source) && source < extent;
        sources[position * taps + tap] = fits ? source : outside;
      }
    }
    return { positions, taps, sources, stride: entryStrides[index + 2] };
  });
  return windowGeometry({ layout: "channelsFirst", input: x, groups, outChannels: w[1] * groups, axes });
}

/**
 * offsets[(p - first) * taps + t]: entry of the input, relative to its batch and channel, that tap t of position p reads;
 * `outside` in padding.
 */
export function tapOffsets(geometry: WindowGeometry, first: number, count: number, offsets: Int32Array): void {
  const { axes, taps } = geometry;
  const rank = axes.length;
  const position = new Array<number>(rank);
  const tap = new Array<number>(rank);
  for (let row = 0, at = 0; row < count; row++) {
    let rest = first + row;
    for (let axis = rank - 1; axis >= 0; axis--) {
      position[axis] = rest % axes[axis].positions;
      rest = Math.floor(rest / axes[axis].positions);
    }
    tap.fill(0);
    for (let index = 0; index < taps; index++, at++) {
      let offset = 0;
      for (let axis = 0; axis < rank; axis++) {
        const { sources, taps: extent, stride } = axes[axis];
        const source = sources[position[axis] * extent + tap[axis]];
        if (source === outside) {
          offset = outside;
          break;
        }
        offset += source * stride;
      }
      offsets[at] = offset;
      for (let axis = rank - 1; axis >= 0; axis--) {
        if (++tap[axis] < axes[axis].taps) break;
        tap[axis] = 0;
      }
    }
  }
}
