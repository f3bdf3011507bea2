/** Resize and Upsample as one resampling table per axis. */

import { binary, cast, select } from "../../../ir/expression.ts";
import { isFloat } from "../../../numeric/element.ts";
import { equalExtents, isStatic, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { plainTensor } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { number } from "./expressions.ts";
import { ignoreAttributes, malformed, needsConstant, needsStatic, unsupported } from "./faults.ts";
import { boolConstant, integerConstant, mapOf, numbersOf, plainConstant } from "./operands.ts";
import {
  type CoordinateMode,
  type Interpolation,
  type NearestMode,
  type ResampledAxis,
  type ResampleTable,
  resampleTable,
} from "./resample_table.ts";

/** A tensor axis and how it is resampled. */
interface AxisPlan extends ResampledAxis {
  readonly axis: number;
}

const coordinateModes: readonly CoordinateMode[] = [
  "half_pixel",
  "half_pixel_symmetric",
  "pytorch_half_pixel",
  "align_corners",
  "asymmetric",
  "tf_half_pixel_for_nn",
  "tf_crop_and_resize",
];

const nearestModes: readonly NearestMode[] = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];

function chosen<T extends string>(context: ImportContext, name: string, fallback: T, known: readonly T[]): T {
  const value = context.node.attributes.string(name, fallback);
  return known.find((entry) => entry === value) ??
    malformed(context, `${name} is "${value}", it must be one of ${known.join(", ")}`);
}

function statedInterpolation(context: ImportContext): Interpolation {
  const { attributes } = context.node;
  const mode = chosen(context, "mode", "nearest", ["nearest", "linear", "cubic"]);
  const coefficient = attributes.float("cubic_coeff_a", -0.75);
  const excludeOutside = attributes.int("exclude_outside", 0) !== 0;
  const antialias = context.node.opset >= 18 && attributes.int("antialias", 0) !== 0;
  const rounding = chosen(context, "nearest_mode", "round_prefer_floor", nearestModes);
  if (mode === "nearest") return { kind: "nearest", rounding };
  if (mode === "linear") return { kind: "linear", antialias, excludeOutside };
  return { kind: "cubic", antialias, excludeOutside, coefficient };
}

/** The floats of an input known at compile time; undefined when it is absent or empty. */
function constantFloats(context: ImportContext, index: number, name: string): readonly number[] | undefined {
  const value = context.optional(index);
  if (value === undefined) return undefined;
  if (context.typeOf(value).shape.some((extent) => extent === 0)) return undefined;
  const tensor = plainConstant(context, value) ?? needsConstant(context, `${name} must be known at compile time`);
  return numbersOf(tensor);
}

/** Resize from opset 11 on: scales or sizes of `axes`, a coordinate mode and a crop. */
function importResize(context: ImportContext): readonly ValueName[] {
  if (context.node.opset < 11) return importUpsample(context);
  const { attributes, opset } = context.node;
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const coordinates = chosen(context, "coordinate_transformation_mode", "half_pixel", coordinateModes);
  const interpolation = statedInterpolation(context);
  const outside = attributes.float("extrapolation_value", 0);
  const axes = opset >= 18 && attributes.has("axes")
    ? attributes.ints("axes").map((axis) => context.axis(axis, shape.length))
    : shape.map((_, axis) => axis);
  // It says something of sizes only, but exporters write it beside scales too.
  if (opset >= 18) ignoreAttributes(context, "keep_aspect_ratio_policy");
  const crop = coordinates === "tf_crop_and_resize" ? cropOf(context, axes.length) : undefined;
  const plans = plansOf(context, axes, coordinates, crop);
  return [resample(context, x, plans, () => interpolation, outside)];
}

function cropOf(context: ImportContext, axes: number): readonly number[] {
  const crop = constantFloats(context, 1, "roi") ?? malformed(context, "tf_crop_and_resize wants a roi");
  return crop.length === 2 * axes ? crop : malformed(context, `roi must hold ${2 * axes} numbers`);
}

