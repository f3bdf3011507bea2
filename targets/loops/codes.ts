/** Codes of number formats in the loop form: what a code stands for, and the code nearest to a value. */

import { decodeCode, formatBits, intRange, type NumberFormat } from "../../compiler/numeric/number_format.ts";
import type { MinifloatFormat } from "../../compiler/numeric/minifloat.ts";
import type { LoopBuilder } from "./build.ts";
import type { Scalar } from "./program.ts";
import {
  add,
  binaryOf,
  castTo,
  compareOf,
  f32,
  i32,
  max,
  min,
  mul,
  reinterpretAs,
  selectOf,
  sub,
  unaryOf,
} from "./scalar.ts";

/** value(code) as f32, in units of the step. */
export function decodeCodeScalar(b: LoopBuilder, format: NumberFormat, code: Scalar): Scalar {
  switch (format.kind) {
    case "int":
      return castTo("f32", code);
    case "codebook":
      return { kind: "table", element: "f32", values: format.values.map(Math.fround), x: castTo("i32", code) };
    case "minifloat":
      return formatBits(format) <= 4
        ? { kind: "table", element: "f32", values: allValues(format), x: castTo("i32", code) }
        : minifloatDecode(b, format, castTo("i32", code));
  }
}

function allValues(format: NumberFormat): number[] {
  return Array.from({ length: 2 ** formatBits(format) }, (_, code) => Math.fround(decodeCode(format, code)));
}

function and(x: Scalar, mask: number): Scalar {
  return binaryOf("and", x, i32(mask));
}

function shiftLeft(x: Scalar, count: number): Scalar {
  return count === 0 ? x : binaryOf("shl", x, i32(count));
}

function shiftRight(x: Scalar, count: number): Scalar {
  return count === 0 ? x : binaryOf("shr", x, i32(count));
}

/** Whether exponent 0 holds zero and subnormals: an unsigned format without mantissa (E8M0) has neither. */
function hasSubnormals(format: MinifloatFormat): boolean {
  return format.signed || format.mantissaBits > 0;
}

/** significand * 2^shift, the power built from its exponent field: no subnormal number is an operand unless a result is. */
function minifloatDecode(b: LoopBuilder, format: MinifloatFormat, x: Scalar): Scalar {
  const { exponentBits, mantissaBits, bias, specials, signed } = format;
  const width = exponentBits + mantissaBits;
  const code = b.let("code", x);
  const magnitudeCode = signed ? b.let("magnitudeCode", and(code, 2 ** width - 1)) : code;
  const mantissa = mantissaBits === 0 ? i32(0) : and(magnitudeCode, 2 ** mantissaBits - 1);
  const exponent = b.let("exponent", shiftRight(magnitudeCode, mantissaBits));
  const subnormals = hasSubnormals(format);
  const leading = subnormals
    ? selectOf(compareOf("gt", exponent, i32(0)), i32(2 ** mantissaBits), i32(0))
    : i32(2 ** mantissaBits);
  const raised = subnormals ? max(exponent, i32(1)) : exponent;
  const magnitude = b.let(
    "magnitude",
    timesPower(b, castTo("f32", add(mantissa, leading)), sub(raised, i32(bias + mantissaBits)), {
      least: (subnormals ? 1 : 0) - bias - mantissaBits,
      most: 2 ** exponentBits - 1 - bias - mantissaBits,
    }),
  );
  const negative = compareOf("ge", code, i32(2 ** width));
  const value = signed ? selectOf(negative, unaryOf("neg", magnitude), magnitude) : magnitude;
  switch (specials) {
    case "none":
      return value;
    case "fn":
      return selectOf(compareOf("eq", magnitudeCode, i32(2 ** width - 1)), f32(NaN), value);
    case "fnuz":
      return signed ? selectOf(compareOf("eq", code, i32(2 ** width)), f32(NaN), value) : value;
    case "ieee": {
      const infinity = i32(2 ** width - 2 ** mantissaBits);
      const signedInfinity = signed ? selectOf(negative, f32(-Infinity), f32(Infinity)) : f32(Infinity);
      const finite = selectOf(compareOf("eq", magnitudeCode, infinity), signedInfinity, value);
      return selectOf(compareOf("gt", magnitudeCode, infinity), f32(NaN), finite);
    }
  }
}

function timesPower(b: LoopBuilder, x: Scalar, power: Scalar, range: { least: number; most: number }): Scalar {
  const factor = (part: Scalar) => reinterpretAs("f32", shiftLeft(add(part, i32(127)), 23));
  if (range.least >= -126 && range.most <= 127) return mul(x, factor(power));
  const shift = b.let("shift", power);
  const half = b.let("half", shiftRight(shift, 1));
  return mul(mul(x, factor(half)), factor(sub(shift, half)));
}

/**
 * The code (i32) of the value nearest to x, in units of the step: ties to even, saturating, NaN to the format's NaN or to
 * zero. x is f32; integer formats of more than 23 bits want f64.
 */
export function encodeCodeScalar(b: LoopBuilder, format: NumberFormat, x: Scalar): Scalar {
  switch (format.kind) {
    case "int": {
      const { min: low, max: high } = intRange(format);
      const limit = (value: number): Scalar => ({ kind: "literal", element: x.element, value });
      return castTo(high > 2 ** 31 ? "u32" : "i32", min(max(unaryOf("round", x), limit(low)), limit(high)));
    }
    case "codebook":
      return codebookEncode(format.values, b.let("scaled", x));
    case "minifloat":
      return minifloatEncode(b, format, x);
  }
}

