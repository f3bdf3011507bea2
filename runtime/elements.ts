/** Typed arrays by element, and the conversions at the model's border. */

import type { ElementName, NumberArray } from "./api.ts";

type ArrayConstructor = {
  readonly name: string;
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, offset: number, length: number): NumberArray;
};

const arrays: Readonly<Record<ElementName, ArrayConstructor>> = {
  bool: Uint8Array,
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  bf16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  // Engines without Float16Array show the 16 bits of each number.
  f16: typeof Float16Array === "undefined" ? Uint16Array : Float16Array,
  f32: Float32Array,
  f64: Float64Array,
};

export function bytesPerElement(element: ElementName): number {
  return arrays[element].BYTES_PER_ELEMENT;
}

/** A view of `length` elements at a byte offset. */
export function viewAs(element: ElementName, buffer: ArrayBufferLike, offset: number, length: number): NumberArray {
  return new arrays[element](buffer, offset, length);
}

function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The bytes of `data` as elements of `element`; undefined when its kind of array does not fit. */
export function elementBytes(data: NumberArray, element: ElementName): Uint8Array | undefined {
  if (element === "bool" && data instanceof Uint8Array) return data.map((value) => (value === 0 ? 0 : 1));
  if ((element === "i64" || element === "u64") && data instanceof Int32Array) {
    return bytesOf(BigInt64Array.from(data, BigInt));
  }
  if (element === "f16" && data instanceof Uint16Array) return bytesOf(data);
  if (element === "u8" && data instanceof Uint8ClampedArray) return bytesOf(data);
  return data instanceof arrays[element] ? bytesOf(data) : undefined;
}

/** Name of the array that an element wants, for messages. */
export function arrayName(element: ElementName): string {
  return arrays[element].name;
}

/** The number that an entry stands for, also where the array holds the bits of a half-width float. */
export function numberAt(data: NumberArray, element: ElementName, index: number): number {
  const value = Number(data[index]);
  if (element === "bf16") return floatOfBits(value << 16);
  if (element !== "f16" || !(data instanceof Uint16Array)) return value;
  // Moving the exponent from bias 15 to 127 by a multiplication keeps subnormals right; 31 marks infinities and NaN.
  const sign = (value & 0x8000) << 16;
  const rest = value & 0x7fff;
  const magnitude = rest >= 0x7c00 ? floatOfBits((rest << 13) | 0x7f800000) : floatOfBits(rest << 13) * 2 ** 112;
  return sign === 0 ? magnitude : -magnitude;
}

function floatOfBits(bits: number): number {
  return new Float32Array(Int32Array.of(bits).buffer)[0];
}
