/** Shapes and views: what only moves or names entries. */

import { type ElementType, isFloat, isWide } from "../../../numeric/element.ts";
import { binary, cast, input } from "../../../ir/expression.ts";
import { addExtents, equalExtents, type Extent, isStatic, printExtent, shapeSize } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { emptyTensor, type PlainTensor, sizeOf } from "../../../ir/tensor.ts";
import { broadcastShapes } from "../../../ir/type_rules.ts";
import { constantAttribute } from "../attributes.ts";
import { divideExtents } from "../dimension_text.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { extentCeiling, extentFloor } from "../shape_vector.ts";
import { numbersOf } from "./operands.ts";

function importShape(context: ImportContext): readonly ValueName[] {
  const { shape } = context.typeOf(context.input(0));
  const { attributes, opset } = context.node;
  if (opset < 15) return [context.shapeValue(shape)];
  const bound = (at: number) => Math.min(shape.length, Math.max(0, at < 0 ? at + shape.length : at));
  const start = bound(attributes.int("start", 0));
  const end = bound(attributes.int("end", shape.length));
  return [context.shapeValue(shape.slice(start, Math.max(start, end)))];
}

function importSize(context: ImportContext): readonly ValueName[] {
  const { shape } = context.typeOf(context.input(0));
  const size = shapeSize(shape) ??
    context.fail("Q1050", `the size of [${shape.map(printExtent)}] is not a multiple of one symbol`);
  return [reshaped(context, context.shapeValue([size]), [])];
}

/** A reshape node, or the value itself where the shape stays. */
function reshaped(context: ImportContext, value: ValueName, shape: readonly Extent[]): ValueName {
  const before = context.typeOf(value).shape;
  const isSame = before.length === shape.length && before.every((extent, axis) => equalExtents(extent, shape[axis]));
  return isSame ? value : context.builder.add("reshape", [value], { shape });
}

/** Extents of an input or, in old opsets, of an attribute. */
function extentsOf(context: ImportContext, index: number, attribute: string, since: number): readonly Extent[] {
  return context.node.opset < since ? context.node.attributes.ints(attribute) : context.extents(index);
}

/** Integers of an input that may be absent or, in old opsets, of an attribute that may be absent. */
function optionalIntegers(
  context: ImportContext,
  index: number,
  attribute: string,
  since: number,
): readonly number[] | undefined {
  if (context.node.opset < since) {
    return context.node.attributes.has(attribute) ? context.node.attributes.ints(attribute) : undefined;
  }
  return context.optional(index) === undefined ? undefined : context.integers(index);
}

function importReshape(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const before = context.typeOf(x).shape;
  const keepsZero = context.node.opset >= 14 && context.node.attributes.int("allowzero", 0) !== 0;
  const wanted = context.extents(1).map((extent, axis) => {
    if (extent !== 0 || keepsZero) return extent;
    return before[axis] ?? context.fail("Q1051", `the new shape copies axis ${axis}, which the input does not have`);
  });
  const holes = wanted.filter((extent) => extent === -1).length;
  if (holes > 1) context.fail("Q1051", "the new shape has -1 more than once");
  const bad = wanted.find((extent) => isStatic(extent) && extent < -1);
  if (bad !== undefined) context.fail("Q1051", `the new shape has the extent ${printExtent(bad)}`);
  if (holes === 0) return [reshaped(context, x, wanted)];
  const hole = inferHole(before, wanted) ??
    context.fail("Q1051", `[${before.map(printExtent)}] does not divide into [${wanted.map(printExtent)}]`);
  return [reshaped(context, x, wanted.map((extent) => (extent === -1 ? hole : extent)))];
}

