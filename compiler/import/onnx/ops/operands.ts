/** What importers do with operands: maps with scalar constants written in, casts, reshapes, static shapes. */

import { decodeBf16, type ElementType, isFloat } from "../../../numeric/element.ts";
import { cast, type Expression, input, literal } from "../../../ir/expression.ts";
import { type Extent, isStatic, multiplyExtents, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { type PlainTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";
import { equalShapes } from "../../../ir/extent.ts";
import type { ImportContext } from "../op_importer.ts";
import { needsStatic, unsupported } from "./faults.ts";

/** Elements that composite formulas are computed in: halves go through f32 and are rounded once, at the end. */
export type WorkElement = "f32" | "f64";

/** The number or bigint at `index` of a plain tensor. */
export function entryOf(tensor: PlainTensor, index: number): number | bigint {
  const entry = tensor.data[index];
  return tensor.element === "bf16" ? decodeBf16(Number(entry)) : entry;
}

/** All entries of a plain tensor as numbers. */
export function numbersOf(tensor: PlainTensor): number[] {
  return Array.from({ length: tensor.data.length }, (_, index) => Number(entryOf(tensor, index)));
}

/** The plain tensor of a value known at compile time. */
export function plainConstant(context: ImportContext, value: ValueName | undefined): PlainTensor | undefined {
  const tensor: Tensor | undefined = value === undefined ? undefined : context.constantOf(value);
  return tensor?.kind === "plain" ? tensor : undefined;
}

/**
 * One map node over `values`. Scalar constants become literals and a value that is given twice is read once, so that
 * the node reads only what varies.
 */
export function mapOf(
  context: ImportContext,
  values: readonly ValueName[],
  body: (operands: readonly Expression[]) => Expression,
): ValueName {
  const literals = scalarLiterals(context, values);
  const inputs: ValueName[] = [];
  const operands = values.map((value, index): Expression => {
    const written = literals[index];
    if (written !== undefined) return written;
    const known = inputs.indexOf(value);
    if (known >= 0) return input(known);
    inputs.push(value);
    return input(inputs.length - 1);
  });
  return context.builder.map(body(operands), inputs, { name: context.node.opType.toLowerCase() });
}

/** Literals of the operands that are scalar constants and do not raise the rank of the result. */
function scalarLiterals(context: ImportContext, values: readonly ValueName[]): (Expression | undefined)[] {
  const scalars = values.map((value) => {
    const tensor = plainConstant(context, value);
    return tensor !== undefined && tensor.data.length === 1 ? tensor : undefined;
  });
  const rank = Math.max(
    -1,
    ...values.filter((_, index) => scalars[index] === undefined).map((value) => context.typeOf(value).shape.length),
  );
  return scalars.map((tensor) =>
    tensor === undefined || tensor.shape.length > rank ? undefined : literal(entryOf(tensor, 0), tensor.element)
  );
}

/**
 * One map node in which f16 and bf16 operands are widened to f32 first and the result is rounded back once.
 * `body` is told the element that it computes in.
 */
export function floatMap(
  context: ImportContext,
  values: readonly ValueName[],
  body: (operands: readonly Expression[], element: WorkElement) => Expression,
): ValueName {
  const element = context.typeOf(values[0]).element;
  if (!isFloat(element)) return unsupported(context, `${context.node.opType} of ${element} is not defined`);
  const work = workElement(element);
  if (work === element) return mapOf(context, values, (operands) => body(operands, work));
  return mapOf(
    context,
    values,
    (operands) => cast(element, body(operands.map((operand) => cast(work, operand)), work)),
  );
}

export function workElement(element: ElementType): WorkElement {
  return element === "f64" ? "f64" : "f32";
}

/** The value in the element that sums and norms are computed in (halves as f32). */
export function widened(context: ImportContext, value: ValueName): ValueName {
  const { element } = context.typeOf(value);
  return element === "f16" || element === "bf16" ? context.builder.cast(value, "f32") : value;
}

/** The extents of a value as numbers; a diagnostic where one is symbolic. */
export function staticShape(context: ImportContext, value: ValueName, what: string): readonly number[] {
  return context.typeOf(value).shape.map((extent, axis) => staticExtent(context, extent, `axis ${axis} of ${what}`));
}

export function staticExtent(context: ImportContext, extent: Extent, what: string): number {
  if (isStatic(extent)) return extent;
  return needsStatic(context, `${context.node.opType} needs a fixed extent: ${what} is ${printExtent(extent)}`);
}

/** Product of extents; a diagnostic when two of them are symbolic. */
export function productOf(context: ImportContext, extents: readonly Extent[]): Extent {
  return extents.reduce<Extent>(
    (size, extent) =>
      multiplyExtents(size, extent) ??
        needsStatic(
          context,
          `${context.node.opType} merges the symbolic extents ${printExtent(size)} and ${printExtent(extent)}`,
        ),
    1,
  );
}

/** The value in another shape; itself when it has that shape. */
export function reshaped(context: ImportContext, value: ValueName, shape: readonly Extent[]): ValueName {
  return equalShapes(context.typeOf(value).shape, shape) ? value : context.builder.add("reshape", [value], { shape });
}

/** The value with its axes permuted; itself for the identity. */
export function transposed(context: ImportContext, value: ValueName, permutation: readonly number[]): ValueName {
  return permutation.every((axis, index) => axis === index)
    ? value
    : context.builder.add("transpose", [value], { permutation });
}

/** The value broadcast to a shape; itself when it has that shape. */
export function expanded(context: ImportContext, value: ValueName, shape: readonly Extent[]): ValueName {
  return equalShapes(context.typeOf(value).shape, shape) ? value : context.builder.add("expand", [value], { shape });
}

/** The part of a value between `start` and `start + extent` of one axis. */
export function sliced(
  context: ImportContext,
  value: ValueName,
  axis: number,
  start: number,
  extent: Extent,
): ValueName {
  const { shape } = context.typeOf(value);
  return context.builder.add("slice", [value], {
    starts: shape.map((_, index) => (index === axis ? start : 0)),
    steps: shape.map(() => 1),
    extents: shape.map((whole, index) => (index === axis ? extent : whole)),
  });
}

/** A value of one entry as a scalar. */
export function scalarOf(context: ImportContext, value: ValueName): ValueName {
  const { shape } = context.typeOf(value);
  if (shape.some((extent) => extent !== 1)) {
    return unsupported(context, `wants one number, got the shape [${shape.map(printExtent)}]`);
  }
  return reshaped(context, value, []);
}

/** A float constant in any float element. */
export function floatConstant(
  context: ImportContext,
  element: ElementType,
  shape: readonly number[],
  values: ArrayLike<number>,
): ValueName {
  if (element === "f64") return context.builder.constant(plainTensor("f64", shape, Float64Array.from(values)));
  const f32 = context.builder.constant(plainTensor("f32", shape, Float32Array.from(values)));
  return context.builder.cast(f32, element);
}

export function integerConstant(
  context: ImportContext,
  shape: readonly number[],
  values: readonly number[],
): ValueName {
  return context.builder.constant(plainTensor("i64", shape, BigInt64Array.from(values, (value) => BigInt(value))));
}

export function boolConstant(context: ImportContext, shape: readonly number[], values: readonly boolean[]): ValueName {
  return context.builder.constant(plainTensor("bool", shape, Uint8Array.from(values, (value) => (value ? 1 : 0))));
}

/** Entries that a table made while importing may have. */
const tableLimit = 2 ** 24;

/** The number of entries of a table, checked: files may state any. */
export function tableSize(context: ImportContext, entries: number): number {
  if (Number.isInteger(entries) && entries >= 0 && entries <= tableLimit) return entries;
  return unsupported(context, `${context.node.opType} would need a table of ${entries} entries`);
}

/** 0, 1, 2, ... along `axis` of a shape of ones, as i64; a symbolic extent is counted up at run time. */
export function iota(context: ImportContext, extent: Extent, axis: number, rank: number): ValueName {
  const shape = Array.from({ length: rank }, (_, index) => (index === axis ? extent : 1));
  if (isStatic(extent)) {
    const counts = Array.from({ length: tableSize(context, extent) }, (_, index) => index);
    return integerConstant(context, shape.filter(isStatic), counts);
  }
  const ones = expanded(context, integerConstant(context, shape.map(() => 1), [1]), shape);
  return context.builder.add("cumulative", [ones], { kind: "sum", axis, exclusive: true, reverse: false });
}
