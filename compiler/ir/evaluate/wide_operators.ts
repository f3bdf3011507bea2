/** Operators over registers of 64-bit integers. Results wrap as they are stored. */

import { type ElementType, integerRange, isFloat } from "../../numeric/element.ts";
import type { BinaryOperator, ComparisonOperator, UnaryOperator } from "../expression.ts";
import type { Register } from "./number_operators.ts";
import type { WideArray } from "./numbers.ts";
import { powWide, wideToDouble } from "./scalar_math.ts";
import { InvariantError } from "../../diagnostics.ts";

export type WideUnary = (x: bigint) => bigint;
export type WideBinary = (x: bigint, y: bigint) => bigint;

export function wideUnary(operator: UnaryOperator): WideUnary {
  switch (operator) {
    case "neg":
      return (x) => -x;
    case "abs":
      return (x) => (x < 0n ? -x : x);
    case "sign":
      return (x) => (x < 0n ? -1n : x > 0n ? 1n : 0n);
    case "not":
      return (x) => ~x;
    default:
      throw new InvariantError(`${operator} does not apply to 64-bit integers`);
  }
}

const binaryTable: { readonly [Operator in BinaryOperator]: WideBinary } = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => (y === 0n ? 0n : x / y),
  rem: (x, y) => (y === 0n ? 0n : x % y),
  mod: (x, y) => {
    if (y === 0n) return 0n;
    const remainder = x % y;
    return remainder !== 0n && remainder < 0n !== y < 0n ? remainder + y : remainder;
  },
  pow: powWide,
  min: (x, y) => (x < y ? x : y),
  max: (x, y) => (x > y ? x : y),
  and: (x, y) => x & y,
  or: (x, y) => x | y,
  xor: (x, y) => x ^ y,
  shl: (x, y) => (y >= 0n && y < 64n ? x << y : 0n),
  shr: (x, y) => (y >= 0n && y < 64n ? x >> y : 0n),
};

export function wideBinary(operator: BinaryOperator): WideBinary {
  return binaryTable[operator];
}

export const wideComparison: { readonly [Operator in ComparisonOperator]: (x: bigint, y: bigint) => boolean } = {
  eq: (x, y) => x === y,
  ne: (x, y) => x !== y,
  lt: (x, y) => x < y,
  le: (x, y) => x <= y,
  gt: (x, y) => x > y,
  ge: (x, y) => x >= y,
};

/** Numbers to 64-bit integers: floats truncate and saturate, NaN to 0; integers wrap. */
export function widen(out: WideArray, x: Register, from: ElementType, to: ElementType, count: number): void {
  const { min, max } = integerRange(to);
  for (let index = 0; index < count; index++) {
    const value = x[index];
    if (!isFloat(from)) out[index] = BigInt(value);
    else if (Number.isNaN(value)) out[index] = 0n;
    else if (value === Infinity) out[index] = max;
    else if (value === -Infinity) out[index] = min;
    else {
      const whole = BigInt(Math.trunc(value));
      out[index] = whole < min ? min : whole > max ? max : whole;
    }
  }
}

/** 64-bit integers to numbers: to floats rounded once by the caller, to narrower integers wrapped, to bool `!= 0`. */
export function narrow(out: Register, x: WideArray, to: ElementType, count: number): void {
  for (let index = 0; index < count; index++) {
    const value = x[index];
    if (to === "f64") out[index] = Number(value);
    else if (isFloat(to)) out[index] = wideToDouble(value);
    else if (to === "bool") out[index] = value === 0n ? 0 : 1;
    else out[index] = Number(BigInt.asIntN(32, value));
  }
}
