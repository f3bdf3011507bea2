/** Linear forms with per-channel constants, found in any map expression that has this form. */

import { isFloat } from "../numeric/element.ts";
import type { Expression } from "../ir/expression.ts";
import { isStatic } from "../ir/extent.ts";
import type { Node, ValueName } from "../ir/node.ts";
import { isPlain, type PlainTensor, sizeOf } from "../ir/tensor.ts";
import type { GraphView } from "./view.ts";

/** A number per channel in float64; one entry serves all channels. */
export type ChannelVector = Float64Array;

/** y[c] = clamp(Σ_v factors[v][c] * v[c] + shift[c], low, high) along one axis. */
export interface LinearForm {
  readonly factors: ReadonlyMap<ValueName, ChannelVector>;
  readonly shift: ChannelVector;
  readonly low: number;
  readonly high: number;
}

/** y[c] = x[c] * scale[c] + shift[c]. */
export interface Affine {
  readonly scale: ChannelVector;
  readonly shift: ChannelVector;
}

interface Line {
  readonly factors: ReadonlyMap<ValueName, ChannelVector>;
  readonly shift: ChannelVector;
}

/**
 * Reads `node`, a map, as a linear form of the operands that `isVariable` names, where every other operand is a constant
 * that varies along `axis` of the result alone. Undefined when it is not one.
 */
export function linearFormOf(
  node: Node,
  isVariable: (value: ValueName) => boolean,
  axis: number,
  view: GraphView,
): LinearForm | undefined {
  if (node.op !== "map") return undefined;
  const { shape } = view.typeOf(node.outputs[0]);
  if (shape.length > 0 && !isStatic(shape[axis])) return undefined;
  const operands = node.inputs.map((value): Line | undefined => {
    if (isVariable(value)) return { factors: new Map([[value, of(1)]]), shift: of(0) };
    const vector = channelVector(value, axis, shape.length, view);
    return vector === undefined ? undefined : { factors: new Map(), shift: vector };
  });
  const { inner, low, high } = withoutClamps(node.attributes.expression);
  const line = lineOf(inner, operands);
  return line === undefined ? undefined : { ...line, low, high };
}

/** The form x * scale + shift of a map of one variable operand, without limits. */
export function affineOf(node: Node, variable: ValueName, axis: number, view: GraphView): Affine | undefined {
  const form = linearFormOf(node, (value) => value === variable, axis, view);
  if (form === undefined || form.low !== -Infinity || form.high !== Infinity) return undefined;
  return { scale: form.factors.get(variable) ?? of(0), shift: form.shift };
}

/** Takes limits by literals off the outside of an expression. */
function withoutClamps(expression: Expression): { inner: Expression; low: number; high: number } {
  let inner = expression;
  let low = -Infinity;
  let high = Infinity;
  for (;;) {
    if (inner.kind !== "binary" || (inner.operator !== "min" && inner.operator !== "max")) return { inner, low, high };
    const [x, limit] = inner.y.kind === "literal" ? [inner.x, inner.y] : [inner.y, inner.x];
    if (limit.kind !== "literal") return { inner, low, high };
    // The limits found so far act on this one's result.
    const bound = Math.min(high, Math.max(low, Number(limit.value)));
    if (inner.operator === "min") high = bound;
    else low = bound;
    inner = x;
  }
}

/** A constant's entries along `axis` of a result of this rank; undefined where it varies along another axis. */
function channelVector(value: ValueName, axis: number, rank: number, view: GraphView): ChannelVector | undefined {
  const tensor = view.constantOf(value);
  if (tensor === undefined) return undefined;
  if (!isPlain(tensor, "f32") && !isPlain(tensor, "f64")) return undefined;
  const own = axis - (rank - tensor.shape.length);
  if (tensor.shape.some((extent, index) => extent !== 1 && index !== own)) return undefined;
  return Float64Array.from(tensor.data);
}

function lineOf(expression: Expression, operands: readonly (Line | undefined)[]): Line | undefined {
  switch (expression.kind) {
    case "input":
      return operands[expression.index];
    case "literal":
      return { factors: new Map(), shift: of(Number(expression.value)) };
    case "cast":
      return isFloat(expression.element) && expression.element !== "f16" && expression.element !== "bf16"
        ? lineOf(expression.x, operands)
        : undefined;
    case "unary": {
      const x = expression.operator === "neg" ? lineOf(expression.x, operands) : undefined;
      return x === undefined ? undefined : scaled(x, of(-1), times);
    }
    case "binary": {
      const x = lineOf(expression.x, operands);
      const y = lineOf(expression.y, operands);
      return x === undefined || y === undefined ? undefined : combine(expression.operator, x, y);
    }
    default:
      return undefined;
  }
}

function combine(operator: string, x: Line, y: Line): Line | undefined {
  switch (operator) {
    case "add":
      return sum(x, y);
    case "sub":
      return sum(x, scaled(y, of(-1), times));
    case "mul":
      if (isConstant(y)) return scaled(x, y.shift, times);
      return isConstant(x) ? scaled(y, x.shift, times) : undefined;
    case "div":
      return isConstant(y) && !y.shift.includes(0) ? scaled(x, y.shift, over) : undefined;
    default:
      return undefined;
  }
}

function isConstant(line: Line): boolean {
  return [...line.factors.values()].every((factor) => factor.every((entry) => entry === 0));
}

function sum(x: Line, y: Line): Line {
  const factors = new Map(x.factors);
  for (const [value, factor] of y.factors) {
    const known = factors.get(value);
    factors.set(value, known === undefined ? factor : zip(known, factor, plus));
  }
  return { factors, shift: zip(x.shift, y.shift, plus) };
}

function scaled(line: Line, by: ChannelVector, apply: (x: number, y: number) => number): Line {
  const factors = new Map([...line.factors].map(([value, factor]) => [value, zip(factor, by, apply)]));
  return { factors, shift: zip(line.shift, by, apply) };
}

function of(value: number): ChannelVector {
  return Float64Array.of(value);
}

function zip(a: ChannelVector, b: ChannelVector, apply: (x: number, y: number) => number): ChannelVector {
  const length = Math.max(a.length, b.length);
  const result = new Float64Array(length);
  for (let index = 0; index < length; index++) result[index] = apply(channelEntry(a, index), channelEntry(b, index));
  return result;
}

function plus(x: number, y: number): number {
  return x + y;
}

function times(x: number, y: number): number {
  return x * y;
}

function over(x: number, y: number): number {
  return x / y;
}

/** Entry `channel` of a vector whose one entry may serve all. */
export function channelEntry(vector: ArrayLike<number>, channel: number): number {
  return vector[vector.length === 1 ? 0 : channel];
}

/** Multiplies the slices of a tensor along `axis` by per-channel factors, in float64, rounded once. */
export function scaleAlong(
  tensor: PlainTensor<"f32">,
  factorOf: (position: number) => number,
  axis: number,
): PlainTensor<"f32"> {
  const inner = sizeOf(tensor.shape.slice(axis + 1));
  const extent = tensor.shape[axis];
  const data = new Float32Array(tensor.data.length);
  for (let index = 0; index < data.length; index++) {
    data[index] = tensor.data[index] * factorOf(Math.floor(index / inner) % extent);
  }
  return { ...tensor, data };
}
