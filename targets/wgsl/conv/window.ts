/** The left side of a conv: windows of an image, each a row whose depth runs through taps, then channels in fours. */

import { type Extent, isStatic } from "../../../compiler/ir/extent.ts";
import type { WindowAttributes } from "../../../compiler/ir/node.ts";
import type { WindowAxes } from "../../loops/lower/linear.ts";
import { extentIndex } from "../../loops/index.ts";
import { bufferOf, stepIndex } from "../../loops/operand.ts";
import { isUnsigned, type LeftRows, nothingText, type UnitText } from "../dot/left.ts";
import { placeAxes } from "../dot/places.ts";
import type { LeftForm } from "../dot/problem.ts";
import { bare, indexText } from "../loops/scalar.ts";

export interface WindowGeometry {
  readonly axes: WindowAxes;
  readonly attributes: WindowAttributes;
  readonly groups: number;
  /** Channels of a group. */
  readonly channels: number;
  /** Extents of the kernel along the spatial axes. */
  readonly kernel: readonly number[];
  /** Variables of the batch and of the output's spatial axes. */
  readonly batch: string;
  readonly outputs: readonly string[];
  readonly outputExtents: readonly Extent[];
}

/** Units of four channels at a tap. */
export function channelUnits({ channels }: WindowGeometry): number {
  return Math.ceil(channels / 4);
}

export function tapCount({ kernel }: WindowGeometry): number {
  return kernel.reduce((product, extent) => product * extent, 1);
}

/** Reads a unit: one tap, four channels. Padding is the zero point of codes, and 0 otherwise. */
export function windowUnit(geometry: WindowGeometry, rows: LeftRows, kind: LeftForm["kind"]): UnitText {
  const { axes, attributes, groups, channels, kernel } = geometry;
  const { operand, lowering, indices } = rows;
  const { strides, dilations, pads, layout } = attributes;
  const units = channelUnits(geometry);
  const buffer = bufferOf(lowering.b, operand, kind === "codes" ? "codes" : "data", "read");
  const channelStride = operand.strides[axes.channel];
  const taps = kernel.map((extent, axis) => ({ variable: `tap${axis}`, extent }));
  const hasTaps = tapCount(geometry) > 1;
  const places = axes.spatial.map((_, axis) => {
    const before = pads[axis];
    const start = `${geometry.outputs[axis]}${strides[axis] === 1 ? "" : ` * ${strides[axis]}`}`;
    const tap = kernel[axis] === 1 ? "" : ` + tap${axis}${dilations[axis] === 1 ? "" : ` * ${dilations[axis]}`}`;
    return `let place${axis} = ${start}${before === 0 ? "" : ` - ${before}`}${tap};`;
  });
  const tests = axes.spatial.flatMap((axis, index) => {
    if (!reachesOut(geometry, operand.shape[axis], index)) return [];
    const extent = indexText(extentIndex(operand.shape[axis]));
    return [`place${index} >= 0 && place${index} < ${extent}`];
  });
  const terms = [
    ...(operand.shape[0] === 1 ? [] : [`${geometry.batch} * ${operand.strides[0]}`]),
    ...axes.spatial.map((axis, index) => `place${index} * ${operand.strides[axis]}`),
    `channel * ${channelStride}`,
  ];
  const hasZeros = kind === "codes" && operand.scheme?.zeroPoint === true;
  const zeros = hasZeros ? bufferOf(lowering.b, operand, "zeros", "read") : "";
  const type = isUnsigned(operand) ? "u32" : "i32";
  const zero = hasZeros
    ? `${type}(load_${zeros}(${bare(indexText(stepIndex(operand, indices)))}))`
    : kind === "float"
    ? "0f"
    : `${type}(0)`;
  const nothing = nothingText(operand, kind);
  const short = channels % 4 !== 0;
  return {
    name: `window(${layout},kernel=${kernel.join("x")},strides=${strides.join("x")},dilations=${
      dilations.join("x")
    },pads=${pads.join(":")},channels=${channels}${groups === 1 ? "" : `,groups=${groups}`})`,
    lines: [
      ...(hasTaps ? [`let tap = unit / ${units};`, ...placeAxes("tap", taps)] : []),
      `let four = 4 * (unit % ${units});`,
      `let channel = ${groups === 1 ? "" : `outer * ${channels} + `}four;`,
      ...places,
      ...(tests.length > 0
        ? [
          `let inside = ${tests.join(" && ")};`,
          `let at = select(0, ${terms.join(" + ")}, inside);`,
          `let padding = ${zero};`,
        ]
        : [`let at = ${terms.join(" + ")};`]),
    ],
    entry: (index) => {
      const held = short && index > 0 ? `select(0, ${index * channelStride}, four + ${index} < ${channels})` : "";
      const step = index === 0 ? "" : ` + ${short ? held : index * channelStride}`;
      const load = `load_${buffer}(at${step})`;
      const padded = tests.length > 0 ? `select(padding, ${load}, inside)` : load;
      return short && index > 0 ? `select(${nothing}, ${padded}, four + ${index} < ${channels})` : padded;
    },
  };
}

/** Whether windows may leave the image along an axis. */
function reachesOut(
  { attributes, kernel, outputExtents }: WindowGeometry,
  extent: Extent,
  axis: number,
): boolean {
  const count = outputExtents[axis];
  if (attributes.pads[axis] > 0 || !isStatic(extent) || !isStatic(count)) return true;
  const last = (count - 1) * attributes.strides[axis] - attributes.pads[axis] +
    (kernel[axis] - 1) * attributes.dilations[axis];
  return last >= extent;
}
