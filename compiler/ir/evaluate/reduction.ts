/** Ops along axes: reduce, argReduce, softmax, norm, cumulative, topK. */

import { allocate, type ElementType, integerRange, isFloat, isWide } from "../../numeric/element.ts";
import type { OpAttributes } from "../node.ts";
import { type PlainTensor, plainTensor, sizeOf, stridesOf, type Tensor } from "../tensor.ts";
import type { Rows } from "./dot.ts";
import { plainInput } from "./environment.ts";
import { floatData, isWideArray, readNumbers, storeNumbers, type WideArray } from "./numbers.ts";
import { broadcastStrides } from "./strided.ts";
import { readStrided } from "./view.ts";

type ReduceKind = OpAttributes["reduce"]["kind"];

export function evaluateReduce(
  inputs: readonly Tensor[],
  { kind, axes, keepAxes }: OpAttributes["reduce"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const kept = x.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const rows = axesLast(x, kept, axes);
  const shape = keepAxes
    ? x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent))
    : kept.map((axis) => x.shape[axis]);
  const count = sizeOf(kept.map((axis) => x.shape[axis]));
  const length = sizeOf(axes.map((axis) => x.shape[axis]));
  if (isWideArray(rows.data)) return [reduceWide(kind, rows.data, x.element, shape, count, length)];
  const values = numericRows(rows);
  const result = new Float64Array(count);
  for (let row = 0; row < count; row++) {
    result[row] = reduceRow(kind, x.element, values, row * length, length);
  }
  return [storeNumbers(x.element, shape, result)];
}

/** The tensor with `last` moved behind `first`, dense; itself when it already lies so. */
function axesLast(x: PlainTensor, first: readonly number[], last: readonly number[]): PlainTensor {
  const order = [...first, ...last].filter((axis) => x.shape[axis] !== 1);
  if (order.every((axis, index) => index === 0 || axis > order[index - 1])) return x;
  const strides = stridesOf(x.shape);
  return readStrided(x, order.map((axis) => x.shape[axis]), 0, order.map((axis) => strides[axis]));
}

function numericRows(x: PlainTensor): Rows {
  return isFloat(x.element) ? floatData(x) : readNumbers(x);
}

function reduceRow(kind: ReduceKind, element: ElementType, values: Rows, start: number, length: number): number {
  const end = start + length;
  switch (kind) {
    case "sum": {
      let sum = 0;
      for (let index = start; index < end; index++) sum += values[index];
      return sum;
    }
    case "prod": {
      let product = 1;
      if (isFloat(element)) { for (let index = start; index < end; index++) product *= values[index]; }
      else for (let index = start; index < end; index++) product = Math.imul(product, values[index]);
      return product;
    }
    case "max": {
      let most = lowest(element);
      for (let index = start; index < end; index++) most = Math.max(most, values[index]);
      return most;
    }
    case "min": {
      let least = highest(element);
      for (let index = start; index < end; index++) least = Math.min(least, values[index]);
      return least;
    }
  }
}

/** The identity of max: -Infinity for floats, the lowest value of an integer element. */
export function lowest(element: ElementType): number {
  return isFloat(element) ? -Infinity : Number(integerRange(element).min);
}

function highest(element: ElementType): number {
  return isFloat(element) ? Infinity : Number(integerRange(element).max);
}

function reduceWide(
  kind: ReduceKind,
  values: WideArray,
  element: ElementType,
  shape: readonly number[],
  count: number,
  length: number,
): PlainTensor {
  const { min, max } = integerRange(element);
  const start = { sum: 0n, prod: 1n, max: min, min: max }[kind];
  const combine = wideCombine(kind);
  const result = isWide(element) ? allocate(element, count) : new BigInt64Array(count);
  for (let row = 0; row < count; row++) {
    result[row] = start;
    for (let index = row * length; index < (row + 1) * length; index++) {
      result[row] = combine(result[row], values[index]);
    }
  }
  return plainTensor(element, shape, result);
}

function wideCombine(kind: ReduceKind): (a: bigint, b: bigint) => bigint {
  switch (kind) {
    case "sum":
      return (a, b) => a + b;
    case "prod":
      return (a, b) => a * b;
    case "max":
      return (a, b) => (a > b ? a : b);
    case "min":
      return (a, b) => (a < b ? a : b);
  }
}

