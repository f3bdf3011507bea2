/** Number formats of codes: the values a code can stand for. A format says nothing about steps or storage. */

import { type ElementType, roundHalfEven } from "./element.ts";
import { decodeMinifloat, encodeMinifloat, type MinifloatFormat, minifloatName, parseMinifloat } from "./minifloat.ts";
import { InvariantError, unreachable } from "../diagnostics.ts";

/** Two's complement (signed) or plain (unsigned) integer codes of 1..32 bits. */
export interface IntFormat {
  readonly kind: "int";
  readonly bits: number;
  readonly signed: boolean;
}

/** Codes that index a table of values, ascending by code. */
export interface CodebookFormat {
  readonly kind: "codebook";
  readonly name: string;
  readonly values: readonly number[];
}

export type NumberFormat = IntFormat | MinifloatFormat | CodebookFormat;

export function intFormat(bits: number, signed: boolean): IntFormat {
  return { kind: "int", bits, signed };
}

export const int4: IntFormat = intFormat(4, true);
export const uint4: IntFormat = intFormat(4, false);
export const int8: IntFormat = intFormat(8, true);
export const uint8: IntFormat = intFormat(8, false);

/** NF4 of QLoRA (Dettmers et al. 2023, appendix E): quantiles of N(0,1), scaled to [-1, 1]. */
export const nf4: CodebookFormat = {
  kind: "codebook",
  name: "nf4",
  values: [
    -1,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1,
  ],
};

const codebooks: readonly CodebookFormat[] = [nf4];

/** Bits of one code. */
export function formatBits(format: NumberFormat): number {
  switch (format.kind) {
    case "int":
      return format.bits;
    case "minifloat":
      return (format.signed ? 1 : 0) + format.exponentBits + format.mantissaBits;
    case "codebook":
      return Math.ceil(Math.log2(format.values.length));
    default:
      return unreachable(format);
  }
}

/** `int4`, `uint8`, `e4m3fn`, `nf4`: the name that `.qir`, recipes and reports use. */
export function formatName(format: NumberFormat): string {
  switch (format.kind) {
    case "int":
      return `${format.signed ? "int" : "uint"}${format.bits}`;
    case "minifloat":
      return minifloatName(format);
    case "codebook":
      return format.name;
    default:
      return unreachable(format);
  }
}

/** The inverse of `formatName`; undefined when no format has this name. */
export function parseFormat(name: string): NumberFormat | undefined {
  const integer = /^(u?)int([1-9]\d?)$/.exec(name);
  if (integer !== null) {
    const bits = Number(integer[2]);
    return bits <= 32 ? intFormat(bits, integer[1] === "") : undefined;
  }
  return codebooks.find((codebook) => codebook.name === name) ?? parseMinifloat(name);
}

/** The plain element that holds one unpacked code; integer codes are values, other codes are bit patterns. */
export function codeElement(format: NumberFormat): ElementType {
  const bits = formatBits(format);
  const signed = format.kind === "int" && format.signed;
  if (bits <= 8) return signed ? "i8" : "u8";
  if (bits <= 16) return signed ? "i16" : "u16";
  return signed ? "i32" : "u32";
}

interface IntRange {
  readonly min: number;
  readonly max: number;
}

/** By width; solvers ask once a weight. */
const signedRanges: readonly IntRange[] = Array.from(
  { length: 33 },
  (_, bits) => Object.freeze({ min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 }),
);
const unsignedRanges: readonly IntRange[] = Array.from(
  { length: 33 },
  (_, bits) => Object.freeze({ min: 0, max: 2 ** bits - 1 }),
);

/** Smallest and largest code of an integer format. */
export function intRange(format: IntFormat): IntRange {
  return (format.signed ? signedRanges : unsignedRanges)[format.bits];
}

/** The value of a code, in units of the step. */
export function decodeCode(format: NumberFormat, code: number): number {
  switch (format.kind) {
    case "int":
      return code;
    case "minifloat":
      return decodeMinifloat(format, code);
    case "codebook":
      return format.values[code];
    default:
      return unreachable(format);
  }
}

/**
 * The code nearest to `value` (in units of the step): ties to the even code for numbers, to the lower code for codebooks;
 * saturating at the ends. NaN goes to the format's NaN or, without one, to code 0.
 */
export function encodeValue(format: NumberFormat, value: number): number {
  switch (format.kind) {
    case "int": {
      const { min, max } = intRange(format);
      return Number.isNaN(value) ? 0 : Math.min(max, Math.max(min, roundHalfEven(value) + 0));
    }
    case "minifloat":
      return encodeMinifloat(format, value);
    case "codebook":
      return nearestIndex(format.values, value);
    default:
      return unreachable(format);
  }
}

/** Largest finite magnitude, in units of the step. */
export function formatMax(format: NumberFormat): number {
  switch (format.kind) {
    case "int":
      return intRange(format).max;
    case "minifloat": {
      let best = 0;
      for (let code = 0; code < 2 ** formatBits(format); code++) {
        const value = decodeMinifloat(format, code);
        if (Number.isFinite(value) && value > best) best = value;
      }
      return best;
    }
    case "codebook":
      return Math.max(...format.values.map(Math.abs));
    default:
      return unreachable(format);
  }
}

function nearestIndex(values: readonly number[], value: number): number {
  if (values.length === 0) throw new InvariantError("A codebook has no values");
  // Far outside, the distances to all values round to one number: what is past an end takes the end's code.
  const held = Math.min(values[values.length - 1], Math.max(values[0], value));
  let best = 0;
  for (let index = 1; index < values.length; index++) {
    if (Math.abs(values[index] - held) < Math.abs(values[best] - held)) best = index;
  }
  return best;
}
