/** Ops of the IR composed from tfjs ops. An op absent here, or one on other elements than f32, runs on the evaluator. */

import { hadamardMatrix } from "../numeric/hadamard.ts";
import * as tf from "@tensorflow/tfjs-core";
import { evaluateShape, type SymbolValues } from "../ir/extent.ts";
import type { NodeOf, OpName } from "../ir/node.ts";
import { intRange } from "../numeric/number_format.ts";
import { attention, matrixProduct } from "./contraction.ts";
import { computeExpression, isComposable } from "./expression.ts";
import type { Held } from "./held.ts";
import { recurrent } from "./recurrent.ts";
import { convolution, pooled, transposedConvolution } from "./window.ts";

export interface ReferenceContext {
  readonly symbols: SymbolValues;
  /** Positions that the states held before the run. */
  readonly past: number;
}

/** Computes a node's outputs; undefined where the composition does not cover its attributes. */
export type ReferenceOp<Op extends OpName> = (
  node: NodeOf<Op>,
  operands: readonly Held[],
  context: ReferenceContext,
) => readonly tf.Tensor[] | undefined;

/** Operands as device tensors. */
function real(operands: readonly Held[]): tf.Tensor[] {
  return operands.map((operand) => operand.device());
}

/** Indices as an i32 tensor with negative ones counted from the end and all clamped into the axis. */
function indexTensor(indices: Held, extent: number): tf.Tensor {
  const tensor = indices.host();
  const entries = tensor.kind === "plain" ? Array.from(tensor.data, Number) : [];
  const inside = entries.map((entry) => Math.min(extent - 1, Math.max(0, entry < 0 ? entry + extent : entry)));
  return tf.tensor(Int32Array.from(inside), [...tensor.shape], "int32");
}

function withBias(product: tf.Tensor, bias: tf.Tensor | undefined, axis: number): tf.Tensor {
  if (bias === undefined) return product;
  const shape = product.shape.map((extent, index) => (index === axis ? extent : 1));
  return tf.add(product, tf.reshape(bias, shape));
}

function normalize(x: tf.Tensor, node: NodeOf<"norm">, gain: tf.Tensor | undefined, bias: tf.Tensor | undefined) {
  const { kind, axis, epsilon } = node.attributes;
  const axes = x.shape.map((_, index) => index).slice(axis);
  const centred = kind === "layer" ? tf.sub(x, tf.mean(x, axes, true)) : x;
  const variance = tf.mean(tf.square(centred), axes, true);
  const unit = tf.div(centred, tf.sqrt(tf.add(variance, epsilon)));
  const scaled = gain === undefined ? unit : tf.mul(unit, gain);
  return bias === undefined ? scaled : tf.add(scaled, bias);
}

/** Rotates pairs of the first `extent` entries of the last axis of x [B, T, H, D] by the angles of each row. */
function rotate(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor, node: NodeOf<"rope">, past: number): tf.Tensor {
  const { extent, interleaved, fromPast } = node.attributes;
  const [batch, rows, heads, width] = x.shape;
  const half = extent / 2;
  const table = (whole: tf.Tensor) =>
    tf.reshape(tf.slice(whole, [fromPast ? past : 0, 0], [rows, half]), [1, rows, 1, half]);
  const [c, s] = [table(cos), table(sin)];
  const turned = tf.slice(x, [0, 0, 0, 0], [batch, rows, heads, extent]);
  const pairs = interleaved ? tf.reshape(turned, [batch, rows, heads, half, 2]) : turned;
  const [a, b] = interleaved
    ? tf.split(pairs, 2, 4).map((part) => tf.reshape(part, [batch, rows, heads, half]))
    : tf.split(pairs, 2, 3);
  const first = tf.sub(tf.mul(a, c), tf.mul(b, s));
  const second = tf.add(tf.mul(b, c), tf.mul(a, s));
  const result = interleaved
    ? tf.reshape(tf.stack([first, second], 4), [batch, rows, heads, extent])
    : tf.concat([first, second], 3);
  if (extent === width) return result;
  return tf.concat([result, tf.slice(x, [0, 0, 0, extent], [batch, rows, heads, width - extent])], 3);
}

/** The real values that static or dynamic codes of x stand for. Schemes of one step per tensor, axis or row of integers. */
function fakeQuantize(node: NodeOf<"quantize">, operands: readonly Held[]): tf.Tensor | undefined {
  const { scheme } = node.attributes;
  if (scheme.format.kind !== "int" || scheme.block.some((entry) => entry !== "all" && entry !== 1)) return undefined;
  const { min, max } = intRange(scheme.format);
  const x = operands[0].device();
  const round = (value: tf.Tensor, step: tf.Tensor, zero: tf.Tensor | number) =>
    tf.mul(tf.sub(tf.clipByValue(tf.add(tf.round(tf.div(value, step)), zero), min, max), zero), step);
  if (scheme.range === "static") {
    const zeros = operands[2]?.host();
    const zero = zeros === undefined || zeros.kind !== "plain"
      ? 0
      : tf.tensor(Float32Array.from(Array.from(zeros.data, Number)), [...zeros.shape], "float32");
    return round(x, operands[1].device(), zero);
  }
  const axes = scheme.block.flatMap((entry, axis) => (entry === "all" ? [axis] : []));
  const usable = (step: tf.Tensor) => tf.where(tf.equal(step, 0), tf.onesLike(step), step);
  if (!scheme.zeroPoint) return round(x, usable(tf.div(tf.max(tf.abs(x), axes, true), max)), 0);
  const low = tf.minimum(tf.min(x, axes, true), 0);
  const high = tf.maximum(tf.max(x, axes, true), 0);
  const step = usable(tf.div(tf.sub(high, low), max - min));
  return round(x, step, tf.clipByValue(tf.round(tf.sub(min, tf.div(low, step))), min, max));
}

