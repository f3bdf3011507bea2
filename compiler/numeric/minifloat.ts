/** Small floating point formats eXmY: any exponent and mantissa width, bias and special-value policy. */

import { roundHalfEven } from "./element.ts";

/**
 * How the top codes are used. `ieee`: exponent all ones is infinity or NaN. `fn`: only all-ones exponent and mantissa is
 * NaN, no infinity (OCP FP8 E4M3). `fnuz`: the code of negative zero is the one NaN (no -0, no infinity).
 * `none`: every code is finite (OCP MX FP4, FP6).
 */
export type SpecialValues = "ieee" | "fn" | "fnuz" | "none";

export interface MinifloatFormat {
  readonly kind: "minifloat";
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  readonly specials: SpecialValues;
  readonly signed: boolean;
}

/** The format with its usual bias 2^(e-1)-1 (one more for `fnuz`). */
export function minifloat(
  exponentBits: number,
  mantissaBits: number,
  specials: SpecialValues = "none",
): MinifloatFormat {
  return {
    kind: "minifloat",
    exponentBits,
    mantissaBits,
    bias: standardBias(exponentBits, specials),
    specials,
    signed: true,
  };
}

function standardBias(exponentBits: number, specials: SpecialValues): number {
  return 2 ** (exponentBits - 1) - 1 + (specials === "fnuz" ? 1 : 0);
}

/** OCP MX shared scale: unsigned, 8 exponent bits, no mantissa, the last code NaN. */
export const e8m0: MinifloatFormat = {
  kind: "minifloat",
  exponentBits: 8,
  mantissaBits: 0,
  bias: 127,
  specials: "fn",
  signed: false,
};

/** `e4m3fn`, `e2m1`, `e5m2ieee`, `e4m3fnuz`, `ue8m0fn`; an unusual bias is appended as `b<bias>`. */
export function minifloatName(format: MinifloatFormat): string {
  const specials = format.specials === "none" ? "" : format.specials;
  const usual = format.signed ? standardBias(format.exponentBits, format.specials) : 2 ** (format.exponentBits - 1) - 1;
  const bias = format.bias === usual ? "" : `b${format.bias}`;
  return `${format.signed ? "" : "u"}e${format.exponentBits}m${format.mantissaBits}${specials}${bias}`;
}

export function parseMinifloat(name: string): MinifloatFormat | undefined {
  const match = /^(u?)e(\d)m(\d\d?)(ieee|fnuz|fn)?(?:b(-?\d+))?$/.exec(name);
  if (match === null) return undefined;
  const exponentBits = Number(match[2]);
  const mantissaBits = Number(match[3]);
  const signed = match[1] === "";
  if (exponentBits < 1 || exponentBits + mantissaBits + (signed ? 1 : 0) > 16) return undefined;
  // The pattern admits no other word.
  const specials = (match[4] ?? "none") as SpecialValues;
  const usual = signed ? standardBias(exponentBits, specials) : 2 ** (exponentBits - 1) - 1;
  return {
    kind: "minifloat",
    exponentBits,
    mantissaBits,
    bias: match[5] === undefined ? usual : Number(match[5]),
    specials,
    signed,
  };
}

/** The value of a code: sign, then exponent, then mantissa from the top bit down. */
export function decodeMinifloat(format: MinifloatFormat, code: number): number {
  const { exponentBits, mantissaBits, bias, specials, signed } = format;
  const mantissa = code % 2 ** mantissaBits;
  const exponent = Math.floor(code / 2 ** mantissaBits) % 2 ** exponentBits;
  const negative = signed && Math.floor(code / 2 ** (mantissaBits + exponentBits)) % 2 === 1;
  const topExponent = 2 ** exponentBits - 1;
  if (specials === "ieee" && exponent === topExponent) {
    return mantissa === 0 ? (negative ? -Infinity : Infinity) : NaN;
  }
  if (specials === "fn" && exponent === topExponent && mantissa === 2 ** mantissaBits - 1) return NaN;
  if (specials === "fnuz" && negative && exponent === 0 && mantissa === 0) return NaN;
  // An unsigned format without mantissa (E8M0) has neither zero nor subnormals: code 0 is 2^-bias.
  const isSubnormal = exponent === 0 && (signed || mantissaBits > 0);
  const magnitude = isSubnormal
    ? mantissa * 2 ** (1 - bias - mantissaBits)
    : (2 ** mantissaBits + mantissa) * 2 ** (exponent - bias - mantissaBits);
  return negative ? -magnitude : magnitude;
}

/**
 * The code nearest to `value`, ties to the even code; saturates to the largest finite value; NaN to NaN or, without one, to
 * code 0.
 */
export function encodeMinifloat(format: MinifloatFormat, value: number): number {
  const signBit = format.signed ? 2 ** (format.mantissaBits + format.exponentBits) : 0;
  if (Number.isNaN(value)) return nanCode(format) ?? 0;
  const negative = value < 0 || Object.is(value, -0);
  const magnitudeCode = encodeMagnitude(format, format.signed ? Math.abs(value) : Math.max(0, value));
  if (!negative || !format.signed) return magnitudeCode;
  return format.specials === "fnuz" && magnitudeCode === 0 ? 0 : signBit + magnitudeCode;
}

function nanCode(format: MinifloatFormat): number | undefined {
  const width = format.mantissaBits + format.exponentBits;
  switch (format.specials) {
    case "none":
      return undefined;
    case "fnuz":
      return 2 ** width;
    case "fn":
      return 2 ** width - 1;
    case "ieee":
      return format.mantissaBits === 0 ? undefined : 2 ** width - 2 ** (format.mantissaBits - 1);
  }
}

/** Largest code of a finite magnitude. */
function topFiniteCode(format: MinifloatFormat): number {
  const all = 2 ** (format.mantissaBits + format.exponentBits) - 1;
  if (format.specials === "fn") return all - 1;
  if (format.specials === "ieee") return all - 2 ** format.mantissaBits;
  return all;
}

function encodeMagnitude(format: MinifloatFormat, magnitude: number): number {
  const top = topFiniteCode(format);
  const { mantissaBits, bias } = format;
  const hasSubnormals = format.signed || mantissaBits > 0;
  const lowestExponent = hasSubnormals ? 1 - bias : -bias;
  if (magnitude === 0) return 0;
  if (magnitude === Infinity) return top;
  const exponent = Math.max(lowestExponent, exponentOf(magnitude));
  const quantum = 2 ** (exponent - mantissaBits);
  // Codes of magnitudes are consecutive, so a carry out of the mantissa lands on the next exponent by itself.
  const base = (exponent + bias - 1) * 2 ** mantissaBits;
  return Math.min(top, Math.max(0, base + roundToEvenCode(magnitude / quantum, base)));
}

/** The integer nearest to `steps`; of two equally near, the one that makes `base + steps` even. */
function roundToEvenCode(steps: number, base: number): number {
  const floor = Math.floor(steps);
  if (steps - floor === 0.5) return (base + floor) % 2 === 0 ? floor : floor + 1;
  return roundHalfEven(steps);
}

/** floor(log2(x)) for finite x > 0, exact. */
function exponentOf(x: number): number {
  let exponent = Math.floor(Math.log2(x));
  if (2 ** exponent > x) exponent--;
  else if (2 ** (exponent + 1) <= x) exponent++;
  return exponent;
}
