/** Sliding windows over channels-last images: the geometry, and rows gathered from them. */

import { type Extent, isStatic } from "../../../compiler/ir/extent.ts";
import type { WindowAttributes } from "../../../compiler/ir/node.ts";
import type { RowSource, SpanCopier } from "../dot/source.ts";
import { advance, constant, countedLoop, get, ifThen, type Lines, op, plus, set, sum, times } from "../text.ts";

/** A window over [N, height, width, channels]; one spatial axis makes an image of height 1. */
export interface WindowGeometry {
  readonly batch: Extent;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly outHeight: number;
  readonly outWidth: number;
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly pads: readonly [number, number, number, number];
}

/** Reads the geometry of one or two spatial axes; undefined for others, channels-first images and symbolic extents. */
export function windowGeometry(
  shape: readonly Extent[],
  outShape: readonly Extent[],
  kernel: readonly number[],
  attributes: WindowAttributes,
): WindowGeometry | undefined {
  const { strides, dilations, pads, layout } = attributes;
  const spatial = shape.slice(1, -1);
  const out = outShape.slice(1, -1);
  const channels = shape[shape.length - 1];
  if (layout !== "channelsLast" || spatial.length < 1 || spatial.length > 2) return undefined;
  if (!spatial.every(isStatic) || !out.every(isStatic) || !isStatic(channels)) return undefined;
  const pair = <T>(list: readonly T[], missing: T): readonly [T, T] =>
    list.length === 2 ? [list[0], list[1]] : [missing, list[0]];
  const [height, width] = pair(spatial, 1);
  const [outHeight, outWidth] = pair(out, 1);
  const count = spatial.length;
  const [top, left] = pair(pads.slice(0, count), 0);
  const [bottom, right] = pair(pads.slice(count), 0);
  return {
    batch: shape[0],
    height,
    width,
    channels,
    outHeight,
    outWidth,
    kernel: pair(kernel, 1),
    strides: pair(strides, 1),
    dilations: pair(dilations, 1),
    pads: [top, left, bottom, right],
  };
}

/** Whether every window is one entry of the image, in order: rows then lie dense. */
export function isPointwise({ kernel, strides, pads }: WindowGeometry): boolean {
  return kernel.every((extent) => extent === 1) && strides.every((stride) => stride === 1) &&
    pads.every((pad) => pad === 0);
}

export function windowId(geometry: WindowGeometry): string {
  const { height, width, channels, kernel, strides, dilations, pads } = geometry;
  return `window=${height}x${width}x${channels}:${kernel.join("x")}/${strides.join("x")}*${dilations.join("x")}+${
    pads.join(",")
  }`;
}

/**
 * One row per output pixel: its window, [kernel height][kernel width][channels of the group], zeros where it leaves the
 * image (the copier has taken the zero point away by then).
 */
export function windowSource(geometry: WindowGeometry, groups: number, entryBytes: number): RowSource {
  const { channels, outHeight, outWidth, kernel, strides, dilations, pads } = geometry;
  const perGroup = channels / groups;
  const dense = groups === 1 && (dilations[1] === 1 || kernel[1] === 1);
  const copyWindow = (copier: SpanCopier): Lines =>
    dense ? copyDense(geometry, copier, entryBytes) : copyTaps(geometry, perGroup, copier, entryBytes);
  return {
    depth: kernel[0] * kernel[1] * perGroup,
    id: windowId(geometry),
    begin: [
      set("ox", sum(get("outer_row"), get("block"))),
      set("image", op("i32.div_u", get("ox"), constant(outHeight * outWidth))),
      set("ox", op("i32.rem_u", get("ox"), constant(outHeight * outWidth))),
      set("oy", op("i32.div_u", get("ox"), constant(outWidth))),
      set("ox", op("i32.rem_u", get("ox"), constant(outWidth))),
    ],
    copyRow: (copier) => [
      set("iy", plus(times(get("oy"), strides[0]), -pads[0])),
      set("ix", plus(times(get("ox"), strides[1]), -pads[1])),
      ...copyWindow(copier),
    ],
    next: [
      advance("ox", 1),
      ...ifThen(op("i32.eq", get("ox"), constant(outWidth)), [
        set("ox", constant(0)),
        advance("oy", 1),
        ...ifThen(op("i32.eq", get("oy"), constant(outHeight)), [set("oy", constant(0)), advance("image", 1)]),
      ]),
    ],
  };
}