function plansOf(
  context: ImportContext,
  axes: readonly number[],
  coordinates: CoordinateMode,
  crop: readonly number[] | undefined,
): readonly AxisPlan[] {
  const { shape } = context.typeOf(context.input(0));
  const place: AxisPlacer = (axis, index, length, scale) => {
    const extent = shape[axis];
    const range: readonly [number, number] = crop === undefined ? [0, 1] : [crop[index], crop[index + axes.length]];
    if (!isStatic(extent)) {
      return needsStatic(context, `Resize changes the symbolic extent ${printExtent(extent)} of axis ${axis}`);
    }
    const plan = { axis, input: extent, output: wholeExtent(length), length, scale, coordinates, crop: range };
    return isIdentity(plan) ? [] : [plan];
  };
  const scales = constantFloats(context, 2, "scales");
  if (scales !== undefined) {
    if (scales.length !== axes.length) return malformed(context, `scales must hold ${axes.length} numbers`);
    if (scales.some((scale) => !(scale > 0))) return malformed(context, `scales are [${scales}]`);
    return axes.flatMap((axis, index) => {
      const extent = shape[axis];
      if (scales[index] === 1 && crop === undefined) return [];
      return place(axis, index, isStatic(extent) ? scales[index] * extent : 0, scales[index]);
    });
  }
  return sizePlans(context, axes, place, crop !== undefined);
}

/** Places one axis: the tensor's axis, its index among the resized ones, the length after it and the scale. */
type AxisPlacer = (axis: number, index: number, length: number, scale: number) => AxisPlan[];

/** The whole part of a length in float32, in which scales are given: 10 entries at 0.7 become 7. */
function wholeExtent(length: number): number {
  return Math.floor(Math.fround(length));
}

function sizePlans(
  context: ImportContext,
  axes: readonly number[],
  place: AxisPlacer,
  cropped: boolean,
): readonly AxisPlan[] {
  const { shape } = context.typeOf(context.input(0));
  const policies = ["stretch", "not_larger", "not_smaller"] as const;
  const policy = context.node.opset >= 18
    ? chosen(context, "keep_aspect_ratio_policy", "stretch", policies)
    : "stretch";
  if (context.optional(3) === undefined) return malformed(context, "Resize has neither scales nor sizes");
  const sizes = context.extents(3);
  if (sizes.length !== axes.length) return malformed(context, `sizes must hold ${axes.length} integers`);
  if (policy === "stretch") {
    return axes.flatMap((axis, index) => {
      const extent = shape[axis];
      const size = sizes[index];
      if (!cropped && equalExtents(size, extent)) return [];
      if (!isStatic(size)) return needsStatic(context, `Resize to the symbolic extent ${printExtent(size)}`);
      return place(axis, index, size, isStatic(extent) ? size / extent : 0);
    });
  }
  const ratios = axes.map((axis, index) => {
    const [extent, size] = [shape[axis], sizes[index]];
    if (isStatic(extent) && isStatic(size)) return size / extent;
    return needsStatic(context, `Resize keeps the aspect ratio of a symbolic extent`);
  });
  const scale = policy === "not_larger" ? Math.min(...ratios) : Math.max(...ratios);
  return axes.flatMap((axis, index) => {
    const extent = shape[axis];
    return isStatic(extent) ? place(axis, index, Math.floor(scale * extent + 0.5), scale) : [];
  });
}

function isIdentity({ input, output, scale, coordinates, crop }: AxisPlan): boolean {
  if (input !== output) return false;
  return coordinates === "tf_crop_and_resize" ? crop[0] === 0 && crop[1] === 1 : scale === 1;
}

/**
 * Upsample, and Resize of opset 10: x / scale, linear or nearest. Nearest takes the entry before when an axis grows and
 * the one after when it shrinks, as that opset's node tests and onnxruntime do.
 */
