/** Affine maps: x * scale + shift with per-channel constants, found in any expression that has this form. */

import { isFloat } from "../numeric/element.ts";
import type { Expression } from "../ir/expression.ts";
import { isStatic } from "../ir/extent.ts";
import type { Node, ValueName } from "../ir/node.ts";
import { isPlain, type PlainTensor, sizeOf } from "../ir/tensor.ts";
import type { GraphView } from "./view.ts";

/** y[c] = x[c] * scale[c] + shift[c] along one axis; vectors of one entry serve all channels. In float64. */
export interface Affine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/** A number per channel while an expression is walked; one entry serves all. */
type Vector = Float64Array;

interface Line {
  readonly scale: Vector;
  readonly shift: Vector;
}

/** What an affine form may not be, as the reason of a decline. */
export type AffineResult = { readonly ok: true; readonly affine: Affine } | {
  readonly ok: false;
  readonly reason: string;
};

/**
 * Reads `node`, a map, as an affine function of its operand `variable`, where every other operand is a constant that
 * varies along `axis` of the result alone.
 */
export function affineOf(node: Node, variable: ValueName, axis: number, view: GraphView): AffineResult {
  if (node.op !== "map") return { ok: false, reason: "the reader is not elementwise" };
  const { shape } = view.typeOf(node.outputs[0]);
  const channels = shape[axis];
  if (!isStatic(channels)) return { ok: false, reason: "the channel extent is symbolic" };
  const operands = node.inputs.map((
    value,
  ) => (value === variable ? "variable" : channelVector(value, axis, shape.length, view)));
  const line = lineOf(node.attributes.expression, operands);
  return line === undefined
    ? { ok: false, reason: "the reader is not x * scale + shift with constants along the channels" }
    : { ok: true, affine: line };
}

/** A constant's entries along `axis` of a result of this rank; undefined where it varies along another axis. */
function channelVector(value: ValueName, axis: number, rank: number, view: GraphView): Vector | undefined {
  const tensor = view.constantOf(value);
  if (tensor === undefined) return undefined;
  if (!isPlain(tensor, "f32") && !isPlain(tensor, "f64")) return undefined;
  const own = axis - (rank - tensor.shape.length);
  if (tensor.shape.some((extent, index) => extent !== 1 && index !== own)) return undefined;
  return Float64Array.from(tensor.data);
}

function lineOf(expression: Expression, operands: readonly ("variable" | Vector | undefined)[]): Line | undefined {
  switch (expression.kind) {
    case "input": {
      const operand = operands[expression.index];
      if (operand === undefined) return undefined;
      return operand === "variable" ? { scale: of(1), shift: of(0) } : { scale: of(0), shift: operand };
    }
    case "literal":
      return { scale: of(0), shift: of(Number(expression.value)) };
    case "cast":
      return isFloat(expression.element) && expression.element !== "f16" && expression.element !== "bf16"
        ? lineOf(expression.x, operands)
        : undefined;
    case "unary": {
      const x = expression.operator === "neg" ? lineOf(expression.x, operands) : undefined;
      return x === undefined ? undefined : { scale: zip(x.scale, of(-1), times), shift: zip(x.shift, of(-1), times) };
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
      return { scale: zip(x.scale, y.scale, plus), shift: zip(x.shift, y.shift, plus) };
    case "sub":
      return { scale: zip(x.scale, y.scale, minus), shift: zip(x.shift, y.shift, minus) };
    case "mul":
      if (isConstant(y)) return { scale: zip(x.scale, y.shift, times), shift: zip(x.shift, y.shift, times) };
      return isConstant(x) ? combine("mul", y, x) : undefined;
    case "div":
      if (!isConstant(y) || y.shift.includes(0)) return undefined;
      return { scale: zip(x.scale, y.shift, over), shift: zip(x.shift, y.shift, over) };
    default:
      return undefined;
  }
}

function isConstant(line: Line): boolean {
  return line.scale.every((entry) => entry === 0);
}

function of(value: number): Vector {
  return Float64Array.of(value);
}

function zip(a: Vector, b: Vector, combineEntries: (x: number, y: number) => number): Vector {
  const length = Math.max(a.length, b.length);
  const result = new Float64Array(length);
  for (let index = 0; index < length; index++) {
    result[index] = combineEntries(a[a.length === 1 ? 0 : index], b[b.length === 1 ? 0 : index]);
  }
  return result;
}

function plus(x: number, y: number): number {
  return x + y;
}

function minus(x: number, y: number): number {
  return x - y;
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