/** Lines along an axis: line l starts at outer * extent * stride + inner, with `stride` entries between neighbours. */
interface Lines {
  readonly count: number;
  readonly extent: number;
  readonly stride: number;
  readonly start: (line: number) => number;
}

function linesAlong(shape: readonly number[], axis: number): Lines {
  const stride = sizeOf(shape.slice(axis + 1));
  const extent = shape[axis];
  const count = sizeOf(shape.slice(0, axis)) * stride;
  return { count, extent, stride, start: (line) => Math.floor(line / stride) * extent * stride + line % stride };
}

export function evaluateArgReduce(
  inputs: readonly Tensor[],
  { kind, axis, keepAxes, last }: OpAttributes["argReduce"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const lines = linesAlong(x.shape, axis);
  const isBetter = betterThan(kind === "max", last);
  const data = new BigInt64Array(lines.count);
  for (let line = 0; line < lines.count; line++) {
    const start = lines.start(line);
    let best = 0;
    for (let index = 1; index < lines.extent; index++) {
      if (isBetter(x.data[start + index * lines.stride], x.data[start + best * lines.stride])) best = index;
    }
    data[line] = BigInt(best);
  }
  const shape = keepAxes
    ? x.shape.map((extent, index) => (index === axis ? 1 : extent))
    : x.shape.filter((_, index) => index !== axis);
  return [plainTensor("i64", shape, data)];
}

function betterThan(wantsMax: boolean, last: boolean): (a: number | bigint, b: number | bigint) => boolean {
  if (wantsMax) return last ? (a, b) => a >= b : (a, b) => a > b;
  return last ? (a, b) => a <= b : (a, b) => a < b;
}

export function evaluateSoftmax(inputs: readonly Tensor[], { axis }: OpAttributes["softmax"]): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const lines = linesAlong(x.shape, axis);
  const result = readNumbers(x);
  for (let line = 0; line < lines.count; line++) softmaxLine(result, lines.start(line), lines.extent, lines.stride);
  return [storeNumbers(x.element, x.shape, result)];
}

function softmaxLine(values: Float64Array, start: number, extent: number, stride: number): void {
  const end = start + extent * stride;
  let most = -Infinity;
  for (let at = start; at < end; at += stride) most = Math.max(most, values[at]);
  let sum = 0;
  for (let at = start; at < end; at += stride) sum += values[at] = Math.exp(values[at] - most);
  for (let at = start; at < end; at += stride) values[at] /= sum;
}

