/** Prints scalars and positions of the loop form as WGSL expressions. */

import { InvariantError } from "../../../compiler/diagnostics.ts";
import { type ElementType, isFloat } from "../../../compiler/numeric/element.ts";
import type { BinaryOperator, ComparisonOperator, UnaryOperator } from "../../../compiler/ir/expression.ts";
import type { Index, Scalar } from "../../loops/program.ts";
import { safeName } from "../names.ts";
import { f32Text, heldAs, i32Text, literalText, wgslType } from "../types.ts";

/** An i32 expression. Divisors are positive and dividends are not negative. */
export function indexText(index: Index): string {
  if (typeof index === "number") return i32Text(index);
  switch (index.kind) {
    case "variable":
      return safeName(index.name);
    case "symbol":
      return `symbols.${safeName(index.name)}`;
    case "scalar":
      return scalarText(index.x);
    case "min":
    case "max":
      return `${index.kind}(${indexText(index.x)}, ${indexText(index.y)})`;
    case "add":
      if (typeof index.y === "number" && index.y < 0) return `(${indexText(index.x)} - ${-index.y})`;
      return `(${indexText(index.x)} + ${indexText(index.y)})`;
    case "mul":
      return `(${indexText(index.x)} * ${indexText(index.y)})`;
    case "div":
      return `(${indexText(index.x)} / ${indexText(index.y)})`;
    case "rem":
      return `(${indexText(index.x)} % ${indexText(index.y)})`;
  }
}

export function scalarText(scalar: Scalar): string {
  const { element } = scalar;
  switch (scalar.kind) {
    case "literal":
      return literalText(element, scalar.value);
    case "variable":
      return safeName(scalar.name);
    case "index":
      return indexText(scalar.index);
    case "load":
      return `load_${scalar.buffer}(${bare(indexText(scalar.index))})`;
    case "unary":
      return unaryText(scalar.operator, scalar.x.element, scalarText(scalar.x));
    case "binary":
      return binaryText(scalar.operator, element, scalarText(scalar.x), scalarText(scalar.y));
    case "compare":
      return compareText(scalar.operator, scalar.x.element, scalarText(scalar.x), scalarText(scalar.y));
    case "select":
      return `select(${[scalar.y, scalar.x, scalar.condition].map((part) => bare(scalarText(part))).join(", ")})`;
    case "cast":
      return castText(element, scalar.x.element, scalarText(scalar.x));
    case "reinterpret":
      return `bitcast<${wgslType(element)}>(${bare(scalarText(scalar.x))})`;
    case "table":
      return tableText(scalar.values, scalarText(scalar.x));
  }
}

/** A text without the parentheses around the whole. */
export function bare(text: string): string {
  if (!text.startsWith("(") || !text.endsWith(")")) return text;
  let depth = 0;
  for (let at = 0; at < text.length - 1; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")") depth--;
    if (depth === 0) return text;
  }
  return text.slice(1, -1);
}

/** Rounds or wraps a result in 32 bits to a narrower element. */
function fitted(element: ElementType, text: string): string {
  switch (element) {
    case "i8":
      return `extractBits(${bare(text)}, 0u, 8u)`;
    case "i16":
      return `extractBits(${bare(text)}, 0u, 16u)`;
    case "u8":
      return `(${text} & 255u)`;
    case "u16":
      return `(${text} & 65535u)`;
    case "f16":
    case "bf16":
      return `round_${element}(${bare(text)})`;
    default:
      return text;
  }
}

function unaryText(operator: UnaryOperator, element: ElementType, x: string): string {
  const held = heldAs(element);
  if (held === "f32") return floatUnary(operator, element, x);
  if (held === "f64") {
    if (operator === "isNaN") return `is_nan_f64(${x})`;
    return operator === "isInf" ? `is_inf_f64(${x})` : `${operator}_f64(${bare(x)})`;
  }
  const isWide = held === "i64" || held === "u64";
  switch (operator) {
    case "not":
      return held === "bool" ? `!${x}` : fitted(element, `(~${x})`);
    case "neg":
      if (isWide) return `neg_u64(${x})`;
      return fitted(element, held === "u32" ? `(0u - ${x})` : `(0 - ${x})`);
    case "abs":
      if (held === "u32" || held === "u64") return x;
      return isWide ? `abs_i64(${x})` : fitted(element, `abs(${bare(x)})`);
    case "sign":
      if (isWide) return `sign_${held}(${x})`;
      return held === "u32" ? `min(${x}, 1u)` : `clamp(${x}, -1, 1)`;
    default:
      throw new InvariantError(`${operator} does not apply to ${element}`);
  }
}

