/** Constructors of scalars. Each knows its element; constants that change nothing are dropped where that is exact. */

import type { BinaryOperator, ComparisonOperator, UnaryOperator } from "../../compiler/ir/expression.ts";
import { type ElementType, isFloat, isWide } from "../../compiler/numeric/element.ts";
import type { Index, Scalar } from "./program.ts";

export function literalOf(element: ElementType, value: number | bigint): Scalar {
  return { kind: "literal", element, value: isWide(element) ? BigInt(value) : Number(value) };
}

export function f32(value: number): Scalar {
  return literalOf("f32", value);
}

export function i32(value: number): Scalar {
  return literalOf("i32", value);
}

export function scalarOfIndex(index: Index): Scalar {
  if (typeof index === "number") return i32(index);
  if (index.kind === "scalar") return index.x;
  return { kind: "index", element: "i32", index };
}

export function unaryOf(operator: UnaryOperator, x: Scalar): Scalar {
  const element = operator === "isNaN" || operator === "isInf" ? "bool" : x.element;
  return { kind: "unary", element, operator, x };
}

export function binaryOf(operator: BinaryOperator, x: Scalar, y: Scalar): Scalar {
  return { kind: "binary", element: x.element, operator, x, y };
}

export function add(x: Scalar, y: Scalar): Scalar {
  return binaryOf("add", x, y);
}

export function sub(x: Scalar, y: Scalar): Scalar {
  return binaryOf("sub", x, y);
}

export function mul(x: Scalar, y: Scalar): Scalar {
  return binaryOf("mul", x, y);
}

export function div(x: Scalar, y: Scalar): Scalar {
  return binaryOf("div", x, y);
}

export function min(x: Scalar, y: Scalar): Scalar {
  return binaryOf("min", x, y);
}

export function max(x: Scalar, y: Scalar): Scalar {
  return binaryOf("max", x, y);
}

export function compareOf(operator: ComparisonOperator, x: Scalar, y: Scalar): Scalar {
  return { kind: "compare", element: "bool", operator, x, y };
}

export function selectOf(condition: Scalar, x: Scalar, y: Scalar): Scalar {
  return { kind: "select", element: x.element, condition, x, y };
}

/** The larger of a variable and a named value; a NaN value is passed over. A reduction of its own (see LoopOrder). */
export function largerOf(held: Scalar, value: Scalar): Scalar {
  return selectOf(compareOf("lt", held, value), value, held);
}

/** The smaller of a variable and a named value; a NaN value is passed over. */
export function smallerOf(held: Scalar, value: Scalar): Scalar {
  return selectOf(compareOf("gt", held, value), value, held);
}

export function castTo(element: ElementType, x: Scalar): Scalar {
  if (x.element === element) return x;
  if (x.kind === "literal" && typeof x.value === "number" && Number.isInteger(x.value) && Math.abs(x.value) < 2 ** 8) {
    if (isFloat(element) || element === "i32" || element === "i64") return literalOf(element, x.value);
  }
  return { kind: "cast", element, x };
}

export function reinterpretAs(element: "f32" | "i32", x: Scalar): Scalar {
  return { kind: "reinterpret", element, x };
}

/** The element that sums of `element` are held in until they are rounded once at the end. */
export function accumulatorOf(element: ElementType): ElementType {
  switch (element) {
    case "f16":
    case "bf16":
      return "f32";
    case "f32":
    case "f64":
    case "i64":
    case "u64":
    case "u32":
      return element;
    default:
      return "i32";
  }
}

/** Lowest value of an element, the start of a maximum. */
export function lowestOf(element: ElementType): Scalar {
  return literalOf(element, extremes(element).low);
}

/** Highest value of an element, the start of a minimum. */
export function highestOf(element: ElementType): Scalar {
  return literalOf(element, extremes(element).high);
}

function extremes(element: ElementType): { low: number | bigint; high: number | bigint } {
  switch (element) {
    case "bool":
      return { low: 0, high: 1 };
    case "u8":
      return { low: 0, high: 255 };
    case "i8":
      return { low: -128, high: 127 };
    case "u16":
      return { low: 0, high: 65535 };
    case "i16":
      return { low: -32768, high: 32767 };
    case "u32":
      return { low: 0, high: 4294967295 };
    case "i32":
      return { low: -2147483648, high: 2147483647 };
    case "u64":
      return { low: 0n, high: (1n << 64n) - 1n };
    case "i64":
      return { low: -(1n << 63n), high: (1n << 63n) - 1n };
    default:
      return { low: -Infinity, high: Infinity };
  }
}
