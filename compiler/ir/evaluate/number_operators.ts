/** Operators over registers of doubles. A register holds values of one element exactly; `roundRegister` makes it so again. */

import { decodeBf16, type ElementType, encodeBf16, isFloat, roundHalfEven } from "../../numeric/element.ts";
import type { BinaryOperator, ComparisonOperator, UnaryOperator } from "../expression.ts";
import { erf, moduloFloat, powFloat, powInteger } from "./scalar_math.ts";

export type Register = Float64Array<ArrayBuffer>;

export type Unary = (out: Register, x: Register, count: number) => void;
export type Binary = (out: Register, x: Register, y: Register, count: number) => void;

/** Lifts a scalar function; for functions dear enough that a call does not matter. */
function lift(scalar: (x: number) => number): Unary {
  return (out, x, count) => {
    for (let index = 0; index < count; index++) out[index] = scalar(x[index]);
  };
}

function lift2(scalar: (x: number, y: number) => number): Binary {
  return (out, x, y, count) => {
    for (let index = 0; index < count; index++) out[index] = scalar(x[index], y[index]);
  };
}

function negate(out: Register, x: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = -x[index];
}

function absolute(out: Register, x: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = Math.abs(x[index]);
}

function squareRoot(out: Register, x: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = Math.sqrt(x[index]);
}

function exponential(out: Register, x: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = Math.exp(x[index]);
}

function isNotNumber(out: Register, x: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = x[index] === x[index] ? 0 : 1;
}

function isInfinite(out: Register, x: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = Math.abs(x[index]) === Infinity ? 1 : 0;
}

const floatUnary: { readonly [Operator in UnaryOperator]: Unary } = {
  neg: negate,
  abs: absolute,
  sign: lift(Math.sign),
  floor: lift(Math.floor),
  ceil: lift(Math.ceil),
  round: lift(roundHalfEven),
  trunc: lift(Math.trunc),
  sqrt: squareRoot,
  exp: exponential,
  log: lift(Math.log),
  sin: lift(Math.sin),
  cos: lift(Math.cos),
  tan: lift(Math.tan),
  asin: lift(Math.asin),
  acos: lift(Math.acos),
  atan: lift(Math.atan),
  sinh: lift(Math.sinh),
  cosh: lift(Math.cosh),
  tanh: lift(Math.tanh),
  asinh: lift(Math.asinh),
  acosh: lift(Math.acosh),
  atanh: lift(Math.atanh),
  erf: lift(erf),
  not: lift((x) => ~x),
  isNaN: isNotNumber,
  isInf: isInfinite,
};

export function unaryOperator(operator: UnaryOperator, element: ElementType): Unary {
  return operator === "not" && element === "bool" ? lift((x) => 1 - x) : floatUnary[operator];
}

function add(out: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = x[index] + y[index];
}

function subtract(out: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = x[index] - y[index];
}

function multiply(out: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = x[index] * y[index];
}

function multiplyIntegers(out: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = Math.imul(x[index], y[index]);
}

function divide(out: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = x[index] / y[index];
}

function minimum(out: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = Math.min(x[index], y[index]);
}

function maximum(out: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = Math.max(x[index], y[index]);
}

const floatBinary: { readonly [Operator in BinaryOperator]: Binary } = {
  add,
  sub: subtract,
  mul: multiply,
  div: divide,
  rem: lift2((x, y) => x % y),
  mod: lift2(moduloFloat),
  pow: lift2(powFloat),
  min: minimum,
  max: maximum,
  and: lift2((x, y) => x & y),
  or: lift2((x, y) => x | y),
  xor: lift2((x, y) => x ^ y),
  shl: lift2((x, y) => (y >= 0 && y < 32 ? x << y : 0)),
  shr: lift2((x, y) => (y >= 0 && y < 32 ? Math.floor(x / 2 ** y) : 0)),
};

const integerBits: Partial<Record<ElementType, number>> = { u8: 8, i8: 8, u16: 16, i16: 16, u32: 32, i32: 32 };

