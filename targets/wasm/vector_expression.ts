/** Prints scalar expressions over four lanes: f32x4, i32x4, bytes as i32x4 in their range, and lane masks for bool. */

import {
  type BinaryOperator,
  type Expression,
  expressionElement,
  type UnaryOperator,
} from "../../compiler/ir/expression.ts";
import type { ElementType } from "../../compiler/numeric/element.ts";
import { parts } from "../../compiler/rewrite/expressions.ts";
import { canInline, inlineCall } from "./math/inline.ts";
import { op } from "./text.ts";

/** One operand: an instruction that yields its four lanes, and their element. */
export interface VectorOperand {
  readonly text: string;
  readonly element: ElementType;
}

/** `text` yields the four lanes; `calls` names the math functions that it uses. */
export interface VectorCode {
  readonly text: string;
  readonly element: ElementType;
  readonly calls: readonly string[];
}

const floatUnary: { readonly [U in UnaryOperator]?: string } = {
  neg: "f32x4.neg",
  abs: "f32x4.abs",
  sqrt: "f32x4.sqrt",
  floor: "f32x4.floor",
  ceil: "f32x4.ceil",
  round: "f32x4.nearest",
  trunc: "f32x4.trunc",
};

/** Operators that functions of the math library compute, named `<operator>_f32x4`. */
const floatCalls: ReadonlySet<UnaryOperator | BinaryOperator> = new Set([
  ...["exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"] as const,
  ...["asinh", "acosh", "atanh", "erf", "pow", "rem", "mod"] as const,
]);

const floatBinary: { readonly [B in BinaryOperator]?: string } = {
  add: "f32x4.add",
  sub: "f32x4.sub",
  mul: "f32x4.mul",
  div: "f32x4.div",
  min: "f32x4.min",
  max: "f32x4.max",
};

const integerBinary: { readonly [B in BinaryOperator]?: string } = {
  add: "i32x4.add",
  sub: "i32x4.sub",
  mul: "i32x4.mul",
  min: "i32x4.min_s",
  max: "i32x4.max_s",
  and: "v128.and",
  or: "v128.or",
  xor: "v128.xor",
};

const maskBinary: { readonly [B in BinaryOperator]?: string } = { and: "v128.and", or: "v128.or", xor: "v128.xor" };

/** Whether lanes of this element are printed here. */
export function hasLanes(element: ElementType): boolean {
  return element === "f32" || element === "i32" || element === "bool" || isByte(element);
}

function isByte(element: ElementType): element is "i8" | "u8" {
  return element === "i8" || element === "u8";
}

/** Operators that keep bytes in their range. */
const byteOperators: ReadonlySet<BinaryOperator> = new Set<BinaryOperator>(["min", "max", "and", "or", "xor"]);

const byteRanges = { i8: [-128, 127], u8: [0, 255] } as const;

/** A literal in every lane. Values that text cannot spell exactly as decimals are spelled by their bits. */
export function vectorLiteral(element: ElementType, value: number | bigint): string {
  const number = Number(value);
  if (element === "bool") return `(v128.const i32x4${` ${number === 0 ? 0 : -1}`.repeat(4)})`;
  if (element === "i32" || isByte(element)) return `(v128.const i32x4${` ${number | 0}`.repeat(4)})`;
  return `(v128.const f32x4${` ${floatText(number)}`.repeat(4)})`;
}

/** A float32 as WebAssembly text. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "-inf";
  return Object.is(value, -0) ? "-0" : String(Math.fround(value));
}

/** Whether a part of the expression is a function of the math library. */
export function hasCalls(expression: Expression): boolean {
  const calls = (expression.kind === "unary" || expression.kind === "binary") && floatCalls.has(expression.operator);
  return calls || parts(expression).some(hasCalls);
}

/** How a literal's lanes are written: in place, or by a local that holds them. */
export type LiteralForm = (text: string) => string;

/**
 * The expression over four lanes, or undefined when a part of it has no vector form here. `literalForm` may give
 * literals a place of their own: engines build a vector constant anew at every use.
 */
