/** How an elementwise expression depends on some of its inputs: what decides whether a scale may pass through it. */

import type { Expression } from "../../ir/expression.ts";

/**
 * With the inputs i replaced by s · input i, s > 0:
 * `constant`: the inputs do not occur. `invariant`: the value stays (x > 0). `linear`: the value is multiplied by s, for
 * negative s too, and it is additive in the inputs. `positive`: multiplied by s (ReLU). `other`: none of these.
 */
export type Homogeneity = "constant" | "invariant" | "linear" | "positive" | "other";

export function homogeneity(expression: Expression, index: number): Homogeneity {
  return jointHomogeneity(expression, new Set([index]));
}

/** The same of several inputs that are multiplied by one s: min(max(x, 0), b) is `positive` in x and b together. */
export function jointHomogeneity(expression: Expression, indices: ReadonlySet<number>): Homogeneity {
  const of = (inner: Expression) => jointHomogeneity(inner, indices);
  switch (expression.kind) {
    case "input":
      return indices.has(expression.index) ? "linear" : "constant";
    case "literal":
      return "constant";
    case "cast":
      return ofCast(of(expression.x));
    case "unary":
      return ofUnary(expression.operator, of(expression.x));
    case "compare":
      return ofCompare(expression.x, expression.y, of);
    case "binary":
      return ofBinary(expression.operator, expression.x, expression.y, of);
    case "select":
      return ofSelect(of(expression.condition), expression.x, expression.y, of);
  }
}

function ofCast(x: Homogeneity): Homogeneity {
  return x === "constant" || x === "invariant" ? x : "other";
}

function ofUnary(operator: string, x: Homogeneity): Homogeneity {
  if (x === "constant" || x === "invariant") return x;
  if (operator === "neg") return x;
  if (operator === "abs" && (x === "linear" || x === "positive")) return "positive";
  return operator === "sign" && x !== "other" ? "invariant" : "other";
}

function isZero(expression: Expression): boolean {
  return expression.kind === "literal" && Number(expression.value) === 0;
}

/** Degree-one values, zero included: zero scales with anything. */
function scales(expression: Expression, of: (inner: Expression) => Homogeneity): boolean {
  const kind = of(expression);
  return kind === "linear" || kind === "positive" || isZero(expression);
}

function ofCompare(x: Expression, y: Expression, of: (inner: Expression) => Homogeneity): Homogeneity {
  const kinds = [of(x), of(y)];
  if (kinds.every((kind) => kind === "constant")) return "constant";
  if (kinds.every((kind) => kind === "constant" || kind === "invariant")) return "invariant";
  return scales(x, of) && scales(y, of) ? "invariant" : "other";
}

function ofBinary(
  operator: string,
  x: Expression,
  y: Expression,
  of: (inner: Expression) => Homogeneity,
): Homogeneity {
  const [a, b] = [of(x), of(y)];
  if (a === "constant" && b === "constant") return "constant";
  const fixed = (kind: Homogeneity) => kind === "constant" || kind === "invariant";
  if (fixed(a) && fixed(b)) return "invariant";
  switch (operator) {
    case "mul":
      if (fixed(b)) return b === "invariant" && a === "linear" ? "positive" : a;
      if (fixed(a)) return a === "invariant" && b === "linear" ? "positive" : b;
      return "other";
    case "div":
      return fixed(b) ? (b === "invariant" && a === "linear" ? "positive" : a) : "other";
    case "add":
    case "sub":
      if (a === "linear" && b === "linear") return "linear";
      return scales(x, of) && scales(y, of) ? (isZero(x) ? b : isZero(y) ? a : "positive") : "other";
    case "max":
    case "min":
      return scales(x, of) && scales(y, of) ? "positive" : "other";
    default:
      return "other";
  }
}

function ofSelect(
  condition: Homogeneity,
  x: Expression,
  y: Expression,
  of: (inner: Expression) => Homogeneity,
): Homogeneity {
  const [a, b] = [of(x), of(y)];
  if (condition === "other" || condition === "linear" || condition === "positive") return "other";
  if (a === "constant" && b === "constant") return condition;
  if (condition === "constant" && a === "linear" && b === "linear") return "linear";
  if (scales(x, of) && scales(y, of)) return "positive";
  const fixed = (kind: Homogeneity) => kind === "constant" || kind === "invariant";
  return fixed(a) && fixed(b) ? "invariant" : "other";
}