function importUpsample(context: ImportContext): readonly ValueName[] {
  const { attributes, opset, opType } = context.node;
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const mode = chosen(context, "mode", "nearest", ["nearest", "linear"]);
  const fromAttribute = opType === "Upsample" && opset < 9;
  const scales = fromAttribute
    ? attributes.floats("scales")
    : constantFloats(context, 1, "scales") ?? malformed(context, "scales are missing");
  if (scales.length !== shape.length || scales.some((scale) => !(scale > 0))) {
    return malformed(context, `scales are [${scales}] for rank ${shape.length}`);
  }
  const plans = shape.flatMap((extent, axis): AxisPlan[] => {
    const scale = scales[axis];
    if (scale === 1) return [];
    if (!isStatic(extent)) return needsStatic(context, `resizes the symbolic extent ${printExtent(extent)}`);
    const length = scale * extent;
    return [{
      axis,
      input: extent,
      output: wholeExtent(length),
      length,
      scale,
      coordinates: "asymmetric",
      crop: [0, 1],
    }];
  });
  return [resample(context, x, plans, ({ scale }) => {
    if (mode === "linear") return { kind: "linear", antialias: false, excludeOutside: false };
    return { kind: "nearest", rounding: scale < 1 ? "ceil" : "floor" };
  }, 0)];
}

/** Entries that one axis may be resized to: its table holds a row for each. */
const axisLimit = 2 ** 20;

/** Applies the tables axis by axis. Nearest takes entries as they are; the rest is computed in float. */
function resample(
  context: ImportContext,
  x: ValueName,
  plans: readonly AxisPlan[],
  interpolationOf: (plan: AxisPlan) => Interpolation,
  outside: number,
): ValueName {
  const { element, shape } = context.typeOf(x);
  if (plans.some(({ input, output }) => input < 1 || output < 1)) {
    return unsupported(context, "resizes from or to an empty extent");
  }
  const largest = plans.find(({ output }) => output > axisLimit);
  if (largest !== undefined) return unsupported(context, `resizes axis ${largest.axis} to ${largest.output} entries`);
  const tables = plans.map((plan) => ({ axis: plan.axis, table: resampleTable(plan, interpolationOf(plan)) }));
  const exact = plans.every((plan) => interpolationOf(plan).kind === "nearest") && !isFloat(element);
  const work = exact || element === "f64" ? element : "f32";
  const result = tables.reduce(
    (value, { axis, table }) => exact ? picked(context, value, axis, table) : weighted(context, value, axis, table),
    exact ? x : context.builder.cast(x, work),
  );
  const masks = tables.filter(({ table }) => table.inside.some((inside) => !inside)).map(({ axis, table }) =>
    boolConstant(context, shape.map((_, index) => (index === axis ? table.inside.length : 1)), table.inside)
  );
  if (masks.length === 0) return context.builder.cast(result, element);
  return mapOf(context, [result, ...masks], ([value, ...inside]) => {
    const within = inside.reduce((all, mask) => binary("and", all, mask));
    const chosenValue = select(within, value, number(work, outside));
    return work === element ? chosenValue : cast(element, chosenValue);
  });
}

function weighted(context: ImportContext, value: ValueName, axis: number, table: ResampleTable): ValueName {
  const shape = [table.inside.length, table.taps];
  const indices = context.builder.constant(plainTensor("i32", shape, Int32Array.from(table.indices)));
  const weights = context.builder.constant(plainTensor("f32", shape, Float32Array.from(table.weights)));
  return context.builder.add("resample", [value, indices, weights], { axis });
}

function picked(context: ImportContext, value: ValueName, axis: number, table: ResampleTable): ValueName {
  const indices = integerConstant(context, [table.indices.length], table.indices);
  return context.builder.add("gather", [value, indices], { axis });
}

export const resizeImporters: OpImporterTable = {
  Resize: importResize,
  Upsample: importUpsample,
};