export function printVector(
  expression: Expression,
  inputs: readonly VectorOperand[],
  literalForm: LiteralForm = (text) => text,
): VectorCode | undefined {
  const calls = new Set<string>();
  const elements = inputs.map((operand) => operand.element);
  const elementOf = (node: Expression): ElementType | undefined => {
    const result = expressionElement(node, elements);
    return result.ok && hasLanes(result.element) ? result.element : undefined;
  };

  const printCall = (operator: string, ...operands: readonly string[]): string => {
    const name = `${operator}_f32x4`;
    if (canInline(name)) return inlineVector(name, operands, literalForm);
    calls.add(name);
    return op(`call $${name}`, ...operands);
  };
  const visit = (node: Expression): string | undefined => {
    const element = elementOf(node);
    if (element === undefined) return undefined;
    switch (node.kind) {
      case "input":
        return inputs[node.index].text;
      case "literal":
        return literalForm(vectorLiteral(element, node.value));
      case "unary":
        return visitUnary(node.operator, element, node.x);
      case "binary":
        return visitBinary(node.operator, element, node.x, node.y);
      case "compare": {
        const operand = elementOf(node.x);
        const [x, y] = [visit(node.x), visit(node.y)];
        if (x === undefined || y === undefined || operand === undefined || operand === "bool") return undefined;
        const lanes = operand === "f32" ? "f32x4" : "i32x4";
        const signed = operand !== "f32" && node.operator !== "eq" && node.operator !== "ne" ? "_s" : "";
        return op(`${lanes}.${node.operator}${signed}`, x, y);
      }
      case "select": {
        const [condition, x, y] = [visit(node.condition), visit(node.x), visit(node.y)];
        return condition === undefined || x === undefined || y === undefined
          ? undefined
          : op("v128.bitselect", x, y, condition);
      }
      case "cast":
        return visitCast(element, node.x);
    }
  };

  const visitUnary = (operator: UnaryOperator, element: ElementType, argument: Expression): string | undefined => {
    const x = visit(argument);
    if (x === undefined) return undefined;
    if (operator === "not") return element === "bool" || element === "i32" ? op("v128.not", x) : undefined;
    if (operator === "isNaN") return isPure(argument) ? op("f32x4.ne", x, x) : undefined;
    if (operator === "sign" && element === "f32") return isPure(argument) ? printSign(x, literalForm) : undefined;
    if (operator === "isInf") return op("f32x4.eq", op("f32x4.abs", x), literalForm(vectorLiteral("f32", Infinity)));
    if (element === "i32") {
      return operator === "neg" || operator === "abs" ? op(`i32x4.${operator}`, x) : undefined;
    }
    if (element === "f32" && floatCalls.has(operator)) return printCall(operator, x);
    const instruction = element === "f32" ? floatUnary[operator] : undefined;
    return instruction === undefined ? undefined : op(instruction, x);
  };

  const visitBinary = (
    operator: BinaryOperator,
    element: ElementType,
    first: Expression,
    second: Expression,
  ): string | undefined => {
    const x = visit(first);
    if (element === "i32" && (operator === "shl" || operator === "shr")) return x && printShift(operator, x, second);
    const y = visit(second);
    if (x === undefined || y === undefined) return undefined;
    if (isByte(element) && !byteOperators.has(operator)) return undefined;
    if (element === "f32" && (operator === "min" || operator === "max")) {
      return printExtremum(operator, x, first, y, second);
    }
    if (element === "f32" && floatCalls.has(operator)) return printCall(operator, x, y);
    const table = element === "f32" ? floatBinary : element === "bool" ? maskBinary : integerBinary;
    const instruction = table[operator];
    return instruction === undefined ? undefined : op(instruction, x, y);
  };

  const visitCast = (element: ElementType, argument: Expression): string | undefined => {
    const from = elementOf(argument);
    const x = visit(argument);
    if (x === undefined || from === undefined) return undefined;
    if (from === element) return x;
    if (isByte(element)) return printByte(element, from, x, argument);
    if (isByte(from)) return visitCastOf("i32", element, x);
    return visitCastOf(from, element, x);
  };

  const visitCastOf = (from: ElementType, element: ElementType, x: string): string | undefined => {
    if (from === element) return x;
    if (element === "f32" && from === "i32") return op("f32x4.convert_i32x4_s", x);
    if (element === "i32" && from === "f32") return op("i32x4.trunc_sat_f32x4_s", x);
    if (from === "bool" && element === "f32") return op("v128.and", x, vectorLiteral("f32", 1));
    if (from === "bool" && element === "i32") return op("v128.and", x, vectorLiteral("i32", 1));
    if (element === "bool") return op(`${from}x4.ne`, x, vectorLiteral(from, 0));
    return undefined;
  };

  const text = visit(expression);
  const element = elementOf(expression);
  return text === undefined || element === undefined ? undefined : { text, element, calls: [...calls] };
}