export const referenceOps: { readonly [Op in OpName]?: ReferenceOp<Op> } = {
  map: (node, operands) =>
    isComposable(node.attributes.expression) && operands.length > 0
      ? [broadcastResult(computeExpression(node.attributes.expression, real(operands)), operands)]
      : undefined,

  matmul: (node, operands) => {
    if (node.attributes.result.kind !== "real") return undefined;
    const [a, b, bias] = real(operands);
    const turns = node.attributes.transposeB && b.shape.length === 2;
    const product = matrixProduct(a, turns ? operands[1].transposed() : b, node.attributes.transposeB && !turns);
    return [withBias(product, bias, product.shape.length - 1)];
  },

  conv: (node, operands) => {
    if (node.attributes.result.kind !== "real") return undefined;
    const [x, w, bias] = real(operands);
    const result = convolution(x, w, node.attributes);
    return [withBias(result, bias, node.attributes.layout === "channelsFirst" ? 1 : result.shape.length - 1)];
  },

  convTranspose: (node, operands) => {
    const [x, w, bias] = real(operands);
    return [withBias(transposedConvolution(x, w, node.attributes), bias, 1)];
  },

  pool: (node, operands) => [pooled(operands[0].device(), node.attributes)],

  reduce: (node, operands) => {
    const { kind, axes, keepAxes } = node.attributes;
    const x = operands[0].device();
    if (axes.some((axis) => x.shape[axis] === 0)) return undefined;
    if (axes.length === 0) return [tf.clone(x)];
    const reduction = { sum: tf.sum, prod: tf.prod, max: tf.max, min: tf.min }[kind];
    return [reduction(x, [...axes], keepAxes)];
  },

  softmax: (node, operands) => {
    const x = operands[0].device();
    const { axis } = node.attributes;
    const last = x.shape.length - 1;
    if (axis === last) return [tf.softmax(x)];
    const order = x.shape.map((_, index) => (index === axis ? last : index === last ? axis : index));
    return [tf.transpose(tf.softmax(tf.transpose(x, order)), order)];
  },

  norm: (node, operands) => {
    const [x, gain, bias] = real(operands);
    return [normalize(x, node, gain, bias)];
  },

  rope: (node, operands, { past }) => {
    const [x, cos, sin] = real(operands);
    return [rotate(x, cos, sin, node, past)];
  },

  attention: (node, operands) => {
    const [q, k, v] = real(operands.slice(0, 3));
    const mask = operands[3];
    if (mask === undefined) return [attention(q, k, v, undefined, node.attributes)];
    return [attention(q, k, v, additiveMask(mask), node.attributes)];
  },

  gather: (node, operands) => {
    const x = operands[0].device();
    const { axis } = node.attributes;
    return x.shape[axis] === 0
      ? undefined
      : [tf.gather(x, tf.cast(indexTensor(operands[1], x.shape[axis]), "int32"), axis)];
  },

  reshape: (node, operands, { symbols }) => [
    tf.reshape(operands[0].device(), evaluateShape(node.attributes.shape, symbols)),
  ],

  transpose: (node, operands) => [tf.transpose(operands[0].device(), [...node.attributes.permutation])],

  expand: (node, operands, { symbols }) => [
    tf.broadcastTo(operands[0].device(), evaluateShape(node.attributes.shape, symbols)),
  ],

  slice: (node, operands, { symbols }) => {
    const { starts, steps } = node.attributes;
    const extents = evaluateShape(node.attributes.extents, symbols);
    const x = operands[0].device();
    if (steps.every((step) => step === 1)) return [cut(x, starts, extents)];
    if (x.shape.length > 5 || extents.includes(0)) return undefined;
    const flipped = steps.flatMap((step, axis) => (step < 0 ? [axis] : []));
    const forward = flipped.length === 0 ? x : tf.reverse(x, flipped);
    const begin = starts.map((start, axis) => (steps[axis] < 0 ? x.shape[axis] - 1 - start : start));
    const end = begin.map((start, axis) => start + (extents[axis] - 1) * Math.abs(steps[axis]) + 1);
    return [tf.stridedSlice(forward, begin, end, steps.map(Math.abs))];
  },

  pad: (node, operands) => {
    const { before, after, mode } = node.attributes;
    const x = operands[0].device();
    if (mode !== "constant" || [...before, ...after].some((amount) => amount < 0) || x.shape.length > 4) {
      return undefined;
    }
    const value = operands[1]?.host();
    const fill = value === undefined || value.kind !== "plain" ? 0 : Number(value.data[0]);
    return [tf.pad(x, before.map((amount, axis): [number, number] => [amount, after[axis]]), fill)];
  },

  concat: (node, operands) => [tf.concat(real(operands), node.attributes.axis)],

  resample: (node, operands) => {
    const { axis } = node.attributes;
    const x = operands[0].device();
    const weights = operands[2].device();
    const [count, taps] = weights.shape;
    const rank = x.shape.length;
    const indices = indexTensor(operands[1], x.shape[axis]);
    let sum: tf.Tensor | undefined;
    for (let tap = 0; tap < taps; tap++) {
      const column = tf.reshape(tf.slice(indices, [0, tap], [count, 1]), [count]);
      const weight = tf.reshape(tf.slice(weights, [0, tap], [count, 1]), shapeAlong(rank, axis, count));
      const term = tf.mul(tf.gather(x, tf.cast(column, "int32"), axis), weight);
      sum = sum === undefined ? term : tf.add(sum, term);
    }
    return sum === undefined ? undefined : [sum];
  },

  cumulative: (node, operands) => {
    const { kind, axis, exclusive, reverse } = node.attributes;
    const running = kind === "sum" ? tf.cumsum : tf.cumprod;
    return [running(operands[0].device(), axis, exclusive, reverse)];
  },

  transform: (node, operands) => {
    const [x, core] = real(operands);
    const { doublings, stride } = node.attributes;
    const [extent, width] = [core.shape[0], 2 ** doublings];
    const sylvester = tf.tensor2d(Float32Array.from(hadamardMatrix(width)?.entries ?? []), [width, width]);
    const butterflies = mixMiddle(tf.reshape(x, [-1, width, stride]), sylvester);
    const mixed = mixMiddle(tf.reshape(butterflies, [-1, extent, width * stride]), tf.reshape(core, [extent, extent]));
    return [tf.reshape(mixed, x.shape)];
  },

  recurrent: (node, operands) => recurrent(real(operands), node.attributes),

  quantize: (node, operands) => {
    const result = fakeQuantize(node, operands);
    return result === undefined ? undefined : [result];
  },

  dequantize: (_, operands) => [tf.clone(operands[0].device())],
};