export function evaluateNorm(
  inputs: readonly Tensor[],
  { kind, axis, epsilon }: OpAttributes["norm"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const length = sizeOf(x.shape.slice(axis));
  const rows = sizeOf(x.shape.slice(0, axis));
  const gain = affineOperand(inputs, 1, x, axis);
  const bias = affineOperand(inputs, 2, x, axis);
  const result = readNumbers(x);
  for (let row = 0; row < rows; row++) {
    const start = row * length;
    normalizeRow(result, start, start + length, kind === "layer", epsilon);
    if (gain !== undefined) {
      const shift = gain.length === length ? start : 0;
      for (let at = start; at < start + length; at++) result[at] *= gain[at - shift];
    }
    if (bias !== undefined) {
      const shift = bias.length === length ? start : 0;
      for (let at = start; at < start + length; at++) result[at] += bias[at - shift];
    }
  }
  return [storeNumbers(x.element, x.shape, result)];
}

function normalizeRow(values: Float64Array, start: number, end: number, isCentred: boolean, epsilon: number): void {
  let mean = 0;
  if (isCentred) {
    for (let at = start; at < end; at++) mean += values[at];
    mean /= end - start;
  }
  let square = 0;
  for (let at = start; at < end; at++) {
    const difference = values[at] - mean;
    square += difference * difference;
  }
  const scale = 1 / Math.sqrt(square / (end - start) + epsilon);
  for (let at = start; at < end; at++) values[at] = (values[at] - mean) * scale;
}

/** A gain or bias as one row for all, or spread over the whole tensor where it varies along leading axes. */
function affineOperand(
  inputs: readonly Tensor[],
  index: number,
  x: PlainTensor,
  axis: number,
): Rows | undefined {
  if (index >= inputs.length) return undefined;
  const operand = plainInput(inputs, index);
  const row = x.shape.slice(axis);
  const repeats = sizeOf(operand.shape.slice(0, Math.max(0, operand.shape.length - row.length))) === 1;
  const to = repeats ? row : x.shape;
  if (sizeOf(operand.shape) === sizeOf(to)) return floatData(operand);
  const shape = operand.shape.slice(Math.max(0, operand.shape.length - to.length));
  return floatData(readStrided(plainTensor(operand.element, shape, operand.data), to, 0, broadcastStrides(shape, to)));
}

export function evaluateCumulative(
  inputs: readonly Tensor[],
  { kind, axis, exclusive, reverse }: OpAttributes["cumulative"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const lines = linesAlong(x.shape, axis);
  const places = (line: number) => {
    const start = lines.start(line);
    return Array.from({ length: lines.extent }, (_, index) => {
      return start + (reverse ? lines.extent - 1 - index : index) * lines.stride;
    });
  };
  const { data } = x;
  if (isWideArray(data)) {
    const result = isWide(x.element) ? allocate(x.element, data.length) : new BigInt64Array(data.length);
    const combine = wideCombine(kind);
    for (let line = 0; line < lines.count; line++) {
      let total = kind === "sum" ? 0n : 1n;
      for (const at of places(line)) {
        const next = BigInt.asIntN(64, combine(total, data[at]));
        result[at] = exclusive ? total : next;
        total = next;
      }
    }
    return [plainTensor(x.element, x.shape, result)];
  }
  const values = numericRows(x);
  const result = new Float64Array(values.length);
  const combine = numberCombine(kind, x.element);
  for (let line = 0; line < lines.count; line++) {
    let total = kind === "sum" ? 0 : 1;
    for (const at of places(line)) {
      const next = combine(total, values[at]);
      result[at] = exclusive ? total : next;
      total = next;
    }
  }
  return [storeNumbers(x.element, x.shape, result)];
}

function numberCombine(kind: "sum" | "prod", element: ElementType): (a: number, b: number) => number {
  if (kind === "sum") return (a, b) => a + b;
  return isFloat(element) ? (a, b) => a * b : Math.imul;
}

export function evaluateTopK(
  inputs: readonly Tensor[],
  { axis, count, largest }: OpAttributes["topK"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const lines = linesAlong(x.shape, axis);
  const shape = x.shape.map((extent, index) => (index === axis ? count : extent));
  const indices = new BigInt64Array(sizeOf(shape));
  const sources = new Float64Array(indices.length);
  const keys = isWideArray(x.data) ? x.data : numericRows(x);
  const order = (a: number | bigint, b: number | bigint) => (a < b ? -1 : a > b ? 1 : 0);
  for (let line = 0; line < lines.count; line++) {
    const start = lines.start(line);
    const key = (index: number) => keys[start + index * lines.stride];
    const ranked = Array.from({ length: lines.extent }, (_, index) => index).sort((a, b) => {
      const [first, second] = largest ? [key(b), key(a)] : [key(a), key(b)];
      // NaN goes last whichever end is wanted.
      if (key(a) !== key(a) || key(b) !== key(b)) return Number(key(a) !== key(a)) - Number(key(b) !== key(b)) || a - b;
      return order(first, second) || a - b;
    });
    const to = Math.floor(line / lines.stride) * count * lines.stride + line % lines.stride;
    for (let rank = 0; rank < count; rank++) {
      indices[to + rank * lines.stride] = BigInt(ranked[rank]);
      sources[to + rank * lines.stride] = start + ranked[rank] * lines.stride;
    }
  }
  return [takeEntries(x, shape, sources), plainTensor("i64", shape, indices)];
}

/** The tensor of entries at flat indices. */
function takeEntries(x: PlainTensor, shape: readonly number[], sources: Float64Array): PlainTensor {
  const data = allocate(x.element, sources.length);
  for (let index = 0; index < sources.length; index++) data[index] = x.data[sources[index]];
  return plainTensor(x.element, shape, data);
}
