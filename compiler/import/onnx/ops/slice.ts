/** Slice and Split, whose bounds may be symbolic. */

import { addExtents, equalExtents, type Extent, isStatic, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { extentCeiling, extentFloor } from "../shape_vector.ts";
import { extentsOf, optionalIntegers } from "./versioned_inputs.ts";

/** One axis of a slice: where it starts, its step and how many entries it takes. */
interface AxisSlice {
  readonly start: number;
  readonly step: number;
  readonly extent: Extent;
}

function importSlice(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const isOld = context.node.opset < 10;
  const starts = extentsOf(context, 1, "starts", 10);
  const ends = extentsOf(context, 2, "ends", 10);
  const given = optionalIntegers(context, 3, "axes", 10) ?? starts.map((_, index) => index);
  const steps = isOld || context.optional(4) === undefined ? starts.map(() => 1) : context.integers(4);
  if (ends.length !== starts.length || given.length !== starts.length || steps.length !== starts.length) {
    context.fail(
      "Q1053",
      `${starts.length} starts meet ${ends.length} ends, ${given.length} axes, ${steps.length} steps`,
    );
  }
  const slices: AxisSlice[] = shape.map((extent) => ({ start: 0, step: 1, extent }));
  const seen = new Set<number>();
  given.forEach((entry, index) => {
    const axis = context.axis(entry, shape.length);
    if (seen.has(axis)) context.fail("Q1053", `axis ${axis} is sliced twice`);
    seen.add(axis);
    slices[axis] = sliceAxis(context, shape[axis], starts[index], ends[index], steps[index]);
  });
  const isWhole = slices.every(({ start, step, extent }, axis) =>
    start === 0 && step === 1 && equalExtents(extent, shape[axis])
  );
  if (isWhole) return [x];
  const attributes = {
    starts: slices.map(({ start }) => start),
    steps: slices.map(({ step }) => step),
    extents: slices.map(({ extent }) => extent),
  };
  return [context.builder.add("slice", [x], attributes)];
}

function sliceAxis(context: ImportContext, whole: Extent, start: Extent, end: Extent, step: number): AxisSlice {
  if (!Number.isInteger(step) || step === 0) context.fail("Q1053", `the step is ${step}`);
  if (isStatic(whole) && isStatic(start) && isStatic(end)) return sliceStatic(whole, start, end, step);
  const symbolic = step === 1 ? sliceSymbolic(context, whole, start, end) : undefined;
  return symbolic ?? context.fail(
    "Q1053",
    `cannot slice an axis of ${printExtent(whole)} from ${printExtent(start)} to ${printExtent(end)} by ${step}`,
    "Bind the symbol to a number with --bind",
  );
}

function sliceStatic(whole: number, start: number, end: number, step: number): AxisSlice {
  const clamp = (at: number, low: number, high: number) => Math.min(high, Math.max(low, at < 0 ? at + whole : at));
  const [low, high] = step > 0 ? [0, whole] : [-1, whole - 1];
  const from = clamp(start, low, high);
  const count = Math.max(0, Math.ceil((clamp(end, low, high) - from) / step));
  return { start: count === 0 ? 0 : from, step, extent: count };
}

function smallest(context: ImportContext, extent: Extent): number {
  return extentFloor(extent, context.builder.symbols);
}

function largest(context: ImportContext, extent: Extent): number {
  return extentCeiling(extent, context.builder.symbols);
}

/** A step of 1 over symbolic extents: the start must be a number, the end a number or at most the whole. */
function sliceSymbolic(context: ImportContext, whole: Extent, start: Extent, end: Extent): AxisSlice | undefined {
  const least = smallest(context, whole);
  const from = isStatic(start) ? start : equalExtents(start, whole) ? Infinity : undefined;
  if (from === undefined) return undefined;
  if (from === Infinity) return { start: 0, step: 1, extent: 0 };
  if (from < 0 || from > least) return undefined;
  const stop = clampedEnd(context, whole, end, least);
  const extent = stop === undefined ? undefined : addExtents(stop, -from);
  return extent === undefined || smallest(context, extent) < 0 ? undefined : { start: from, step: 1, extent };
}

/** The end of a slice within its axis, where that is one extent for every value of the symbols. */
function clampedEnd(context: ImportContext, whole: Extent, end: Extent, least: number): Extent | undefined {
  if (equalExtents(whole, end)) return whole;
  if (!isStatic(end)) {
    const room = isStatic(whole) ? undefined : addExtents(whole, -end.offset);
    const isSameSymbol = !isStatic(whole) && whole.symbol === end.symbol && whole.factor === end.factor;
    if (isSameSymbol && room !== undefined) return end.offset <= whole.offset ? end : whole;
    if (isStatic(whole) && largest(context, end) <= whole) return end;
    return smallest(context, end) >= largest(context, whole) ? whole : undefined;
  }
  if (end < 0) return -end <= least ? addExtents(whole, end) : undefined;
  if (end <= least) return end;
  return end >= largest(context, whole) ? whole : undefined;
}

function importSplit(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const { attributes, opset, outputUsed } = context.node;
  const axis = context.axis(attributes.int("axis", 0), shape.length);
  const whole = shape[axis];
  const given = optionalIntegers(context, 1, "split", 13);
  const count = opset >= 18 && attributes.has("num_outputs") ? attributes.int("num_outputs") : outputUsed.length;
  const parts = given ?? equalParts(context, whole, count);
  if (isStatic(whole) && parts.reduce((sum, part) => sum + part, 0) !== whole) {
    context.fail("Q1054", `parts of [${parts}] do not add up to ${whole}`);
  }
  if (parts.length < outputUsed.length) context.fail("Q1054", `${outputUsed.length} outputs for ${parts.length} parts`);
  let start = 0;
  return parts.map((extent) => {
    const attributes = {
      starts: shape.map((_, index) => (index === axis ? start : 0)),
      steps: shape.map(() => 1),
      extents: shape.map((old, index) => (index === axis ? extent : old)),
    };
    start += extent;
    return context.builder.add("slice", [x], attributes, { name: "split" });
  });
}

/** Equal parts, the last one smaller where they do not divide (opset 18). */
function equalParts(context: ImportContext, whole: Extent, count: number): readonly number[] {
  if (!isStatic(whole)) return context.fail("Q1054", `cannot split an axis of ${printExtent(whole)}`);
  if (!Number.isInteger(count) || count < 1 || count > Math.max(1, whole)) {
    return context.fail("Q1054", `cannot split ${whole} into ${count} parts`);
  }
  if (context.node.opset < 18 && whole % count !== 0) {
    context.fail("Q1054", `${whole} does not divide into ${count} parts`);
  }
  const part = Math.ceil(whole / count);
  const last = whole - part * (count - 1);
  if (last < 0) context.fail("Q1054", `${whole} does not divide into ${count} parts of ${part}`);
  return Array.from({ length: count }, (_, index) => (index === count - 1 ? last : part));
}

export const sliceImporters: OpImporterTable = {
  Slice: importSlice,
  Split: importSplit,
};
