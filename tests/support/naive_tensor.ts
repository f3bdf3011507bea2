/** Tensors by index tuples: slow, and too simple to be wrong. For references in tests. */

import { decodeBf16 } from "../../compiler/numeric/element.ts";
import { type PlainTensor, sizeOf, stridesOf, type Tensor } from "../../compiler/ir/tensor.ts";

/** Every index tuple of a shape, row-major. */
export function* eachIndex(shape: readonly number[]): Generator<number[]> {
  const size = sizeOf(shape);
  for (let flat = 0; flat < size; flat++) yield unflatten(flat, shape);
}

export function unflatten(flat: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length);
  let rest = flat;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = rest % shape[axis];
    rest = Math.floor(rest / shape[axis]);
  }
  return index;
}

export function flatten(index: readonly number[], shape: readonly number[]): number {
  const strides = stridesOf(shape);
  return index.reduce((sum, position, axis) => sum + position * strides[axis], 0);
}

/** The plain tensor, for tests that know it is one. */
export function plainOf(tensor: Tensor): PlainTensor {
  if (tensor.kind !== "plain") throw new TypeError("The tensor is quantized");
  return tensor;
}

/** An entry as a number. Broadcasts: extents of 1 and missing leading axes are repeated. */
export function entryAt(tensor: Tensor, index: readonly number[]): number {
  const { shape, data, element } = plainOf(tensor);
  const own = index.slice(index.length - shape.length).map((position, axis) => (shape[axis] === 1 ? 0 : position));
  const value = Number(data[flatten(own, shape)]);
  return element === "bf16" ? decodeBf16(value) : value;
}

/** All entries as numbers. */
export function entriesOf(tensor: Tensor): number[] {
  const { data, element } = plainOf(tensor);
  return Array.from(data, (value: number | bigint) => (element === "bf16" ? decodeBf16(Number(value)) : Number(value)));
}

export function codesOf(tensor: Tensor): number[] {
  if (tensor.kind !== "quantized") throw new TypeError("The tensor is plain");
  return Array.from(tensor.codes.data, Number);
}

/**
 * How far an f32 result may lie from a sum taken in doubles in another order: half a unit in the last place of f32 of the
 * result, and for `terms` additions of terms whose magnitudes sum to `magnitude`, 2^-53 each (Higham, Accuracy and
 * Stability, 4.2), on both sides.
 */
export function sumBound(sum: number, magnitude: number, terms: number): number {
  return 2 ** -24 * Math.abs(sum) * (1 + 2 ** -20) + 2 * (terms + 2) * 2 ** -53 * magnitude + 2 ** -149;
}