function floatUnary(operator: UnaryOperator, element: ElementType, x: string): string {
  switch (operator) {
    case "neg":
      return `(-${x})`;
    case "abs":
    case "floor":
    case "ceil":
    case "round":
    case "trunc":
      return `${operator}(${bare(x)})`;
    case "isNaN":
      return `is_nan(${bare(x)})`;
    case "isInf":
      return `is_inf(${bare(x)})`;
    default:
      return fitted(element, `${operator}_f32(${bare(x)})`);
  }
}

const arithmetic: Readonly<Record<string, string>> = { add: "+", sub: "-", mul: "*", and: "&", or: "|", xor: "^" };

function binaryText(operator: BinaryOperator, element: ElementType, x: string, y: string): string {
  const held = heldAs(element);
  const call = (name: string) => `${name}(${bare(x)}, ${bare(y)})`;
  const infix = arithmetic[operator];
  switch (held) {
    case "bool":
      if (operator === "xor") return `(${x} != ${y})`;
      if (operator === "and" || operator === "or") return `(${x} ${infix} ${y})`;
      throw new InvariantError(`${operator} does not apply to bool`);
    case "f32":
      // Drivers take x + 0 for x, but -0 + 0 is 0.
      if (operator === "add" && y === "0f") return fitted(element, `plus_zero(${bare(x)})`);
      if (operator === "add" || operator === "sub" || operator === "mul") {
        return fitted(element, `(${x} ${infix} ${y})`);
      }
      return fitted(element, call(`${operator}_f32`));
    case "f64":
      return call(`${operator}_f64`);
    case "i64":
    case "u64":
      if (operator === "and" || operator === "or" || operator === "xor") return `(${x} ${infix} ${y})`;
      if (operator === "add" || operator === "sub" || operator === "mul" || operator === "shl") {
        return call(`${operator}_u64`);
      }
      return call(operator === "mod" && held === "u64" ? "rem_u64" : `${operator}_${held}`);
    case "i32":
    case "u32":
      if (infix !== undefined) return fitted(element, `(${x} ${infix} ${y})`);
      if (operator === "min" || operator === "max") return call(operator);
      if (operator === "shl" || operator === "shr") return shiftText(operator, element, x, y);
      return fitted(element, call(operator === "mod" && held === "u32" ? "rem_u32" : `${operator}_${held}`));
  }
}

/** Shifts by the width of the element or more give 0. */
function shiftText(operator: "shl" | "shr", element: ElementType, x: string, y: string): string {
  const held = heldAs(element);
  const bits = element === "i8" || element === "u8" ? 8 : element === "i16" || element === "u16" ? 16 : 32;
  const literal = /^(\d+)u?$/.exec(y);
  if (literal !== null && Number(literal[1]) < bits) {
    return fitted(element, `(${x} ${operator === "shl" ? "<<" : ">>"} ${literal[1]}u)`);
  }
  const moved = fitted(element, `${operator}_${held}(${bare(x)}, ${bare(y)})`);
  if (bits === 32) return moved;
  return held === "u32" ? `select(0u, ${moved}, ${y} < ${bits}u)` : `select(0, ${moved}, u32(${bare(y)}) < ${bits}u)`;
}

const comparisonText: Readonly<Record<ComparisonOperator, string>> = {
  eq: "==",
  ne: "!=",
  lt: "<",
  le: "<=",
  gt: ">",
  ge: ">=",
};