/** Address of the entry (image, iy, ix) of the operand `$a`. */
function entryAddress({ height, width, channels }: WindowGeometry, iy: string, ix: string, entryBytes: number): string {
  const line = sum(times(get("image"), height), iy);
  return sum(get("a"), times(sum(times(line, width), ix), channels * entryBytes));
}

/** Whether a window can leave the image along an axis. */
function leaves(geometry: WindowGeometry, axis: 0 | 1): boolean {
  const { pads, kernel, strides, dilations } = geometry;
  const [extent, out] = axis === 0 ? [geometry.height, geometry.outHeight] : [geometry.width, geometry.outWidth];
  const last = (out - 1) * strides[axis] - pads[axis] + (kernel[axis] - 1) * dilations[axis];
  return pads[axis] > 0 || last >= extent;
}

/** The taps of a kernel line touch each other in memory: one span for each line, cut where the window leaves the image. */
function copyDense(geometry: WindowGeometry, copier: SpanCopier, entryBytes: number): Lines {
  const { height, width, channels, kernel, dilations } = geometry;
  const cutsX = leaves(geometry, 1);
  const cutsY = leaves(geometry, 0);
  const whole = kernel[1] * channels;
  const clamp = (value: string): string => op("select", value, constant(0), op("i32.gt_s", value, constant(0)));
  const before: Lines = cutsX
    ? [
      set("left", op("i32.sub", constant(0), get("ix"))),
      set("left", clamp(get("left"))),
      set("right", plus(get("ix"), kernel[1] - width)),
      set("right", clamp(get("right"))),
      set("inside", op("i32.sub", op("i32.sub", constant(kernel[1]), get("left")), get("right"))),
    ]
    : [];
  const from = set(
    "from",
    entryAddress(geometry, get("line"), cutsX ? sum(get("ix"), get("left")) : get("ix"), entryBytes),
  );
  const copyCut: Lines = [
    from,
    ...ifThen(get("left"), [set("count", times(get("left"), channels)), ...copier.zeros("count")]),
    set("count", times(get("inside"), channels)),
    ...copier.copy("count"),
    ...ifThen(get("right"), [set("count", times(get("right"), channels)), ...copier.zeros("count")]),
  ];
  const copyLine: Lines = cutsX ? copyCut : [from, ...copier.copy(whole)];
  const insideY = op("i32.lt_u", get("line"), constant(height));
  const insideX = op("i32.gt_s", get("inside"), constant(0));
  const condition = cutsX ? (cutsY ? op("i32.and", insideY, insideX) : insideX) : insideY;
  const line: Lines = cutsX || cutsY ? ifThen(condition, copyLine, copier.zeros(whole)) : copyLine;
  return [
    ...before,
    ...countedLoop("window_lines", "ky", kernel[0], [
      set("line", sum(get("iy"), times(get("ky"), dilations[0]))),
      ...line,
    ]),
  ];
}

/** Taps one by one, for groups of channels and for dilated lines. */
function copyTaps(geometry: WindowGeometry, perGroup: number, copier: SpanCopier, entryBytes: number): Lines {
  const { height, width, kernel, dilations } = geometry;
  const offset = times(get("group_index"), perGroup * entryBytes);
  const address = entryAddress(geometry, get("line"), get("place"), entryBytes);
  const copyTap: Lines = [
    set("from", perGroup === geometry.channels ? address : sum(address, offset)),
    ...copier.copy(perGroup),
  ];
  const inside = op(
    "i32.and",
    op("i32.lt_u", get("line"), constant(height)),
    op("i32.lt_u", get("place"), constant(width)),
  );
  const cut = leaves(geometry, 0) || leaves(geometry, 1);
  return countedLoop("window_lines", "ky", kernel[0], [
    set("line", sum(get("iy"), times(get("ky"), dilations[0]))),
    ...countedLoop("window_taps", "kx", kernel[1], [
      set("place", sum(get("ix"), times(get("kx"), dilations[1]))),
      ...(cut ? ifThen(inside, copyTap, copier.zeros(perGroup)) : copyTap),
    ]),
  ]);
}