export function binaryOperator(operator: BinaryOperator, element: ElementType): Binary {
  if (isFloat(element)) return floatBinary[operator];
  const bits = integerBits[element] ?? 32;
  switch (operator) {
    case "mul":
      return multiplyIntegers;
    case "div":
      return lift2((x, y) => (y === 0 ? 0 : Math.trunc(x / y)));
    case "rem":
      return lift2((x, y) => (y === 0 ? 0 : x % y));
    case "mod":
      return lift2((x, y) => (y === 0 ? 0 : moduloFloat(x, y)));
    case "pow":
      return lift2(powInteger);
    case "shl":
      return lift2((x, y) => (y >= 0 && y < bits ? x << y : 0));
    case "shr":
      return lift2((x, y) => (y >= 0 && y < bits ? Math.floor(x / 2 ** y) : 0));
    default:
      return floatBinary[operator];
  }
}

export const comparison: { readonly [Operator in ComparisonOperator]: Binary } = {
  eq(out, x, y, count) {
    for (let index = 0; index < count; index++) out[index] = x[index] === y[index] ? 1 : 0;
  },
  ne(out, x, y, count) {
    for (let index = 0; index < count; index++) out[index] = x[index] !== y[index] ? 1 : 0;
  },
  lt(out, x, y, count) {
    for (let index = 0; index < count; index++) out[index] = x[index] < y[index] ? 1 : 0;
  },
  le(out, x, y, count) {
    for (let index = 0; index < count; index++) out[index] = x[index] <= y[index] ? 1 : 0;
  },
  gt(out, x, y, count) {
    for (let index = 0; index < count; index++) out[index] = x[index] > y[index] ? 1 : 0;
  },
  ge(out, x, y, count) {
    for (let index = 0; index < count; index++) out[index] = x[index] >= y[index] ? 1 : 0;
  },
};

export function selectNumbers(out: Register, condition: Register, x: Register, y: Register, count: number): void {
  for (let index = 0; index < count; index++) out[index] = condition[index] !== 0 ? x[index] : y[index];
}

/** Operators whose result is a value of the element without rounding or wrapping. */
const exactOperators: ReadonlySet<string> = new Set([
  "sign",
  "floor",
  "ceil",
  "round",
  "trunc",
  "isNaN",
  "isInf",
  "min",
  "max",
  "and",
  "or",
]);

export function needsRounding(operator: UnaryOperator | BinaryOperator, element: ElementType): boolean {
  if (element === "f64" || element === "bool" || exactOperators.has(operator)) return false;
  return !(isFloat(element) && (operator === "neg" || operator === "abs" || operator === "rem"));
}

/** Rounds (floats) or wraps (integers) every entry to the element; bool becomes `!= 0`. */
export function roundRegister(element: ElementType, out: Register, count: number): void {
  switch (element) {
    case "f32":
      for (let index = 0; index < count; index++) out[index] = Math.fround(out[index]);
      return;
    case "f16":
      for (let index = 0; index < count; index++) out[index] = Math.f16round(out[index]);
      return;
    case "bf16":
      for (let index = 0; index < count; index++) out[index] = decodeBf16(encodeBf16(out[index]));
      return;
    case "i32":
      for (let index = 0; index < count; index++) out[index] = out[index] | 0;
      return;
    case "u32":
      for (let index = 0; index < count; index++) out[index] = out[index] >>> 0;
      return;
    case "i16":
      for (let index = 0; index < count; index++) out[index] = (out[index] << 16) >> 16;
      return;
    case "u16":
      for (let index = 0; index < count; index++) out[index] = out[index] & 0xffff;
      return;
    case "i8":
      for (let index = 0; index < count; index++) out[index] = (out[index] << 24) >> 24;
      return;
    case "u8":
      for (let index = 0; index < count; index++) out[index] = out[index] & 0xff;
      return;
    case "bool":
      for (let index = 0; index < count; index++) out[index] = out[index] === 0 ? 0 : 1;
      return;
    case "f64":
    case "i64":
    case "u64":
      return;
  }
}

/** Truncates toward zero and saturates to the range of a narrow integer element; NaN and -0 become 0. */
export function saturateRegister(min: number, max: number, out: Register, count: number): void {
  for (let index = 0; index < count; index++) {
    const value = out[index];
    out[index] = value === value ? Math.min(max, Math.max(min, Math.trunc(value) + 0)) : 0;
  }
}