function compareText(operator: ComparisonOperator, element: ElementType, x: string, y: string): string {
  const held = heldAs(element);
  if (held === "bool" && operator !== "eq" && operator !== "ne") {
    return `(u32(${x}) ${comparisonText[operator]} u32(${y}))`;
  }
  if (held !== "i64" && held !== "u64" && held !== "f64") return `(${x} ${comparisonText[operator]} ${y})`;
  const equal = held === "f64" ? "eq_f64" : "eq_u64";
  const less = (a: string, b: string) => `lt_${held}(${a}, ${b})`;
  // The negation of a comparison would take NaN for a number.
  const lessOrEqual = (a: string, b: string) => held === "f64" ? `le_f64(${a}, ${b})` : `!${less(b, a)}`;
  switch (operator) {
    case "eq":
      return `${equal}(${x}, ${y})`;
    case "ne":
      return `!${equal}(${x}, ${y})`;
    case "lt":
      return less(x, y);
    case "gt":
      return less(y, x);
    case "le":
      return lessOrEqual(x, y);
    case "ge":
      return lessOrEqual(y, x);
  }
}

const narrowRange: { readonly [E in ElementType]?: readonly [number, number] } = {
  i8: [-128, 127],
  u8: [0, 255],
  i16: [-32768, 32767],
  u16: [0, 65535],
};

function castText(to: ElementType, from: ElementType, x: string): string {
  const [source, target] = [heldAs(from), heldAs(to)];
  if (to === from) return x;
  if (target === "bool") return toBool(source, x);
  if (source === "bool") return fromBool(target, x);
  if (isFloat(from)) return isFloat(to) ? floatToFloat(to, source, x) : floatToInteger(to, source, x);
  if (target === "f32") {
    const wide = source === "i64" || source === "u64";
    return fitted(to, wide ? `f32_of_${source}(${bare(x)})` : `f32(${bare(x)})`);
  }
  if (target === "f64") return `f64_of_${source}(${bare(x)})`;
  return integerToInteger(to, from, x);
}

function toBool(source: string, x: string): string {
  switch (source) {
    case "bool":
      return x;
    case "i64":
    case "u64":
      return `any(${x} != vec2<u32>(0u))`;
    case "f64":
      return `!is_zero_f64(${x})`;
    default:
      return `(${x} != ${source === "f32" ? "0f" : source === "u32" ? "0u" : "0"})`;
  }
}

function fromBool(target: string, x: string): string {
  if (target === "i64" || target === "u64") return `vec2<u32>(u32(${bare(x)}), 0u)`;
  return target === "f64" ? `f64_of_u32(u32(${bare(x)}))` : `${target}(${bare(x)})`;
}

function integerToInteger(to: ElementType, from: ElementType, x: string): string {
  const [source, target] = [heldAs(from), heldAs(to)];
  const isWide = source === "i64" || source === "u64";
  if (target === "i64" || target === "u64") {
    if (isWide) return x;
    return source === "i32" ? `i64_of_i32(${bare(x)})` : `vec2<u32>(${bare(x)}, 0u)`;
  }
  const low = isWide
    ? (target === "i32" ? `bitcast<i32>(${x}.x)` : `${x}.x`)
    : source === target
    ? x
    : `${target}(${bare(x)})`;
  return fitted(to, low);
}

function floatToFloat(to: ElementType, source: string, x: string): string {
  if (to === "f64") return source === "f64" ? x : `f64_of_f32(${bare(x)})`;
  if (source !== "f64") return fitted(to, x);
  return to === "f16" ? `f16_of_f64(${bare(x)})` : fitted(to, `f32_of_f64(${bare(x)})`);
}

function floatToInteger(to: ElementType, source: string, x: string): string {
  const target = heldAs(to);
  const range = narrowRange[to];
  if (range === undefined) return `${target}_of_${source}(${bare(x)})`;
  const whole = `i32_of_${source}(${bare(x)})`;
  const clamped = `clamp(${whole}, ${range[0]}, ${range[1]})`;
  return target === "u32" ? `u32(${clamped})` : clamped;
}

function tableText(values: readonly number[], x: string): string {
  return `array<f32, ${values.length}>(${values.map((value) => f32Text(value)).join(", ")})[${bare(x)}]`;
}
