/** Short forms of scalar expressions, and the formulas of activations over them. */

import { isFloat, isWide } from "../../../numeric/element.ts";
import type { ElementType } from "../../../numeric/element.ts";
import { binary, compare, type Expression, literal, select, unary } from "../../../ir/expression.ts";

export function add(x: Expression, y: Expression): Expression {
  return binary("add", x, y);
}

export function sub(x: Expression, y: Expression): Expression {
  return binary("sub", x, y);
}

export function mul(x: Expression, y: Expression): Expression {
  return binary("mul", x, y);
}

export function div(x: Expression, y: Expression): Expression {
  return binary("div", x, y);
}

export function min(x: Expression, y: Expression): Expression {
  return binary("min", x, y);
}

export function max(x: Expression, y: Expression): Expression {
  return binary("max", x, y);
}

export function exp(x: Expression): Expression {
  return unary("exp", x);
}

/** A number as a literal of `element`, rounded to it where it is a float32. */
export function number(element: ElementType, value: number): Expression {
  if (isWide(element)) return literal(BigInt(Math.trunc(value)), element);
  if (isFloat(element)) return literal(element === "f64" ? value : Math.fround(value), element);
  return literal(Math.trunc(value), element);
}

/** 1 / (1 + exp(-x)); exp overflows to infinity for very negative x, which yields the right limit 0. */
export function sigmoid(x: Expression, element: ElementType): Expression {
  const one = number(element, 1);
  return div(one, add(one, exp(unary("neg", x))));
}

/** log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which never overflows. */
export function softplus(x: Expression, element: ElementType): Expression {
  const small = exp(unary("neg", unary("abs", x)));
  return add(max(x, number(element, 0)), unary("log", add(number(element, 1), small)));
}

/** x / 2 * (1 + erf(x / sqrt 2)). */
export function gelu(x: Expression, element: ElementType): Expression {
  const inner = unary("erf", mul(x, number(element, Math.SQRT1_2)));
  return mul(mul(number(element, 0.5), x), add(number(element, 1), inner));
}

/** x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). */
export function geluTanh(x: Expression, element: ElementType): Expression {
  const cubic = add(x, mul(number(element, 0.044715), mul(x, mul(x, x))));
  const inner = unary("tanh", mul(number(element, Math.sqrt(2 / Math.PI)), cubic));
  return mul(mul(number(element, 0.5), x), add(number(element, 1), inner));
}

/** `negative` where x < 0, x elsewhere (NaN stays). */
export function whereNegative(x: Expression, element: ElementType, negative: Expression): Expression {
  return select(compare("lt", x, number(element, 0)), negative, x);
}
