/** Scalar expressions as tfjs ops over whole tensors. */

import * as tf from "@tensorflow/tfjs-core";
import type { BinaryOperator, ComparisonOperator, Expression, UnaryOperator } from "../ir/expression.ts";

const unaryOps: { readonly [O in UnaryOperator]?: (x: tf.Tensor) => tf.Tensor } = {
  neg: tf.neg,
  abs: tf.abs,
  sign: tf.sign,
  floor: tf.floor,
  ceil: tf.ceil,
  round: tf.round,
  trunc: (x) => tf.mul(tf.sign(x), tf.floor(tf.abs(x))),
  sqrt: tf.sqrt,
  exp: tf.exp,
  log: tf.log,
  sin: tf.sin,
  cos: tf.cos,
  tan: tf.tan,
  asin: tf.asin,
  acos: tf.acos,
  atan: tf.atan,
  sinh: tf.sinh,
  cosh: tf.cosh,
  tanh: tf.tanh,
  asinh: tf.asinh,
  acosh: tf.acosh,
  atanh: tf.atanh,
  erf: tf.erf,
  isNaN: tf.isNaN,
  isInf: tf.isInf,
};

const binaryOps: { readonly [O in BinaryOperator]?: (x: tf.Tensor, y: tf.Tensor) => tf.Tensor } = {
  add: tf.add,
  sub: tf.sub,
  mul: tf.mul,
  div: tf.div,
  pow: tf.pow,
  min: tf.minimum,
  max: tf.maximum,
  mod: (x, y) => tf.sub(x, tf.mul(tf.floor(tf.div(x, y)), y)),
};

const comparisons: { readonly [O in ComparisonOperator]: (x: tf.Tensor, y: tf.Tensor) => tf.Tensor } = {
  eq: tf.equal,
  ne: tf.notEqual,
  lt: tf.less,
  le: tf.lessEqual,
  gt: tf.greater,
  ge: tf.greaterEqual,
};

/** Whether every operator of an expression has a tfjs form over f32 (and bool where it compares). */
export function isComposable(expression: Expression): boolean {
  switch (expression.kind) {
    case "input":
      return true;
    case "literal":
      return expression.element === "f32" || expression.element === "bool";
    case "cast":
      return expression.element === "f32" && isComposable(expression.x);
    case "unary":
      return (expression.operator === "not" || unaryOps[expression.operator] !== undefined) &&
        isComposable(expression.x);
    case "binary":
      return (isLogical(expression.operator) || binaryOps[expression.operator] !== undefined) &&
        isComposable(expression.x) && isComposable(expression.y);
    case "compare":
      return isComposable(expression.x) && isComposable(expression.y);
    case "select":
      return isComposable(expression.condition) && isComposable(expression.x) && isComposable(expression.y);
  }
}

function isLogical(operator: BinaryOperator): boolean {
  return operator === "and" || operator === "or" || operator === "xor";
}

/** Computes a composable expression. Parts shared by identity are computed once. */
export function computeExpression(expression: Expression, inputs: readonly tf.Tensor[]): tf.Tensor {
  const known = new Map<Expression, tf.Tensor>();
  const visit = (node: Expression): tf.Tensor => {
    const found = known.get(node);
    if (found !== undefined) return found;
    const result = computeOne(node, inputs, visit);
    known.set(node, result);
    return result;
  };
  return visit(expression);
}

function computeOne(
  node: Expression,
  inputs: readonly tf.Tensor[],
  visit: (part: Expression) => tf.Tensor,
): tf.Tensor {
  switch (node.kind) {
    case "input":
      return inputs[node.index];
    case "literal":
      return node.element === "bool" ? tf.scalar(node.value !== 0, "bool") : tf.scalar(Number(node.value), "float32");
    case "cast":
      return tf.cast(visit(node.x), "float32");
    case "unary":
      if (node.operator === "not") return tf.logicalNot(visit(node.x));
      return known(unaryOps[node.operator], node.operator)(visit(node.x));
    case "binary":
      if (isLogical(node.operator)) return logical(node.operator, visit(node.x), visit(node.y));
      return known(binaryOps[node.operator], node.operator)(visit(node.x), visit(node.y));
    case "compare":
      return comparisons[node.operator](visit(node.x), visit(node.y));
    case "select":
      return selectEntries(visit(node.condition), visit(node.x), visit(node.y));
  }
}

function logical(operator: BinaryOperator, x: tf.Tensor, y: tf.Tensor): tf.Tensor {
  if (operator === "and") return tf.logicalAnd(x, y);
  return operator === "or" ? tf.logicalOr(x, y) : tf.notEqual(tf.cast(x, "float32"), tf.cast(y, "float32"));
}

/** Not every backend broadcasts all operands of `where`, so they are brought to one shape. */
function selectEntries(condition: tf.Tensor, x: tf.Tensor, y: tf.Tensor): tf.Tensor {
  const shape = broadcastAll([condition.shape, x.shape, y.shape]);
  const spread = tf.cast(tf.broadcastTo(tf.cast(condition, "float32"), shape), "bool");
  return tf.where(spread, tf.broadcastTo(x, shape), tf.broadcastTo(y, shape));
}

function broadcastAll(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) =>
    shapes.reduce((extent, shape) => {
      const own = shape[axis - rank + shape.length] ?? 1;
      return own === 1 ? extent : own;
    }, 1));
}

function known<T>(op: T | undefined, name: string): T {
  if (op === undefined) throw new RangeError(`${name} has no tfjs form`);
  return op;
}