/** The extent that -1 stands for: what is left of `before` once the other extents are taken out. */
function inferHole(before: readonly Extent[], wanted: readonly Extent[]): Extent | undefined {
  const rest = wanted.filter((extent) => extent !== -1);
  const left = [...before];
  // Equal symbolic extents cancel; what remains must divide as numbers.
  const divisors = rest.filter((extent) => {
    if (isStatic(extent)) return true;
    const twin = left.findIndex((other) => equalExtents(other, extent));
    if (twin >= 0) left.splice(twin, 1);
    return twin < 0;
  });
  const size = shapeSize(left);
  const divisor = shapeSize(divisors);
  if (size === undefined || divisor === undefined) return undefined;
  if (isStatic(size) && isStatic(divisor)) {
    if (divisor === 0) return size === 0 ? 0 : undefined;
    return size % divisor === 0 ? size / divisor : undefined;
  }
  return isStatic(divisor) ? divideExtents(size, divisor) : proportion(size, divisor);
}

/** size / divisor when both are multiples of the same symbolic extent. */
function proportion(size: Extent, divisor: Extent): number | undefined {
  if (isStatic(size) || isStatic(divisor) || size.symbol !== divisor.symbol) return undefined;
  const ratio = size.factor / divisor.factor;
  return Number.isInteger(ratio) && size.offset === ratio * divisor.offset ? ratio : undefined;
}

function importSqueeze(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const given = optionalIntegers(context, 1, "axes", 13)?.map((axis) => context.axis(axis, shape.length));
  const axes = given ?? shape.flatMap((extent, axis) => (extent === 1 ? [axis] : []));
  const kept = axes.find((axis) => shape[axis] !== 1);
  if (kept !== undefined) context.fail("Q1052", `axis ${kept} has extent ${printExtent(shape[kept])}, wanted 1`);
  return [reshaped(context, x, shape.filter((_, axis) => !axes.includes(axis)))];
}

function importUnsqueeze(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const given = optionalIntegers(context, 1, "axes", 13) ?? context.fail("Q1022", "the axes are missing");
  const rank = shape.length + given.length;
  const axes = new Set(given.map((axis) => context.axis(axis, rank)));
  if (axes.size !== given.length) context.fail("Q1052", `the axes [${given}] name one axis twice`);
  const rest = [...shape];
  return [reshaped(context, x, Array.from({ length: rank }, (_, axis) => (axes.has(axis) ? 1 : rest.shift() ?? 1)))];
}

function importFlatten(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const given = context.node.attributes.int("axis", 1);
  const axis = given === shape.length ? given : context.axis(given, Math.max(1, shape.length));
  const sizes = [shape.slice(0, axis), shape.slice(axis)].map((part) =>
    shapeSize(part) ?? context.fail("Q1050", `the size of [${part.map(printExtent)}] is not a multiple of one symbol`)
  );
  return [reshaped(context, x, sizes)];
}

function importExpand(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const shape = broadcastShapes(context.typeOf(x).shape, context.extents(1));
  return [expanded(context, x, shape)];
}

function expanded(context: ImportContext, value: ValueName, shape: readonly Extent[]): ValueName {
  const before = context.typeOf(value).shape;
  const isSame = before.length === shape.length && before.every((extent, axis) => equalExtents(extent, shape[axis]));
  return isSame ? value : context.builder.add("expand", [value], { shape });
}

function importTranspose(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const rank = context.typeOf(x).shape.length;
  const reversed = Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  const permutation = context.node.attributes.ints("perm", reversed);
  const isIdentity = permutation.length === rank && permutation.every((axis, index) => axis === index);
  return [isIdentity ? x : context.builder.add("transpose", [x], { permutation })];
}

function importConcat(context: ImportContext): readonly ValueName[] {
  const inputs = context.node.inputs.map((_, index) => context.input(index));
  const rank = context.typeOf(context.input(0)).shape.length;
  const axis = context.axis(context.node.attributes.int("axis"), rank);
  return [inputs.length === 1 ? inputs[0] : context.builder.add("concat", inputs, { axis })];
}

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

function importConstant(context: ImportContext): readonly ValueName[] {
  const value = constantAttribute(context.node.attributes) ??
    context.fail("Q1010", "the constant holds strings or a sparse tensor, which are not supported");
  return [context.withFormat(context.builder.constant(value.tensor), value.format)];
}

/** A tensor of one entry with this element. */
function oneEntry(element: ElementType, value: number): PlainTensor {
  const tensor = emptyTensor(element, []);
  tensor.data[0] = isWide(element) ? BigInt(value) : value;
  return tensor;
}

