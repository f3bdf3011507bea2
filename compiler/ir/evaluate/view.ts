/** Ops that only move data: reshape, transpose, expand, slice, pad, concat. */

import { allocate, type ElementType } from "../../numeric/element.ts";
import { evaluateShape } from "../extent.ts";
import type { OpAttributes } from "../node.ts";
import { type PlainTensor, plainTensor, sizeOf, stridesOf, type Tensor } from "../tensor.ts";
import { type Environment, plainInput } from "./environment.ts";
import { bitsOf } from "./numbers.ts";
import { broadcastStrides, copyStrided } from "./strided.ts";
import { InvariantError } from "../../diagnostics.ts";

export function evaluateReshape(
  inputs: readonly Tensor[],
  { shape }: OpAttributes["reshape"],
  { symbols }: Environment,
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const to = evaluateShape(shape, symbols);
  if (sizeOf(to) !== x.data.length) throw new InvariantError(`Cannot reshape [${x.shape}] to [${to}]`);
  return [plainTensor(x.element, to, x.data)];
}

export function evaluateTranspose(
  inputs: readonly Tensor[],
  { permutation }: OpAttributes["transpose"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const strides = stridesOf(x.shape);
  const shape = permutation.map((axis) => x.shape[axis]);
  return [readStrided(x, shape, 0, permutation.map((axis) => strides[axis]))];
}

export function evaluateExpand(
  inputs: readonly Tensor[],
  { shape }: OpAttributes["expand"],
  { symbols }: Environment,
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const to = evaluateShape(shape, symbols);
  return [readStrided(x, to, 0, broadcastStrides(x.shape, to))];
}

export function evaluateSlice(
  inputs: readonly Tensor[],
  { starts, steps, extents }: OpAttributes["slice"],
  { symbols }: Environment,
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const strides = stridesOf(x.shape);
  const shape = evaluateShape(extents, symbols);
  const offset = starts.reduce((sum, start, axis) => sum + start * strides[axis], 0);
  return [readStrided(x, shape, offset, strides.map((stride, axis) => stride * steps[axis]))];
}

/** A dense tensor of `shape` read through strides. */
export function readStrided<E extends ElementType>(
  x: PlainTensor<E>,
  shape: readonly number[],
  offset: number,
  strides: readonly number[],
): PlainTensor<E> {
  const data = allocate(x.element, sizeOf(shape));
  copyStrided(shape, { data: x.data, offset, strides }, { data, offset: 0, strides: stridesOf(shape) });
  return plainTensor(x.element, shape, data);
}

export function evaluateConcat(inputs: readonly Tensor[], { axis }: OpAttributes["concat"]): readonly Tensor[] {
  const parts = inputs.map((_, index) => plainInput(inputs, index));
  const [first] = parts;
  const shape = [...first.shape];
  shape[axis] = parts.reduce((sum, part) => sum + part.shape[axis], 0);
  const data = allocate(first.element, sizeOf(shape));
  const strides = stridesOf(shape);
  let at = 0;
  for (const part of parts) {
    copyStrided(
      part.shape,
      { data: part.data, offset: 0, strides: stridesOf(part.shape) },
      { data, offset: at * strides[axis], strides },
    );
    at += part.shape[axis];
  }
  return [plainTensor(first.element, shape, data)];
}

export function evaluatePad(
  inputs: readonly Tensor[],
  { before, after, mode }: OpAttributes["pad"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const shape = x.shape.map((extent, axis) => extent + before[axis] + after[axis]);
  if (mode !== "constant") return [padByIndex(x, shape, before, mode)];
  const data = allocate(x.element, sizeOf(shape));
  if (inputs.length > 1) fillWith(data, plainInput(inputs, 1));
  const source = stridesOf(x.shape);
  const target = stridesOf(shape);
  const skipped = before.map((amount) => Math.max(0, -amount));
  const extents = x.shape.map((extent, axis) => Math.max(0, extent - skipped[axis] - Math.max(0, -after[axis])));
  copyStrided(
    extents,
    { data: x.data, offset: dot(skipped, source), strides: source },
    { data, offset: dot(before.map((amount) => Math.max(0, amount)), target), strides: target },
  );
  return [plainTensor(x.element, shape, data)];
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, index) => sum + value * b[index], 0);
}

function fillWith(data: PlainTensor["data"], value: PlainTensor): void {
  const to = bitsOf(data);
  const from = bitsOf(value.data).units;
  if (to.perElement === 1) to.units.fill(from[0]);
  else for (let index = 0; index < to.units.length; index++) to.units[index] = from[index % 2];
}

/** Pads one axis after the other, by a table of source indices. */
function padByIndex(
  x: PlainTensor,
  shape: readonly number[],
  before: readonly number[],
  mode: "reflect" | "edge" | "wrap",
): PlainTensor {
  return shape.reduce((padded, extent, axis) => {
    if (before[axis] === 0 && extent === padded.shape[axis]) return padded;
    const sources = Array.from(
      { length: extent },
      (_, index) => sourceIndex(index - before[axis], padded.shape[axis], mode),
    );
    return takeAlong(padded, axis, sources);
  }, x);
}

function sourceIndex(index: number, extent: number, mode: "reflect" | "edge" | "wrap"): number {
  switch (mode) {
    case "edge":
      return Math.min(extent - 1, Math.max(0, index));
    case "wrap":
      return ((index % extent) + extent) % extent;
    case "reflect": {
      if (extent === 1) return 0;
      const period = 2 * (extent - 1);
      const phase = ((index % period) + period) % period;
      return phase < extent ? phase : period - phase;
    }
  }
}

/** y[..., o, ...] = x[..., sources[o], ...] along `axis`; every source is in range. */
export function takeAlong<E extends ElementType>(
  x: PlainTensor<E>,
  axis: number,
  sources: readonly number[],
): PlainTensor<E> {
  const shape = x.shape.map((extent, index) => (index === axis ? sources.length : extent));
  const data = allocate(x.element, sizeOf(shape));
  const outer = sizeOf(x.shape.slice(0, axis));
  const inner = sizeOf(x.shape.slice(axis + 1));
  const from = bitsOf(x.data);
  const to = bitsOf(data);
  const width = inner * from.perElement;
  for (let row = 0; row < outer; row++) {
    const base = row * x.shape[axis] * width;
    let at = row * sources.length * width;
    for (const source of sources) {
      const start = base + source * width;
      if (width < 16) { for (let index = 0; index < width; index++) to.units[at + index] = from.units[start + index]; }
      else to.units.set(from.units.subarray(start, start + width), at);
      at += width;
    }
  }
  return plainTensor(x.element, shape, data);
}
