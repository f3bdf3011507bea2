/** Questions that rules ask of map expressions, and rebuilding them over another list of inputs. */

import { binary, type Expression, input, substitute, unary } from "../ir/expression.ts";
import type { ValueName } from "../ir/node.ts";

/** Direct parts of an expression. */
export function parts(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case "input":
    case "literal":
      return [];
    case "unary":
    case "cast":
      return [expression.x];
    case "binary":
    case "compare":
      return [expression.x, expression.y];
    case "select":
      return [expression.condition, expression.x, expression.y];
  }
}

/** Operators in an expression, a shared part counted as often as it stands in the tree. */
export function expressionSize(expression: Expression): number {
  const inner = parts(expression);
  return inner.length === 0 ? 0 : inner.reduce((sum, part) => sum + expressionSize(part), 1);
}

/** How often each input stands in an expression, by index. */
export function inputUses(expression: Expression): ReadonlyMap<number, number> {
  const uses = new Map<number, number>();
  const visit = (node: Expression) => {
    if (node.kind === "input") uses.set(node.index, (uses.get(node.index) ?? 0) + 1);
    else parts(node).forEach(visit);
  };
  visit(expression);
  return uses;
}

/** A map under construction: an expression over named values, each value listed once. */
export interface OpenMap {
  readonly expression: Expression;
  readonly inputs: readonly ValueName[];
}

/**
 * Puts `inner` in place of input `index` of `outer`. Inputs that both read become one; the inputs of `outer` come first
 * in their order, so that the main operand of a fused kernel stays where it was.
 */
export function inlineMap(outer: OpenMap, index: number, inner: OpenMap): OpenMap {
  const inputs = [...new Set([...outer.inputs.slice(0, index), ...inner.inputs, ...outer.inputs.slice(index + 1)])];
  const place = (value: ValueName) => input(inputs.indexOf(value));
  const inlined = substitute(inner.expression, (position) => place(inner.inputs[position]));
  const expression = substitute(
    outer.expression,
    (position) => (position === index ? inlined : place(outer.inputs[position])),
  );
  return { expression, inputs };
}

/** Drops inputs that the expression does not read and lists values read twice once. */
export function compactMap(map: OpenMap): OpenMap {
  const used = inputUses(map.expression);
  const inputs = [...new Set(map.inputs.filter((_, index) => used.has(index)))];
  return { inputs, expression: substitute(map.expression, (index) => input(inputs.indexOf(map.inputs[index]))) };
}

/** Text that is equal for equal expressions. */
export function expressionKey(expression: Expression): string {
  switch (expression.kind) {
    case "input":
      return `$${expression.index}`;
    case "literal":
      return `${expression.element}:${Object.is(expression.value, -0) ? "-0" : String(expression.value)}`;
    case "cast":
      return `${expression.element}(${expressionKey(expression.x)})`;
    case "unary":
    case "binary":
    case "compare":
      return `${expression.operator}(${parts(expression).map(expressionKey).join(",")})`;
    case "select":
      return `select(${parts(expression).map(expressionKey).join(",")})`;
  }
}

export function add(x: Expression, y: Expression): Expression {
  return binary("add", x, y);
}

export function sub(x: Expression, y: Expression): Expression {
  return binary("sub", x, y);
}

export function mul(x: Expression, y: Expression): Expression {
  return binary("mul", x, y);
}

/** x clamped to low..high. */
export function clamp(x: Expression, low: Expression, high: Expression): Expression {
  return binary("min", binary("max", x, low), high);
}

export function round(x: Expression): Expression {
  return unary("round", x);
}
