/** GridSample, AffineGrid and RoiAlign: entries read at places that are computed from data. */

import { binary, cast, compare, type Expression, select, unary } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, div, max, min, mul, number, sub } from "./expressions.ts";
import { malformed, unsupported } from "./faults.ts";
import { matmul } from "./linear.ts";
import { floatConstant, mapOf, reshaped, sliced, staticShape, tableSize, transposed } from "./operands.ts";
import { meanOf, reduced } from "./reduction.ts";

type Padding = "zeros" | "border" | "reflection";
type Mode = "nearest" | "linear" | "cubic";

function real(value: number): Expression {
  return number("f32", value);
}

function clamped(x: Expression, low: number, high: number): Expression {
  return min(max(x, real(low)), real(high));
}

/** Folds a place back into low..high at its borders, as often as needed. */
function reflected(x: Expression, low: number, high: number): Expression {
  const range = high - low;
  if (range === 0) return real(low);
  const wave = binary("mod", sub(x, real(low)), real(2 * range));
  return add(real(low), select(compare("gt", wave, real(range)), sub(real(2 * range), wave), wave));
}

/** Keys' cubic convolution kernel with a = -0.75. */
function cubicWeight(distance: Expression): Expression {
  const a = -0.75;
  const x = unary("abs", distance);
  const near = add(mul(mul(sub(mul(real(a + 2), x), real(a + 3)), x), x), real(1));
  const far = sub(mul(add(mul(sub(mul(real(a), x), real(5 * a)), x), real(8 * a)), x), real(4 * a));
  return select(compare("le", x, real(1)), near, far);
}

function modeOf(context: ImportContext): Mode {
  const mode = context.node.attributes.string("mode", context.node.opset < 20 ? "bilinear" : "linear");
  if (mode === "nearest") return "nearest";
  if (mode === "linear" || mode === "bilinear") return "linear";
  return mode === "cubic" || mode === "bicubic" ? "cubic" : malformed(context, `mode is "${mode}"`);
}

function paddingOf(context: ImportContext): Padding {
  const padding = context.node.attributes.string("padding_mode", "zeros");
  if (padding === "zeros" || padding === "border" || padding === "reflection") return padding;
  return malformed(context, `padding_mode is "${padding}"`);
}

/** One axis of the sampled map. */
interface Axis {
  readonly extent: number;
  readonly padding: Padding;
  readonly mode: Mode;
  /** The borders at which places are reflected. */
  readonly low: number;
  readonly high: number;
}

/** The place in entries that a coordinate of -1..1 stands for, moved inside as the padding says. */
function placeOf(coordinate: Expression, axis: Axis, alignCorners: boolean): Expression {
  const { extent, mode, padding, low, high } = axis;
  const raw = alignCorners
    ? mul(div(add(coordinate, real(1)), real(2)), real(extent - 1))
    : div(sub(mul(add(coordinate, real(1)), real(extent)), real(1)), real(2));
  const place = mode === "nearest" ? unary("round", raw) : raw;
  if (padding === "border") return clamped(place, 0, extent - 1);
  if (padding === "reflection") return reflected(place, low, high);
  return place;
}

/** Offsets of the taps from the entry at or before a place. */
const tapOffsets: Readonly<Record<Mode, readonly number[]>> = {
  nearest: [0],
  linear: [0, 1],
  cubic: [-1, 0, 1, 2],
};

/** The entry that a tap reads, as i32 inside the axis. */
function tapEntry(tap: Expression, { extent, padding, low, high }: Axis): Expression {
  const inside = padding === "reflection" ? reflected(tap, low, high) : tap;
  return cast("i32", clamped(inside, 0, extent - 1));
}

function tapWeight(place: Expression, tap: Expression, { extent, padding, mode }: Axis): Expression {
  const distance = sub(place, tap);
  const weight = mode === "nearest"
    ? real(1)
    : mode === "linear"
    ? max(real(0), sub(real(1), unary("abs", distance)))
    : cubicWeight(distance);
  if (padding !== "zeros") return weight;
  const isInside = binary("and", compare("ge", tap, real(0)), compare("le", tap, real(extent - 1)));
  return select(isInside, weight, real(0));
}

/** Every combination of one entry of each list, the last list fastest. */
function combinations(lists: readonly (readonly number[])[]): readonly (readonly number[])[] {
  return lists.reduce<readonly (readonly number[])[]>(
    (all, list) => all.flatMap((prefix) => list.map((entry) => [...prefix, entry])),
    [[]],
  );
}