/** Codes ascend with their values, so the nearest code is the number of midpoints below x; a tie goes to the lower code. */
function codebookEncode(values: readonly number[], x: Scalar): Scalar {
  return values.slice(1).reduce<Scalar>((sum, value, index) => {
    const above = castTo("i32", compareOf("gt", x, f32(floatAtMost((values[index] + value) / 2))));
    return index === 0 ? above : add(sum, above);
  }, i32(0));
}

/** The largest f32 that is at most `value`; for an f32 x, x > value and x > floatAtMost(value) are the same. */
export function floatAtMost(value: number): number {
  const nearest = Math.fround(value);
  if (nearest <= value) return nearest;
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, nearest);
  bits.setInt32(0, bits.getInt32(0) + (nearest > 0 ? -1 : 1));
  return nearest === 0 ? -(2 ** -149) : bits.getFloat32(0);
}

/**
 * Rounds |x| to the format's quantum in integers. With e = max(exponent of |x|, least exponent) and the f32 significand
 * s (24 bits), code = (e + bias - 1) 2^m + roundEven(s / 2^shift), shift = 23 - m + (e - exponent of |x|): codes of
 * magnitudes are consecutive, so a carry out of the mantissa lands on the next exponent by itself. A tie goes to the even code.
 */
function minifloatEncode(b: LoopBuilder, format: MinifloatFormat, x: Scalar): Scalar {
  const { exponentBits, mantissaBits, bias, specials, signed } = format;
  const width = exponentBits + mantissaBits;
  const least = hasSubnormals(format) ? 1 - bias : -bias;
  const scale = least < -126 ? tinyScale(b, x) : undefined;
  const bits = b.let("bits", reinterpretAs("i32", scale === undefined ? x : scale.x));
  const magnitudeBits = b.let("magnitudeBits", and(bits, 0x7fffffff));
  const field = b.let("field", shiftRight(magnitudeBits, 23));
  const hidden = selectOf(compareOf("gt", field, i32(0)), i32(0x800000), i32(0));
  const significand = b.let("significand", add(and(magnitudeBits, 0x7fffff), hidden));
  const excess = scale === undefined ? i32(127) : add(scale.exponent, i32(127));
  const exponent = b.let("exponent", sub(max(field, i32(1)), excess));
  const raised = b.let("raised", max(exponent, i32(least)));
  // A shift of 25 or more takes every significand below half a quantum; the cap keeps it inside the 32-bit width.
  const shift = b.let("shift", min(add(sub(raised, exponent), i32(23 - mantissaBits)), i32(26)));
  const quotient = b.let("quotient", binaryOf("shr", significand, shift));
  const remainder = b.let("remainder", sub(significand, binaryOf("shl", quotient, shift)));
  const half = b.let("half", binaryOf("shl", i32(1), sub(shift, i32(1))));
  const floor = b.let("floor", add(shiftLeft(add(raised, i32(bias - 1)), mantissaBits), quotient));
  const tieUp = binaryOf("and", compareOf("eq", remainder, half), compareOf("eq", and(floor, 1), i32(1)));
  const up = castTo("i32", binaryOf("or", compareOf("gt", remainder, half), tieUp));
  const top = i32(topFiniteCode(format));
  const consecutive = min(max(add(floor, up), i32(0)), top);
  const isInfinite = compareOf("ge", magnitudeBits, i32(0x7f800000));
  const nonZero = selectOf(isInfinite, top, consecutive);
  const magnitude = b.let("magnitude", selectOf(compareOf("eq", magnitudeBits, i32(0)), i32(0), nonZero));
  const isNaN = compareOf("gt", magnitudeBits, i32(0x7f800000));
  const nan = i32(nanCode(format));
  const negative = compareOf("lt", bits, i32(0));
  if (!signed) return selectOf(isNaN, nan, selectOf(negative, i32(0), magnitude));
  const negated = add(magnitude, i32(2 ** width));
  const isPositiveZero = compareOf("eq", magnitude, i32(0));
  const negativeCode = specials === "fnuz" ? selectOf(isPositiveZero, i32(0), negated) : negated;
  return selectOf(isNaN, nan, selectOf(negative, negativeCode, magnitude));
}

/** Formats that reach below f32's normal numbers see subnormal x times 2^24: x 2^exponent with exponent 24 or 0. */
function tinyScale(b: LoopBuilder, x: Scalar): { readonly x: Scalar; readonly exponent: Scalar } {
  const value = b.let("value", x);
  const isTiny = b.let("isTiny", compareOf("lt", unaryOf("abs", value), f32(2 ** -126)));
  return {
    x: selectOf(isTiny, mul(value, f32(2 ** 24)), value),
    exponent: b.let("scale", selectOf(isTiny, i32(24), i32(0))),
  };
}

function topFiniteCode(format: MinifloatFormat): number {
  const all = 2 ** (format.mantissaBits + format.exponentBits) - 1;
  if (format.specials === "fn") return all - 1;
  if (format.specials === "ieee") return all - 2 ** format.mantissaBits;
  return all;
}

function nanCode(format: MinifloatFormat): number {
  const width = format.mantissaBits + format.exponentBits;
  switch (format.specials) {
    case "none":
      return 0;
    case "fnuz":
      return 2 ** width;
    case "fn":
      return 2 ** width - 1;
    case "ieee":
      return format.mantissaBits === 0 ? 0 : 2 ** width - 2 ** (format.mantissaBits - 1);
  }
}
