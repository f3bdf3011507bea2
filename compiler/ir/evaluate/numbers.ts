/** Reads and writes tensors as numbers, whatever their element, and copies them as raw bits. */

import { allocate, decodeBf16, type ElementType, encodeBf16, type TypedArray } from "../../numeric/element.ts";
import { type PlainTensor, plainTensor } from "../tensor.ts";
import { InvariantError } from "../../diagnostics.ts";

/** Typed arrays whose entries are numbers. */
export type NumberArray = Exclude<TypedArray, BigInt64Array | BigUint64Array>;

export type WideArray = BigInt64Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>;

export function isWideArray(data: TypedArray): data is WideArray {
  return data instanceof BigInt64Array || data instanceof BigUint64Array;
}

/** The entries of a typed array that is not of 64-bit integers. */
export function numberData(data: TypedArray): NumberArray {
  if (isWideArray(data)) throw new InvariantError("Wide integers are not numbers");
  return data;
}

export function wideData(data: TypedArray): WideArray {
  if (!isWideArray(data)) throw new InvariantError("Numbers are not wide integers");
  return data;
}

/** All entries as doubles (a copy); 64-bit integers to the nearest double. */
export function readNumbers(tensor: PlainTensor): Float64Array<ArrayBuffer> {
  const { data, element } = tensor;
  if (element === "bf16") return Float64Array.from(numberData(data), decodeBf16);
  if (isWideArray(data)) return Float64Array.from(data, Number);
  return new Float64Array(data);
}

/** Entries of a tensor of integers that fit a double (indices, shapes, zero points). */
export function readIntegers(tensor: PlainTensor): number[] {
  const { data } = tensor;
  return isWideArray(data) ? Array.from(data, Number) : Array.from(data);
}

/** A float tensor as the narrowest of f32 and f64 that holds it; f32 and f64 are not copied. */
export function floatData(tensor: PlainTensor): Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> {
  const { data, element } = tensor;
  if (data instanceof Float32Array || data instanceof Float64Array) return data;
  if (element === "bf16") return Float32Array.from(numberData(data), decodeBf16);
  if (data instanceof Float16Array) return new Float32Array(data);
  return readNumbers(tensor);
}

/** Stores numbers as an element: floats round to nearest even, integers wrap (what is no number is 0), bool is `!= 0`. */
export function storeNumbers(element: ElementType, shape: readonly number[], values: Float64Array): PlainTensor {
  const data = allocate(element, values.length);
  if (isWideArray(data)) {
    for (let index = 0; index < values.length; index++) {
      data[index] = Number.isFinite(values[index]) ? BigInt(Math.trunc(values[index])) : 0n;
    }
  } else if (element === "bf16") {
    for (let index = 0; index < values.length; index++) data[index] = encodeBf16(values[index]);
  } else if (element === "bool") {
    for (let index = 0; index < values.length; index++) data[index] = values[index] === 0 ? 0 : 1;
  } else {
    data.set(values);
  }
  return plainTensor(element, shape, data);
}

/** Entries as raw bits, for moving data about: 8-byte elements appear as two 4-byte units. */
export interface BitsView {
  readonly units: Uint8Array | Uint16Array | Uint32Array;
  readonly perElement: 1 | 2;
}

export function bitsOf(data: TypedArray): BitsView {
  const { buffer, byteOffset, length } = data;
  switch (data.BYTES_PER_ELEMENT) {
    case 1:
      return { units: new Uint8Array(buffer, byteOffset, length), perElement: 1 };
    case 2:
      return { units: new Uint16Array(buffer, byteOffset, length), perElement: 1 };
    case 4:
      return { units: new Uint32Array(buffer, byteOffset, length), perElement: 1 };
    default:
      return { units: new Uint32Array(buffer, byteOffset, 2 * length), perElement: 2 };
  }
}
