/** Geometry of sliding windows: attributes with their defaults, automatic padding, output extents. */

import { type Extent, isStatic } from "../../../ir/extent.ts";
import type { ImportContext } from "../op_importer.ts";
import { malformed } from "./faults.ts";
import { staticExtent } from "./operands.ts";

export type AutoPad = "NOTSET" | "SAME_UPPER" | "SAME_LOWER" | "VALID";

/** One entry per spatial axis; pads hold all begins, then all ends. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

export function autoPadOf(context: ImportContext): AutoPad {
  const value = context.node.attributes.string("auto_pad", "NOTSET");
  if (value === "NOTSET" || value === "SAME_UPPER" || value === "SAME_LOWER" || value === "VALID") return value;
  return malformed(context, `auto_pad is "${value}"`);
}

/** A list attribute of positive integers, one per spatial axis; ones when absent. */
export function perAxisAttribute(context: ImportContext, name: string, rank: number): readonly number[] {
  const values = context.node.attributes.ints(name, new Array<number>(rank).fill(1));
  if (values.length !== rank || values.some((value) => value < 1)) {
    return malformed(context, `${name} is [${values}], it must hold ${rank} positive integers`);
  }
  return values;
}

/** The attribute `pads`; zeros when absent. */
export function padsAttribute(context: ImportContext, rank: number): readonly number[] {
  const pads = context.node.attributes.ints("pads", new Array<number>(2 * rank).fill(0));
  if (pads.length !== 2 * rank || pads.some((pad) => pad < 0)) {
    return malformed(context, `pads is [${pads}], it must hold ${2 * rank} integers from 0 on`);
  }
  return pads;
}

/** Begin and end padding of a total; the odd one goes to the end for SAME_UPPER. */
export function splitPadding(total: number, autoPad: AutoPad): readonly [number, number] {
  const less = Math.floor(total / 2);
  return autoPad === "SAME_UPPER" ? [less, total - less] : [total - less, less];
}

/** Strides, dilations and padding of a window over spatial extents. */
export function windowOf(
  context: ImportContext,
  spatial: readonly Extent[],
  kernel: readonly number[],
  options: { readonly dilates: boolean },
): Window {
  const rank = spatial.length;
  const strides = perAxisAttribute(context, "strides", rank);
  const dilations = options.dilates ? perAxisAttribute(context, "dilations", rank) : new Array<number>(rank).fill(1);
  const autoPad = autoPadOf(context);
  const explicit = padsAttribute(context, rank);
  if (autoPad === "NOTSET") return { kernel, strides, dilations, pads: explicit };
  if (autoPad === "VALID") return { kernel, strides, dilations, pads: explicit.map(() => 0) };
  const split = spatial.map((extent, axis) => {
    const reach = dilations[axis] * (kernel[axis] - 1) + 1;
    return splitPadding(samePadding(context, extent, reach, strides[axis]), autoPad);
  });
  return { kernel, strides, dilations, pads: [...split.map(([begin]) => begin), ...split.map(([, end]) => end)] };
}

/** Padding in all that gives ceil(extent / stride) outputs. */
function samePadding(context: ImportContext, extent: Extent, reach: number, stride: number): number {
  if (stride === 1) return reach - 1;
  const size = isStatic(extent) ? extent : staticExtent(context, extent, "a spatial axis");
  return Math.max(0, (Math.ceil(size / stride) - 1) * stride + reach - size);
}

/**
 * Extents of a pooled map. In ceil mode a last window that would start in the padding after the end is left out.
 */
export function pooledExtents(
  context: ImportContext,
  spatial: readonly number[],
  window: Window,
  ceil: boolean,
): readonly number[] {
  const rank = spatial.length;
  return spatial.map((extent, axis) => {
    const before = window.pads[axis];
    const reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1;
    const room = (extent + before + window.pads[axis + rank] - reach) / window.strides[axis];
    const count = (ceil ? Math.ceil(room) : Math.floor(room)) + 1;
    if (count < 1) {
      return malformed(context, `a window of ${reach} does not fit into ${extent} with padding ${window.pads}`);
    }
    const startsOutside = ceil && (count - 1) * window.strides[axis] >= extent + before;
    return startsOutside ? count - 1 : count;
  });
}