/** x[r, n, s] · m[n, n] along the middle axis: as a product over the last axis where s is 1, else from the left. */
function mixMiddle(x: tf.Tensor3D, matrix: tf.Tensor2D): tf.Tensor {
  const [, extent, stride] = x.shape;
  if (stride === 1) return tf.matMul(tf.reshape(x, [-1, extent]), matrix);
  return tf.matMul(tf.reshape(tf.transpose(matrix), [1, extent, extent]), x);
}

/** A slice axis by axis, each over three merged axes: tfjs is slow at slices of higher rank. */
function cut(x: tf.Tensor, starts: readonly number[], extents: readonly number[]): tf.Tensor {
  return extents.reduce((value, extent, axis) => {
    const { shape } = value;
    if (extent === shape[axis]) return value;
    const [outer, inner] = [shape.slice(0, axis), shape.slice(axis + 1)].map((list) => list.reduce((a, b) => a * b, 1));
    const merged = tf.reshape(value, [outer, shape[axis], inner]);
    const part = tf.slice(merged, [0, starts[axis], 0], [outer, extent, inner]);
    return tf.reshape(part, shape.map((whole, index) => (index === axis ? extent : whole)));
  }, x);
}

function shapeAlong(rank: number, axis: number, extent: number): number[] {
  return Array.from({ length: rank }, (_, index) => (index === axis ? extent : 1));
}

/** A bool mask keeps where true. */
function additiveMask(mask: Held): tf.Tensor {
  const tensor = mask.host();
  if (tensor.kind === "plain" && tensor.element === "bool") {
    const entries = Array.from(tensor.data, Number).map((entry) => (entry === 0 ? Number.NEGATIVE_INFINITY : 0));
    return tf.tensor(Float32Array.from(entries), [...tensor.shape], "float32");
  }
  return mask.device();
}

/** An expression that leaves an operand out may come out smaller than the map's shape. */
function broadcastResult(result: tf.Tensor, operands: readonly Held[]): tf.Tensor {
  const shapes = operands.map((operand) => operand.device().shape);
  const rank = Math.max(...shapes.map((shape) => shape.length));
  const whole = Array.from({ length: rank }, (_, axis) =>
    shapes.reduce((extent, shape) => {
      const own = shape[axis - rank + shape.length] ?? 1;
      return own === 1 ? extent : own;
    }, 1));
  const same = result.shape.length === rank && result.shape.every((extent, axis) => extent === whole[axis]);
  return same ? result : tf.broadcastTo(result, whole);
}