function importConstantOfShape(context: ImportContext): readonly ValueName[] {
  const shape = context.extents(0);
  const bad = shape.find((extent) => isStatic(extent) && extent < 0);
  if (bad !== undefined) context.fail("Q1051", `the shape has the extent ${printExtent(bad)}`);
  const given = context.node.attributes.has("value") ? context.node.attributes.tensor("value") : oneEntry("f32", 0);
  if (sizeOf(given.shape) !== 1) context.fail("Q1055", `the value has ${sizeOf(given.shape)} entries, wanted one`);
  const value = reshaped(context, context.builder.constant(given), []);
  return [expanded(context, value, shape)];
}

/** start + delta * (0, 1, ...): counted as a running sum of ones, so that the length may be a symbol. */
function importRange(context: ImportContext): readonly ValueName[] {
  const { builder } = context;
  const start = context.input(0);
  const { element } = context.typeOf(start);
  const length = rangeLength(context, element);
  const ones = expanded(context, builder.constant(oneEntry("i64", 1)), [length]);
  const steps = builder.add("cumulative", [ones], { kind: "sum", axis: 0, exclusive: true, reverse: false });
  const scalars = [start, context.input(2)].map((value) => reshaped(context, value, []));
  const exact = element === "f16" || element === "bf16" ? "f32" : element;
  const sum = binary("add", cast(exact, input(1)), binary("mul", cast(exact, input(2)), cast(exact, input(0))));
  return [builder.map(cast(element, sum), [steps, ...scalars], { name: "range" })];
}

function rangeLength(context: ImportContext, element: ElementType): Extent {
  if (isFloat(element)) {
    const [start, limit, delta] = [0, 1, 2].map((index) => floatScalar(context, index));
    return countOf(context, start, limit, delta);
  }
  const [start, limit, delta] = [0, 1, 2].map((index) => oneExtent(context, index));
  if (isStatic(start) && isStatic(limit) && isStatic(delta)) return countOf(context, start, limit, delta);
  const reach = isStatic(start) && delta === 1 ? addExtents(limit, -start) : differenceOf(limit, start, delta);
  return reach ?? context.fail(
    "Q1056",
    `the length from ${printExtent(start)} to ${printExtent(limit)} by ${printExtent(delta)} is not known`,
    "Bind the symbol to a number with --bind",
  );
}

function oneExtent(context: ImportContext, index: number): Extent {
  const extents = context.extents(index);
  return extents.length === 1
    ? extents[0]
    : context.fail("Q1055", `input ${index} has ${extents.length} entries, wanted one`);
}

function differenceOf(limit: Extent, start: Extent, delta: Extent): Extent | undefined {
  if (delta !== 1 || isStatic(limit) || isStatic(start) || limit.symbol !== start.symbol) return undefined;
  const factor = limit.factor - start.factor;
  const offset = limit.offset - start.offset;
  return factor === 0 ? offset : factor > 0 ? { symbol: limit.symbol, factor, offset } : undefined;
}

function floatScalar(context: ImportContext, index: number): number {
  const tensor = context.constantOf(context.input(index));
  if (tensor?.kind !== "plain" || tensor.data.length !== 1) {
    return context.fail("Q1023", `input ${index} must be a scalar known at compile time`);
  }
  return numbersOf(tensor)[0];
}

function countOf(context: ImportContext, start: number, limit: number, delta: number): number {
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  return Number.isInteger(count) ? count : context.fail("Q1056", `no range from ${start} to ${limit} by ${delta}`);
}

export const shapeImporters: OpImporterTable = {
  Shape: importShape,
  Size: importSize,
  Reshape: importReshape,
  Squeeze: importSqueeze,
  Unsqueeze: importUnsqueeze,
  Flatten: importFlatten,
  Expand: importExpand,
  Transpose: importTranspose,
  Identity: (context) => [context.input(0)],
  Concat: importConcat,
  Slice: importSlice,
  Split: importSplit,
  Constant: importConstant,
  ConstantOfShape: importConstantOfShape,
  Range: importRange,
};
