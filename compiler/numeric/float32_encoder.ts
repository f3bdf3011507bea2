/** Encoding of float32 values by table: as `encodeValue`, many times faster for minifloats. */

import { encodeMinifloat, type MinifloatFormat } from "./minifloat.ts";
import { encodeValue, formatName, type NumberFormat } from "./number_format.ts";

/** The code nearest to a value that float32 holds; other values are rounded to float32 first. */
export type Float32Encoder = (value: number) => number;

/** By format and, for formats that are equal and not the same object, by name. */
const encoders = new WeakMap<NumberFormat, Float32Encoder>();
const encodersByName = new Map<string, Float32Encoder>();

/** `encodeValue` of a format, for values of float32. */
export function float32Encoder(format: NumberFormat): Float32Encoder {
  const known = encoders.get(format);
  if (known !== undefined) return known;
  const name = formatName(format);
  const made = encodersByName.get(name) ?? encoderOf(format);
  encodersByName.set(name, made);
  encoders.set(format, made);
  return made;
}

function encoderOf(format: NumberFormat): Float32Encoder {
  return format.kind === "minifloat" && fitsTable(format)
    ? tableEncoder(format)
    : (value) => encodeValue(format, Math.fround(value));
}

/**
 * Whether every boundary between two codes is a normal float32 of at most 8 significant bits: it has one bit more than
 * the codes, and the smallest is half a step of the subnormal codes.
 */
function fitsTable({ mantissaBits, bias }: MinifloatFormat): boolean {
  return mantissaBits <= 6 && bias + mantissaBits <= 125;
}

/**
 * The upper 16 bits of a float32 are sign, exponent and 7 mantissa bits. All values that share them lie between the same
 * two boundaries, the one with lower bits zero on the boundary itself at most: one table serves that one, one the rest.
 */
function tableEncoder(format: MinifloatFormat): Float32Encoder {
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  const encoded = (pattern: number) => {
    bits[0] = pattern;
    return encodeMinifloat(format, float[0]);
  };
  const edges = Uint16Array.from({ length: 2 ** 16 }, (_, upper) => encoded(upper * 2 ** 16));
  const inner = Uint16Array.from({ length: 2 ** 16 }, (_, upper) => encoded(upper * 2 ** 16 + 1));
  return (value) => {
    float[0] = value;
    return (bits[0] & 0xffff) === 0 ? edges[bits[0] >>> 16] : inner[bits[0] >>> 16];
  };
}
