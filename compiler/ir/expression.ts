/** Scalar expressions: the body of the `map` op and of every loop that a target prints. */

import { type ElementType, isFloat, isInteger } from "../numeric/element.ts";

/**
 * Rounding is explicit. `round` is half to even. `not` is logical on bool and bitwise on integers.
 * `erf`, `exp` and the like are correct to the target's stated ulp bound; the other operations are exact IEEE 754.
 */
export const unaryOperators = [
  "neg",
  "abs",
  "sign",
  "floor",
  "ceil",
  "round",
  "trunc",
  "sqrt",
  "exp",
  "log",
  "sin",
  "cos",
  "tan",
  "asin",
  "acos",
  "atan",
  "sinh",
  "cosh",
  "tanh",
  "asinh",
  "acosh",
  "atanh",
  "erf",
  "not",
  "isNaN",
  "isInf",
] as const;
export type UnaryOperator = (typeof unaryOperators)[number];

/**
 * `div` of integers truncates toward zero (x / 0 is 0); `rem` takes the sign of the dividend; `mod` that of the divisor.
 * `min` and `max` propagate NaN. Integer arithmetic wraps. `and`, `or`, `xor` are logical on bool, bitwise on integers;
 * `shr` is arithmetic on signed integers. Shifts by the width or more give 0.
 */
export const binaryOperators = [
  "add",
  "sub",
  "mul",
  "div",
  "rem",
  "mod",
  "pow",
  "min",
  "max",
  "and",
  "or",
  "xor",
  "shl",
  "shr",
] as const;
export type BinaryOperator = (typeof binaryOperators)[number];

export const comparisonOperators = ["eq", "ne", "lt", "le", "gt", "ge"] as const;
export type ComparisonOperator = (typeof comparisonOperators)[number];

export type Expression =
  | { readonly kind: "input"; readonly index: number }
  | { readonly kind: "literal"; readonly element: ElementType; readonly value: number | bigint }
  | { readonly kind: "unary"; readonly operator: UnaryOperator; readonly x: Expression }
  | { readonly kind: "binary"; readonly operator: BinaryOperator; readonly x: Expression; readonly y: Expression }
  | { readonly kind: "compare"; readonly operator: ComparisonOperator; readonly x: Expression; readonly y: Expression }
  | { readonly kind: "select"; readonly condition: Expression; readonly x: Expression; readonly y: Expression }
  /** Float to integer truncates toward zero and saturates, NaN to 0; integer to narrower integer wraps; to bool is `!= 0`. */
  | { readonly kind: "cast"; readonly element: ElementType; readonly x: Expression };

export const input = (index: number): Expression => ({ kind: "input", index });

export function literal(value: number | bigint, element: ElementType = "f32"): Expression {
  return { kind: "literal", element, value };
}

export function unary(operator: UnaryOperator, x: Expression): Expression {
  return { kind: "unary", operator, x };
}

export function binary(operator: BinaryOperator, x: Expression, y: Expression): Expression {
  return { kind: "binary", operator, x, y };
}

export function compare(operator: ComparisonOperator, x: Expression, y: Expression): Expression {
  return { kind: "compare", operator, x, y };
}

export function select(condition: Expression, x: Expression, y: Expression): Expression {
  return { kind: "select", condition, x, y };
}

export function cast(element: ElementType, x: Expression): Expression {
  return { kind: "cast", element, x };
}

/** The element of an expression, or the reason why it has none. */
export type ExpressionElement =
  | { readonly ok: true; readonly element: ElementType }
  | { readonly ok: false; readonly reason: string };

/** Correct to the target's stated ulp bound; every other unary operator is exact. Floats only. */
export const elementaryFunctions = [
  "exp",
  "log",
  "sin",
  "cos",
  "tan",
  "asin",
  "acos",
  "atan",
  "sinh",
  "cosh",
  "tanh",
  "asinh",
  "acosh",
  "atanh",
  "erf",
] as const satisfies readonly UnaryOperator[];

const floatOnly: ReadonlySet<UnaryOperator> = new Set<UnaryOperator>([
  ...elementaryFunctions,
  "sqrt",
  "isNaN",
  "isInf",
  "round",
  "floor",
  "ceil",
  "trunc",
]);

/** Types an expression from the elements of its inputs. Operands of one operator must agree: casts are explicit. */
export function expressionElement(expression: Expression, inputs: readonly ElementType[]): ExpressionElement {
  const typed = (element: ElementType): ExpressionElement => ({ ok: true, element });
  const bad = (reason: string): ExpressionElement => ({ ok: false, reason });
  const visit = (node: Expression): ExpressionElement => {
    switch (node.kind) {
      case "input":
        return node.index < inputs.length ? typed(inputs[node.index]) : bad(`there is no input ${node.index}`);
      case "literal":
        return typed(node.element);
      case "cast": {
        const x = visit(node.x);
        return x.ok ? typed(node.element) : x;
      }
      case "unary": {
        const x = visit(node.x);
        if (!x.ok) return x;
        if (floatOnly.has(node.operator) && !isFloat(x.element)) {
          return bad(`${node.operator} needs a float, got ${x.element}`);
        }
        if (node.operator === "isNaN" || node.operator === "isInf") return typed("bool");
        if (node.operator === "not" && isFloat(x.element)) return bad(`not needs bool or integer, got ${x.element}`);
        if (node.operator !== "not" && x.element === "bool") return bad(`${node.operator} needs a number, got bool`);
        return x;
      }
      case "binary":
      case "compare": {
        const x = visit(node.x);
        if (!x.ok) return x;
        const y = visit(node.y);
        if (!y.ok) return y;
        if (x.element !== y.element) return bad(`${node.operator} of ${x.element} and ${y.element}`);
        if (node.kind === "compare") return typed("bool");
        return binaryFits(node.operator, x.element) ? x : bad(`${node.operator} does not apply to ${x.element}`);
      }
      case "select": {
        const condition = visit(node.condition);
        if (!condition.ok) return condition;
        if (condition.element !== "bool") return bad(`select needs a bool condition, got ${condition.element}`);
        const x = visit(node.x);
        if (!x.ok) return x;
        const y = visit(node.y);
        if (!y.ok) return y;
        return x.element === y.element ? x : bad(`select between ${x.element} and ${y.element}`);
      }
    }
  };
  return visit(expression);
}

function binaryFits(operator: BinaryOperator, element: ElementType): boolean {
  switch (operator) {
    case "and":
    case "or":
    case "xor":
      return !isFloat(element);
    case "shl":
    case "shr":
      return isInteger(element);
    default:
      return element !== "bool";
  }
}

/** Rebuilds an expression with every input replaced. */
export function substitute(expression: Expression, replace: (index: number) => Expression): Expression {
  switch (expression.kind) {
    case "input":
      return replace(expression.index);
    case "literal":
      return expression;
    case "unary":
    case "cast":
      return { ...expression, x: substitute(expression.x, replace) };
    case "binary":
    case "compare":
      return { ...expression, x: substitute(expression.x, replace), y: substitute(expression.y, replace) };
    case "select":
      return {
        ...expression,
        condition: substitute(expression.condition, replace),
        x: substitute(expression.x, replace),
        y: substitute(expression.y, replace),
      };
  }
}
