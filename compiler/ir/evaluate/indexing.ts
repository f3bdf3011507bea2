/** Gathers and scatters. */

import { allocate, decodeBf16, type ElementType, encodeBf16, type TypedArray } from "../../numeric/element.ts";
import type { OpAttributes, ScatterReduction } from "../node.ts";
import { type PlainTensor, plainTensor, type QuantizedTensor, sizeOf, stridesOf, type Tensor } from "../tensor.ts";
import { decodedTensor } from "./codes.ts";
import { plainInput } from "./environment.ts";
import { bitsOf, isWideArray, numberData, readIntegers } from "./numbers.ts";
import { takeAlong } from "./view.ts";

/** Negative indices count from the end; what is still out of range is clamped. */
function resolveIndex(index: number, extent: number): number {
  const fromStart = index < 0 ? index + extent : index;
  return Math.min(extent - 1, Math.max(0, fromStart));
}

export function evaluateGather(inputs: readonly Tensor[], { axis }: OpAttributes["gather"]): readonly Tensor[] {
  const [x] = inputs;
  const indices = plainInput(inputs, 1);
  const sources = readIntegers(indices).map((index) => resolveIndex(index, x.shape[axis]));
  const taken = x.kind === "plain" ? takeAlong(x, axis, sources) : takeDecoded(x, axis, sources);
  return [
    plainTensor(taken.element, [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)], taken.data),
  ];
}

/** Entries of a quantized tensor along an axis, decoded; only the blocks that are asked for when steps allow. */
function takeDecoded(x: QuantizedTensor, axis: number, sources: readonly number[]): PlainTensor {
  const block = x.scheme.block[axis];
  if (block !== 1 && block !== "all" || x.outerSteps !== undefined) return takeAlong(decodedTensor(x), axis, sources);
  const ofSteps = <E extends ElementType>(tensor: PlainTensor<E>): PlainTensor<E> =>
    block === 1 ? takeAlong(tensor, axis, sources) : tensor;
  const codes = takeAlong(x.codes, axis, sources);
  const steps = ofSteps(x.steps);
  const zeros = x.zeros === undefined ? undefined : ofSteps(x.zeros);
  const offsets = x.offsets === undefined ? undefined : ofSteps(x.offsets);
  return decodedTensor({ ...x, shape: codes.shape, codes, steps, zeros, offsets });
}

