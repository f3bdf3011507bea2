/** The plain element types of tensors, and the typed arrays that hold them. */

export const elementTypes = [
  "bool",
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "u64",
  "i64",
  "f16",
  "bf16",
  "f32",
  "f64",
] as const;

export type ElementType = (typeof elementTypes)[number];

/** Storage by element: `bool` holds 0 and 1 in bytes, `bf16` its 16 bits (the high half of a float32). */
export interface ElementStorage {
  readonly bool: Uint8Array<ArrayBuffer>;
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly i8: Int8Array<ArrayBuffer>;
  readonly u16: Uint16Array<ArrayBuffer>;
  readonly i16: Int16Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;
  readonly i32: Int32Array<ArrayBuffer>;
  readonly u64: BigUint64Array<ArrayBuffer>;
  readonly i64: BigInt64Array<ArrayBuffer>;
  readonly f16: Float16Array<ArrayBuffer>;
  readonly bf16: Uint16Array<ArrayBuffer>;
  readonly f32: Float32Array<ArrayBuffer>;
  readonly f64: Float64Array<ArrayBuffer>;
}

export type TypedArray = ElementStorage[ElementType];

const constructors: { readonly [E in ElementType]: new (source: number | ArrayBuffer) => ElementStorage[E] } = {
  bool: Uint8Array,
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  f16: Float16Array,
  bf16: Uint16Array,
  f32: Float32Array,
  f64: Float64Array,
};

const widths: { readonly [E in ElementType]: number } = {
  bool: 1,
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  u64: 8,
  i64: 8,
  f16: 2,
  bf16: 2,
  f32: 4,
  f64: 8,
};

/** Bytes of one element. */
export function elementBytes(element: ElementType): number {
  return widths[element];
}

/** A zero-filled typed array of `length` elements. */
export function allocate<E extends ElementType>(element: E, length: number): ElementStorage[E] {
  return new constructors[element](length);
}

/** Views or copies `bytes` (little-endian) as elements; the length must be a whole number of elements. */
export function fromBytes<E extends ElementType>(element: E, bytes: Uint8Array): ElementStorage[E] {
  const copy = new ArrayBuffer(bytes.byteLength);
  new Uint8Array(copy).set(bytes);
  return new constructors[element](copy);
}

/** The bytes behind a typed array, without a copy. */
export function bytesOf(data: TypedArray): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

export function isElementType(name: string): name is ElementType {
  return (elementTypes as readonly string[]).includes(name);
}

export function isFloat(element: ElementType): element is "f16" | "bf16" | "f32" | "f64" {
  return element === "f16" || element === "bf16" || element === "f32" || element === "f64";
}

/** Whether the evaluator holds one element as a bigint rather than a number. */
export function isWide(element: ElementType): element is "u64" | "i64" {
  return element === "u64" || element === "i64";
}

export function isInteger(element: ElementType): boolean {
  return !isFloat(element) && element !== "bool";
}

export function isSigned(element: ElementType): boolean {
  return isFloat(element) || element === "i8" || element === "i16" || element === "i32" || element === "i64";
}

/** Smallest and largest integer of an integer element, as bigint. */
export function integerRange(element: ElementType): { readonly min: bigint; readonly max: bigint } {
  const bits = BigInt(8 * elementBytes(element));
  return isSigned(element)
    ? { min: -(1n << (bits - 1n)), max: (1n << (bits - 1n)) - 1n }
    : { min: 0n, max: element === "bool" ? 1n : (1n << bits) - 1n };
}

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

/** The number whose bfloat16 bits these are. */
export function decodeBf16(bits: number): number {
  scratchBits[0] = bits << 16;
  return scratchFloat[0];
}

/** Bits of the bfloat16 nearest to `value` (ties to even; NaN stays a quiet NaN). */
export function encodeBf16(value: number): number {
  scratchFloat[0] = value;
  const single = scratchFloat[0];
  const bits = scratchBits[0];
  if (Number.isNaN(value)) return ((bits >>> 16) | 0x40) & 0xffff;
  // A value that only rounding to f32 has put onto the middle of two bfloat16 goes to the side that it came from.
  if ((bits & 0xffff) === 0x8000 && single !== value) {
    return (bits >>> 16) + (Math.abs(value) > Math.abs(single) ? 1 : 0);
  }
  if (Math.abs(single) === Infinity && Number.isFinite(value) && Math.abs(value) < bf16Overflow) {
    return value < 0 ? 0xff7f : 0x7f7f;
  }
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Half a unit above the largest finite bfloat16: from here on the nearest is infinity. */
const bf16Overflow = (2 - 2 ** -8) * 2 ** 127;

/** Nearest integer, ties to even (IEEE 754 roundToIntegralTiesToEven; the sign of zero is kept). */
export function roundHalfEven(value: number): number {
  // From 2^52 on every double is an integer; below, adding 2^52 leaves no room for a fraction.
  if (!(Math.abs(value) < 4503599627370496)) return value;
  if (value > 0) return value + 4503599627370496 - 4503599627370496;
  return value < 0 ? -(4503599627370496 - value - 4503599627370496) : value;
}