function importGridSample(context: ImportContext): readonly ValueName[] {
  const [x, grid] = [context.input(0), context.input(1)];
  const [batch, channels, ...extents] = staticShape(context, x, "the input");
  const gridShape = staticShape(context, grid, "the grid");
  const rank = extents.length;
  if (rank < 1 || gridShape.length !== rank + 2 || gridShape[rank + 1] !== rank) {
    return malformed(context, `the grid has the shape [${gridShape}] for ${rank} spatial axes`);
  }
  const [mode, padding] = [modeOf(context), paddingOf(context)];
  const alignCorners = context.node.attributes.int("align_corners", 0) !== 0;
  const axes = extents.map((extent): Axis => ({
    extent,
    padding,
    mode,
    low: alignCorners ? 0 : -0.5,
    high: alignCorners ? extent - 1 : extent - 0.5,
  }));
  const points = sizeOf(gridShape.slice(1, -1));
  const flat = reshaped(context, context.builder.cast(grid, "f32"), [batch, points, rank]);
  // The last coordinate of a grid point belongs to the first spatial axis.
  const places = axes.map((axis, index) =>
    mapOf(
      context,
      [sliced(context, flat, 2, rank - 1 - index, 1)],
      ([coordinate]) => placeOf(coordinate, axis, alignCorners),
    )
  );
  const taps = combinations(axes.map(() => tapOffsets[mode]));
  const offsets = axes.map((_, index) => floatConstant(context, "f32", [taps.length], taps.map((tap) => tap[index])));
  const operands = [...places, ...offsets];
  const tapOf = (values: readonly Expression[], index: number) =>
    mode === "nearest" ? values[index] : add(unary("floor", values[index]), values[rank + index]);
  const indices = mapOf(context, operands, (values) =>
    axes.reduce<Expression>(
      (entry, axis, index) => add(mul(entry, number("i32", axis.extent)), tapEntry(tapOf(values, index), axis)),
      number("i32", 0),
    ));
  const weights = mapOf(
    context,
    operands,
    (values) => axes.map((axis, index) => tapWeight(values[index], tapOf(values, index), axis)).reduce(mul),
  );
  const rows = transposed(context, reshaped(context, x, [batch, channels, sizeOf(extents)]), [0, 2, 1]);
  const read = context.builder.add(
    "gatherNd",
    [rows, reshaped(context, indices, [batch, points, taps.length, 1])],
    { batchAxes: 1 },
  );
  const sum = weightedSum(context, read, reshaped(context, weights, [batch, points, taps.length, 1]), 2);
  const y = transposed(context, sum, [0, 2, 1]);
  return [reshaped(context, y, [batch, channels, ...gridShape.slice(1, -1)])];
}

/** Σ weights * values along `axis`, in the element of the values. */
function weightedSum(context: ImportContext, values: ValueName, weights: ValueName, axis: number): ValueName {
  const { element } = context.typeOf(values);
  const work = element === "f64" ? "f64" : "f32";
  const products = mapOf(
    context,
    [context.builder.cast(values, work), context.builder.cast(weights, work)],
    ([value, weight]) => mul(value, weight),
  );
  return context.builder.cast(reduced(context, products, "sum", { axes: [axis], keepAxes: false }), element);
}

/** AffineGrid: the points of a regular grid of -1..1, each with a 1 appended, times theta. */
function importAffineGrid(context: ImportContext): readonly ValueName[] {
  const theta = context.input(0);
  const [batch, , ...extents] = context.integers(1);
  const { shape, element } = context.typeOf(theta);
  const rank = extents.length;
  if (rank < 1 || shape.length !== 3 || shape[1] !== rank || shape[2] !== rank + 1 || shape[0] !== batch) {
    return malformed(context, `theta does not fit the size [${context.integers(1)}]`);
  }
  const alignCorners = context.node.attributes.int("align_corners", 0) !== 0;
  const coordinate = (index: number, extent: number) => {
    if (!alignCorners) return (2 * index + 1) / extent - 1;
    return extent > 1 ? (2 * index) / (extent - 1) - 1 : 0;
  };
  const points = combinations(extents.map((extent) => [...Array(extent).keys()]));
  const rows = points.flatMap((point) => [
    ...point.map((index, axis) => coordinate(index, extents[axis])).reverse(),
    1,
  ]);
  const base = floatConstant(context, element, [points.length, rank + 1], rows);
  const grid = matmul(context, base, theta, { transposeB: true });
  return [reshaped(context, grid, [batch, ...extents, rank])];
}

/** One axis of a region: its extent, the sampled places of a unit region, and where its bounds lie in a roi. */
interface RoiAxis {
  readonly extent: number;
  readonly bins: number;
  readonly start: number;
  readonly end: number;
}