export function evaluateGatherElements(
  inputs: readonly Tensor[],
  { axis }: OpAttributes["gatherElements"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const indices = plainInput(inputs, 1);
  const data = allocate(x.element, indices.data.length);
  const places = elementPlaces(x, indices, axis);
  copyPlaces(x.data, places, data);
  return [plainTensor(x.element, indices.shape, data)];
}

/** Flat index in `x` of every entry of `indices`: its own position with the entry in place of the axis. */
function elementPlaces(x: PlainTensor, indices: PlainTensor, axis: number): Float64Array {
  const strides = stridesOf(x.shape);
  const entries = readIntegers(indices);
  const position = new Array<number>(indices.shape.length).fill(0);
  return Float64Array.from(entries, (entry) => {
    let place = resolveIndex(entry, x.shape[axis]) * strides[axis];
    for (let index = 0; index < position.length; index++) if (index !== axis) place += position[index] * strides[index];
    for (let index = position.length - 1; index >= 0; index--) {
      if (++position[index] < indices.shape[index]) break;
      position[index] = 0;
    }
    return place;
  });
}

function copyPlaces(from: TypedArray, places: Float64Array, to: TypedArray): void {
  const source = bitsOf(from);
  const target = bitsOf(to);
  for (let index = 0; index < places.length; index++) {
    for (let unit = 0; unit < source.perElement; unit++) {
      target.units[index * source.perElement + unit] = source.units[places[index] * source.perElement + unit];
    }
  }
}

export function evaluateGatherNd(
  inputs: readonly Tensor[],
  { batchAxes }: OpAttributes["gatherNd"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const indices = plainInput(inputs, 1);
  const depth = indices.shape[indices.shape.length - 1];
  const tail = x.shape.slice(batchAxes + depth);
  const run = sizeOf(tail);
  const shape = [...indices.shape.slice(0, -1), ...tail];
  const data = allocate(x.element, sizeOf(shape));
  const batch = sizeOf(x.shape.slice(0, batchAxes));
  const starts = tupleStarts(x.shape, indices, batchAxes, depth, batch);
  const source = bitsOf(x.data);
  const target = bitsOf(data);
  const width = run * source.perElement;
  starts.forEach((start, index) => {
    const from = start * source.perElement;
    target.units.set(source.units.subarray(from, from + width), index * width);
  });
  return [plainTensor(x.element, shape, data)];
}

/** Flat start in a tensor of `shape` of the slice that each index tuple names. */
function tupleStarts(
  shape: readonly number[],
  indices: PlainTensor,
  batchAxes: number,
  depth: number,
  batch: number,
): number[] {
  const strides = stridesOf(shape);
  const entries = readIntegers(indices);
  const count = sizeOf(indices.shape.slice(0, -1));
  const perBatch = count / Math.max(1, batch);
  const batchStride = sizeOf(shape.slice(batchAxes));
  return Array.from({ length: count }, (_, tuple) => {
    let start = batchAxes === 0 ? 0 : Math.floor(tuple / perBatch) * batchStride;
    for (let index = 0; index < depth; index++) {
      const axis = batchAxes + index;
      start += resolveIndex(entries[tuple * depth + index], shape[axis]) * strides[axis];
    }
    return start;
  });
}

export function evaluateScatterElements(
  inputs: readonly Tensor[],
  { axis, reduction }: OpAttributes["scatterElements"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const indices = plainInput(inputs, 1);
  const places = elementPlaces(x, indices, axis);
  return [scatter(x, plainInput(inputs, 2), reduction, places.length, (index) => places[index])];
}

export function evaluateScatterNd(
  inputs: readonly Tensor[],
  { reduction }: OpAttributes["scatterNd"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const indices = plainInput(inputs, 1);
  const depth = indices.shape[indices.shape.length - 1];
  const starts = tupleStarts(x.shape, indices, 0, depth, 1);
  const run = sizeOf(x.shape.slice(depth));
  const place = (index: number) => starts[Math.floor(index / run)] + index % run;
  return [scatter(x, plainInput(inputs, 2), reduction, starts.length * run, place)];
}

/** A copy of `x` in which update i is combined into entry place(i), in order of i. */
function scatter(
  x: PlainTensor,
  updates: PlainTensor,
  reduction: ScatterReduction,
  count: number,
  place: (index: number) => number,
): PlainTensor {
  const data = copyData(x);
  const from = updates.data;
  if (isWideArray(data) && isWideArray(from)) {
    const combine = wideReduction(reduction);
    for (let index = 0; index < count; index++) {
      const to = place(index);
      data[to] = combine(data[to], from[index]);
    }
  } else {
    const combine = numberReduction(reduction, x.element === "i32" || x.element === "u32");
    const target = numberData(data);
    const source = numberData(from);
    const isBrain = x.element === "bf16";
    for (let index = 0; index < count; index++) {
      const to = place(index);
      target[to] = isBrain
        ? encodeBf16(combine(decodeBf16(target[to]), decodeBf16(source[index])))
        : combine(target[to], source[index]);
    }
  }
  return plainTensor(x.element, x.shape, data);
}

function copyData(x: PlainTensor): TypedArray {
  const data = allocate(x.element, x.data.length);
  bitsOf(data).units.set(bitsOf(x.data).units);
  return data;
}

function numberReduction(reduction: ScatterReduction, wrapping: boolean): (old: number, update: number) => number {
  switch (reduction) {
    case "none":
      return (_, update) => update;
    case "add":
      return (old, update) => old + update;
    case "mul":
      return wrapping ? Math.imul : (old, update) => old * update;
    case "max":
      return Math.max;
    case "min":
      return Math.min;
  }
}

function wideReduction(reduction: ScatterReduction): (old: bigint, update: bigint) => bigint {
  switch (reduction) {
    case "none":
      return (_, update) => update;
    case "add":
      return (old, update) => old + update;
    case "mul":
      return (old, update) => old * update;
    case "max":
      return (old, update) => (old > update ? old : update);
    case "min":
      return (old, update) => (old < update ? old : update);
  }
}
