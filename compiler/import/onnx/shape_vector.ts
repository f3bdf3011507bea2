/** Small integer tensors whose entries may be symbolic extents: what exporters' shape arithmetic computes. */

import { type Extent, extentBound, isStatic, type SymbolTable } from "../../ir/extent.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { sizeOf } from "../../ir/tensor.ts";

/** A tensor of known entries; booleans are 0 and 1. */
export interface ShapeVector {
  readonly shape: readonly number[];
  readonly entries: readonly Extent[];
}

/** Vectors are tracked up to this many entries: shapes are short. */
const vectorLimit = 1024;

/** The vector of a constant of whole numbers; undefined for anything else. */
export function constantVector(tensor: Tensor | undefined): ShapeVector | undefined {
  if (tensor === undefined || tensor.kind !== "plain" || tensor.element === "bf16") return undefined;
  if (sizeOf(tensor.shape) > vectorLimit) return undefined;
  const entries = Array.from<number | bigint, number>(tensor.data, Number);
  return entries.every((entry) => Number.isInteger(entry)) ? { shape: tensor.shape, entries } : undefined;
}

export function isStaticVector(vector: ShapeVector): boolean {
  return vector.entries.every(isStatic);
}

/** Smallest value of an extent over the ranges of the symbols. */
export function extentFloor(extent: Extent, symbols: SymbolTable): number {
  if (isStatic(extent)) return extent;
  const range = symbols[extent.symbol];
  return range === undefined ? -Infinity : extent.factor * range.min + extent.offset;
}

/** Largest value of an extent over the ranges of the symbols. */
export function extentCeiling(extent: Extent, symbols: SymbolTable): number {
  return isStatic(extent) || symbols[extent.symbol] !== undefined ? extentBound(extent, symbols) : Infinity;
}

/** The sign of x - y when it is the same over all values of the symbols: -1, 0, 1; undefined otherwise. */
export function compareExtents(x: Extent, y: Extent, symbols: SymbolTable): -1 | 0 | 1 | undefined {
  if (!isStatic(x) && !isStatic(y) && x.symbol === y.symbol && x.factor === y.factor) {
    return signOf(x.offset - y.offset);
  }
  if (isStatic(x) && isStatic(y)) return signOf(x - y);
  if (extentCeiling(x, symbols) < extentFloor(y, symbols)) return -1;
  if (extentFloor(x, symbols) > extentCeiling(y, symbols)) return 1;
  return undefined;
}

function signOf(value: number): -1 | 0 | 1 {
  return value < 0 ? -1 : value > 0 ? 1 : 0;
}