/**
 * A function of the math library written out over operands. Its locals serve every use in turn: no value of one use
 * outlives it.
 */
export function inlineVector(name: string, operands: readonly string[], literalForm: LiteralForm): string {
  return inlineCall(name, operands, {
    local: (stem) => `v_${stem}`,
    label: (stem) => stem,
    constant: literalForm,
  });
}

/** 1, -1, or x itself: zeros and NaN stay. */
function printSign(x: string, literalForm: LiteralForm): string {
  const value = (number: number): string => literalForm(vectorLiteral("f32", number));
  const negative = op("v128.bitselect", value(-1), x, op("f32x4.lt", x, value(0)));
  return op("v128.bitselect", value(1), negative, op("f32x4.gt", x, value(0)));
}

/** Shifts by a literal; by the width or more they give 0, or the sign for `shr`. */
function printShift(operator: "shl" | "shr", x: string, amount: Expression): string | undefined {
  if (amount.kind !== "literal") return undefined;
  const count = Number(amount.value);
  if (count < 0 || count > 31) return undefined;
  return op(operator === "shl" ? "i32x4.shl" : "i32x4.shr_s", x, `(i32.const ${count})`);
}

/** To a byte: floats truncate and saturate, integers wrap, bools are 0 and 1. */
function printByte(element: "i8" | "u8", from: ElementType, x: string, argument: Expression): string | undefined {
  const [low, high] = byteRanges[element];
  const inside = staysWithin(argument, low, high);
  if (from === "bool") return op("v128.and", x, vectorLiteral("i32", 1));
  if (from === "f32") {
    const whole = op("i32x4.trunc_sat_f32x4_s", x);
    if (inside) return whole;
    return op("i32x4.min_s", op("i32x4.max_s", whole, vectorLiteral("i32", low)), vectorLiteral("i32", high));
  }
  if (inside) return x;
  if (element === "u8") return op("v128.and", x, vectorLiteral("i32", 255));
  return op("i32x4.shr_s", op("i32x4.shl", x, "(i32.const 24)"), "(i32.const 24)");
}

/** Whether literal bounds at the root of the expression keep it within the range (NaN aside, which becomes 0). */
function staysWithin(expression: Expression, low: number, high: number): boolean {
  const [least, most] = boundsOf(expression);
  return least >= low && most <= high;
}

function boundsOf(expression: Expression): readonly [number, number] {
  if (expression.kind !== "binary" || expression.operator !== "min" && expression.operator !== "max") {
    return [-Infinity, Infinity];
  }
  const { operator, x, y } = expression;
  const [bound, inner] = y.kind === "literal" ? [y, x] : [x, y];
  if (bound.kind !== "literal") return [-Infinity, Infinity];
  const value = Number(bound.value);
  const limit = operator === "min" ? Math.min : Math.max;
  const [least, most] = boundsOf(inner);
  return [limit(least, value), limit(most, value)];
}

/** Whether printing the expression twice costs next to nothing. */
function isPure(expression: Expression): boolean {
  return expression.kind === "input" || expression.kind === "literal";
}

/**
 * Minimum or maximum that propagates NaN. Against a literal the pseudo form serves: pmax(x, c) = x < c ? c : x keeps
 * a NaN of x. Its maximum also keeps x = -0 where c = 0, which adding 0 undoes.
 */
function printExtremum(operator: "min" | "max", x: string, first: Expression, y: string, second: Expression): string {
  const [value, limit, bound] = second.kind === "literal" ? [x, y, second] : [y, x, first];
  const number = bound.kind === "literal" ? Number(bound.value) : NaN;
  if (Number.isNaN(number) || Object.is(number, -0)) return op(`f32x4.${operator}`, x, y);
  const pseudo = op(`f32x4.p${operator}`, value, limit);
  return number === 0 && operator === "max" ? op("f32x4.add", pseudo, vectorLiteral("f32", 0)) : pseudo;
}
