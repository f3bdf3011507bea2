/** The context that a graph op's importer works in. */

import { fail } from "../../../diagnostics.ts";
import { allocate, type ElementType } from "../../../numeric/element.ts";
import { type Extent, isStatic, multiplyExtents, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { type PlainTensor, plainTensor, sizeOf } from "../../../ir/tensor.ts";
import type { TensorType } from "../../../ir/types.ts";
import type { FoldingBuilder } from "../../onnx/folding_builder.ts";
import { decoded } from "../constants.ts";
import { type Attributes, attributesOf, type TfNode } from "./node.ts";
import { tensorValue, type TfValue } from "./value.ts";

export interface TfContext {
  readonly builder: FoldingBuilder;
  readonly node: TfNode;
  readonly attributes: Attributes;
  readonly inputs: readonly TfValue[];
  /** The i-th input as a tensor of the graph, codes decoded; a diagnostic when it is absent or no tensor. */
  tensor(index: number): ValueName;
  /** The same, codes kept. */
  stored(index: number): ValueName;
  typeOf(value: ValueName): TensorType;
  /** The integers of an input known at import, symbols included; a diagnostic when unknown. */
  extents(index: number): readonly Extent[];
  /** The same without symbols. */
  integers(index: number): readonly number[];
  /** The tensor of an input known at import. */
  constant(index: number): PlainTensor | undefined;
  /** Turns a possibly negative axis into 0..rank-1. */
  axis(axis: number, rank: number): number;
  /**
   * Demands that an extent stays within a range for every input: narrows a symbol that the caller has not bound, and is a
   * diagnostic where one that is bound goes beyond.
   */
  restrict(extent: Extent, least: number, most: number): void;
  fail(message: string, help?: string): never;
}

/** Imports one node; yields its outputs in order. May throw TypeFault or DiagnosticError. */
export type TfImporter = (context: TfContext) => readonly TfValue[];
export type TfImporterTable = Readonly<Record<string, TfImporter>>;

export function tfContext(
  builder: FoldingBuilder,
  node: TfNode,
  inputs: readonly TfValue[],
  unbound: ReadonlySet<string>,
): TfContext {
  const failHere = (message: string, help?: string): never =>
    fail("Q0469", `${node.op} "${node.name}": ${message}`, { node: node.name, help });
  const input = (index: number): TfValue => inputs[index] ?? failHere(`input ${index} is missing`);
  const stored = (index: number): ValueName => {
    const value = input(index);
    if (value.kind === "tensor") return value.value;
    const what = value.kind === "extents" ? "a size that is not fixed" : `text or bookkeeping (${value.kind})`;
    return failHere(`input ${index} is ${what}, wants a tensor`);
  };
  const tensor = (index: number): ValueName => {
    const value = stored(index);
    const known = builder.constantOf(value);
    return known?.kind === "quantized" ? builder.constant(decoded(known, builder.constants)) : value;
  };
  const constant = (index: number): PlainTensor | undefined => {
    const value = input(index);
    const known = value.kind === "tensor" ? builder.constantOf(value.value) : undefined;
    return known === undefined ? undefined : decoded(known, builder.constants);
  };
  const extents = (index: number): readonly Extent[] =>
    knownExtents(builder, input(index))?.entries ?? failHere(`input ${index} must be known at compile time`);
  return {
    builder,
    node,
    attributes: attributesOf(node),
    inputs,
    tensor,
    stored,
    typeOf: (value) => builder.typeOf(value),
    extents,
    integers: (index) =>
      extents(index).map((extent) =>
        isStatic(extent) ? extent : failHere(`input ${index} holds the symbol ${printExtent(extent)}`)
      ),
    constant,
    axis: (axis, rank) =>
      Number.isInteger(axis) && axis >= -rank && axis < rank
        ? (axis + rank) % rank
        : failHere(`axis ${axis} is outside a tensor of rank ${rank}`),
    restrict: (extent, least, most) => {
      const message = restrictExtent(builder, unbound, extent, least, most);
      if (message !== undefined) failHere(message);
    },
    fail: failHere,
  };
}

/** Narrows a symbol's range so that the extent lies in least..most, or says why that cannot be. */
function restrictExtent(
  builder: FoldingBuilder,
  unbound: ReadonlySet<string>,
  extent: Extent,
  least: number,
  most: number,
): string | undefined {
  const bounds = `${least}..${most === Infinity ? "" : most}`;
  if (isStatic(extent)) return extent >= least && extent <= most ? undefined : `${extent} entries, wants ${bounds}`;
  const { symbol, factor, offset } = extent;
  const range = builder.symbols[symbol];
  const min = Math.max(range.min, Math.ceil((least - offset) / factor));
  const max = Math.min(range.max, Math.floor((most - offset) / factor));
  if (min > max) return `"${symbol}" cannot be in ${range.min}..${range.max}`;
  if (min === range.min && max === range.max) return undefined;
  if (!unbound.has(symbol)) {
    return `"${symbol}" is bound to ${range.min}..${range.max}, this model takes ${min}..${max}`;
  }
  builder.symbol(symbol, { min, max });
  return undefined;
}

/** Shapes and indices are short; longer tensors are data. */
const extentLimit = 1024;

/** A vector or scalar of integers known at import. */
export interface KnownExtents {
  readonly rank: number;
  readonly entries: readonly Extent[];
}

export function knownExtents(builder: FoldingBuilder, value: TfValue): KnownExtents | undefined {
  if (value.kind === "extents") return value;
  const tensor = value.kind === "tensor" ? builder.constantOf(value.value) : undefined;
  if (tensor?.kind !== "plain" || sizeOf(tensor.shape) > extentLimit) return undefined;
  const entries = Array.from<number | bigint, number>(tensor.data, Number);
  return entries.every(Number.isInteger) ? { rank: tensor.shape.length, entries } : undefined;
}

/** Known integers as a value: a constant where there is no symbol. */
export function extentsValue(builder: FoldingBuilder, rank: 0 | 1, entries: readonly Extent[]): TfValue {
  const fixed = entries.filter(isStatic);
  if (fixed.length < entries.length) return { kind: "extents", rank, entries };
  const data = Int32Array.from(fixed);
  return tensorValue(builder.constant(plainTensor("i32", rank === 0 ? [] : [fixed.length], data), { name: "extents" }));
}

export function shapeOf(context: TfContext, value: ValueName): readonly Extent[] {
  return context.typeOf(value).shape;
}

/** Product of extents; a diagnostic when two of them are symbolic. */
export function productOf(context: TfContext, extents: readonly Extent[]): Extent {
  return extents.reduce<Extent>(
    (size, extent) => multiplyExtents(size, extent) ?? context.fail("merges two sizes that are not fixed"),
    1,
  );
}

/** A constant filled with one number. */
export function filled(
  builder: FoldingBuilder,
  element: ElementType,
  shape: readonly number[],
  value: number,
): ValueName {
  const data = allocate(element, sizeOf(shape));
  for (let index = 0; index < data.length; index++) {
    data[index] = typeof data[index] === "bigint" ? BigInt(value) : value;
  }
  return builder.constant(plainTensor(element, shape, data), { name: "fill" });
}

const elements: Readonly<Record<string, ElementType>> = {
  DT_FLOAT: "f32",
  DT_HALF: "f32",
  DT_BFLOAT16: "f32",
  DT_DOUBLE: "f32",
  DT_INT8: "i32",
  DT_UINT8: "i32",
  DT_INT16: "i32",
  DT_UINT16: "i32",
  DT_INT32: "i32",
  DT_INT64: "i32",
  DT_BOOL: "bool",
};

/** The element that TensorFlow.js holds a TensorFlow type in; undefined for strings and the like. */
export function elementOf(type: string): ElementType | undefined {
  return Object.hasOwn(elements, type) ? elements[type] : undefined;
}
