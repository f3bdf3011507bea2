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
import { optionalIntegers } from "./versioned_inputs.ts";
import { expanded, numbersOf, reshaped } from "./operands.ts";

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
  Constant: importConstant,
  ConstantOfShape: importConstantOfShape,
  Range: importRange,
};
