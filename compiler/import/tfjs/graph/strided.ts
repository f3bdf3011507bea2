/** TensorFlow's strided slices: masks resolved to starts, steps and extents. */

import { type Extent, isStatic } from "../../../ir/extent.ts";
import type { TfContext } from "./context.ts";

export interface StridedBounds {
  readonly starts: readonly number[];
  readonly steps: readonly number[];
  readonly extents: readonly Extent[];
  /** Shape after axes are dropped and added. */
  readonly shape: readonly Extent[];
}

/**
 * Bounds of the context's StridedSlice over a tensor of this shape. begin, end and strides are inputs 1 to 3. A symbolic
 * axis may only be taken from a fixed start to its end in steps of 1, or shrunk to a fixed place.
 */
export function stridedBounds(context: TfContext, shape: readonly Extent[]): StridedBounds {
  const { attributes } = context;
  const begin = context.integers(1);
  const end = context.extents(2);
  const strides = context.integers(3);
  if (end.length !== begin.length || strides.length !== begin.length) {
    return context.fail("begin, end and strides differ in length");
  }
  const mask = (name: string) => attributes.int(name, 0);
  const bit = (name: string, index: number) => (mask(name) >> index & 1) === 1;
  const starts: number[] = [];
  const steps: number[] = [];
  const extents: Extent[] = [];
  const result: Extent[] = [];
  const take = (start: number, step: number, extent: Extent, kept: boolean) => {
    starts.push(start);
    steps.push(step);
    extents.push(extent);
    if (kept) result.push(extent);
  };
  const explicit = begin.filter((_, index) => !bit("new_axis_mask", index) && !bit("ellipsis_mask", index)).length;
  for (let index = 0; index < begin.length; index++) {
    const axis = starts.length;
    if (bit("ellipsis_mask", index)) {
      shape.slice(axis, axis + shape.length - explicit).forEach((extent) => take(0, 1, extent, true));
      continue;
    }
    if (bit("new_axis_mask", index)) {
      result.push(1);
      continue;
    }
    const whole = shape[axis] ?? context.fail(`slices ${begin.length} axes of a tensor of rank ${shape.length}`);
    if (bit("shrink_axis_mask", index)) {
      take(place(context, begin[index], whole), 1, 1, false);
      continue;
    }
    const { start, extent } = axisBounds(
      context,
      whole,
      strides[index],
      bit("begin_mask", index) ? undefined : begin[index],
      bit("end_mask", index) ? undefined : end[index],
    );
    take(start, strides[index], extent, true);
  }
  shape.slice(starts.length).forEach((extent) => take(0, 1, extent, true));
  return { starts, steps, extents, shape: result };
}

function place(context: TfContext, index: number, whole: Extent): number {
  if (index >= 0 && (!isStatic(whole) || index < whole)) return index;
  if (isStatic(whole) && index < 0 && index >= -whole) return index + whole;
  return context.fail(`index ${index} is outside its axis`);
}

function axisBounds(
  context: TfContext,
  whole: Extent,
  step: number,
  begin: number | undefined,
  end: Extent | undefined,
): { readonly start: number; readonly extent: Extent } {
  if (step === 0) return context.fail("a stride is 0");
  if (!isStatic(whole)) {
    const covers = end === undefined || isStatic(end) && end >= 2 ** 30 || sameExtent(end, whole);
    const start = begin ?? 0;
    if (step !== 1 || !covers || start < 0) return context.fail("cuts an axis that is not fixed");
    return { start, extent: start === 0 ? whole : { ...whole, offset: whole.offset - start } };
  }
  if (end !== undefined && !isStatic(end)) return context.fail("the end is not fixed");
  const clamp = (index: number, least: number, most: number) => {
    const counted = index < 0 ? index + whole : index;
    return Math.min(most, Math.max(least, counted));
  };
  const [least, most] = step > 0 ? [0, whole] : [-1, whole - 1];
  const start = begin === undefined ? (step > 0 ? 0 : whole - 1) : clamp(begin, least, most);
  const stop = end === undefined ? (step > 0 ? whole : -1) : clamp(end, least, most);
  const extent = Math.max(0, Math.ceil((stop - start) / step));
  // An empty slice may begin anywhere inside.
  return { start: extent === 0 ? 0 : start, extent };
}

function sameExtent(a: Extent, b: Extent): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