/** Places [R, samples] of one axis of every region. */
function roiPlaces(context: ImportContext, rois: ValueName, axis: RoiAxis, samples: number, halfPixel: boolean) {
  const scale = context.node.attributes.float("spatial_scale", 1);
  const unit = Array.from({ length: tableSize(context, axis.bins * samples) }, (_, index) => (index + 0.5) / samples);
  const parts = [axis.start, axis.end].map((column) => sliced(context, rois, 1, column, 1));
  const steps = floatConstant(context, "f32", [unit.length], unit);
  return mapOf(context, [...parts, steps], ([from, to, step]) => {
    const start = sub(mul(from, real(scale)), real(halfPixel ? 0.5 : 0));
    const end = sub(mul(to, real(scale)), real(halfPixel ? 0.5 : 0));
    const width = halfPixel ? sub(end, start) : max(sub(end, start), real(1));
    return add(start, mul(div(width, real(axis.bins)), step));
  });
}

/** The entry that a tap (0 or 1) of a place reads, and its weight: 0 outside -1..extent. */
function roiTap(place: Expression, tap: Expression, extent: number): { entry: Expression; weight: Expression } {
  const inside = min(max(place, real(0)), real(extent - 1));
  const low = unary("floor", inside);
  const part = sub(inside, low);
  const isOutside = binary("or", compare("lt", place, real(-1)), compare("gt", place, real(extent)));
  const weight = select(compare("eq", tap, real(0)), sub(real(1), part), part);
  return { entry: min(add(low, tap), real(extent - 1)), weight: select(isOutside, real(0), weight) };
}

function importRoiAlign(context: ImportContext): readonly ValueName[] {
  const { attributes, opset } = context.node;
  const [x, batches] = [context.input(0), context.input(2)];
  const rois = context.builder.cast(context.input(1), "f32");
  const [batch, channels, height, width] = staticShape(context, x, "the input");
  const [regions] = staticShape(context, rois, "the regions");
  const samples = attributes.int("sampling_ratio", 0);
  if (samples < 1) {
    return unsupported(
      context,
      "sampling_ratio 0 takes as many samples as a region is large",
      "Export with a sampling ratio",
    );
  }
  const [rows, columns] = [attributes.int("output_height", 1), attributes.int("output_width", 1)];
  const halfPixel = opset >= 16 && attributes.string("coordinate_transformation_mode", "half_pixel") === "half_pixel";
  const mode = attributes.string("mode", "avg");
  const axes: readonly RoiAxis[] = [
    { extent: height, bins: rows, start: 1, end: 3 },
    { extent: width, bins: columns, start: 0, end: 2 },
  ];
  const [ys, xs] = axes.map((axis) => roiPlaces(context, rois, axis, samples, halfPixel));
  const [tall, wide] = [rows * samples, columns * samples];
  const operands = [
    reshaped(context, ys, [regions, tall, 1, 1]),
    reshaped(context, xs, [regions, 1, wide, 1]),
    floatConstant(context, "f32", [4], [0, 0, 1, 1]),
    floatConstant(context, "f32", [4], [0, 1, 0, 1]),
  ];
  const images = reshaped(context, context.builder.cast(batches, "i32"), [regions, 1, 1, 1]);
  const indices = mapOf(context, [...operands, images], ([y, x, dy, dx, image]) => {
    const row = add(mul(image, number("i32", height)), cast("i32", roiTap(y, dy, height).entry));
    return add(mul(row, number("i32", width)), cast("i32", roiTap(x, dx, width).entry));
  });
  const weights = mapOf(
    context,
    operands,
    ([y, x, dy, dx]) => mul(roiTap(y, dy, height).weight, roiTap(x, dx, width).weight),
  );
  const entries = reshaped(context, transposed(context, x, [0, 2, 3, 1]), [batch * height * width, channels]);
  const read = context.builder.add("gather", [entries, indices], { axis: 0 });
  const shaped = reshaped(context, weights, [regions, tall, wide, 4, 1]);
  const y = mode === "max"
    ? largestSample(context, read, shaped, [regions, rows, samples, columns, samples, 4, channels])
    : meanOf(
      context,
      reshaped(context, weightedSum(context, read, shaped, 3), [regions, rows, samples, columns, samples, channels]),
      { axes: [2, 4], keepAxes: false },
    );
  return [transposed(context, y, [0, 3, 1, 2])];
}

/** RoiAlign's maximum is that of the weighted taps, not of their sums. */
function largestSample(
  context: ImportContext,
  read: ValueName,
  weights: ValueName,
  shape: readonly number[],
): ValueName {
  const products = mapOf(
    context,
    [read, context.builder.cast(weights, context.typeOf(read).element)],
    ([value, weight]) => mul(value, weight),
  );
  return reduced(context, reshaped(context, products, shape), "max", { axes: [2, 4, 5], keepAxes: false });
}

export const samplingImporters: OpImporterTable = {
  GridSample: importGridSample,
  AffineGrid: importAffineGrid,
  RoiAlign: importRoiAlign,
};
