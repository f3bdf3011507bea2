/** Ops over windows and tables of neighbours: pool, poolIndices, resample. */

import { isFloat } from "../../numeric/element.ts";
import type { OpAttributes } from "../node.ts";
import { type PlainTensor, plainTensor, sizeOf, type Tensor } from "../tensor.ts";
import type { Rows } from "./dot.ts";
import { plainInput } from "./environment.ts";
import { floatData, readIntegers, readNumbers, storeNumbers } from "./numbers.ts";
import { lowest } from "./reduction.ts";
import { outside, poolGeometry, tapOffsets, type WindowGeometry } from "./window_geometry.ts";

function realData(x: PlainTensor): Rows {
  return isFloat(x.element) ? floatData(x) : readNumbers(x);
}

export function evaluatePool(inputs: readonly Tensor[], attributes: OpAttributes["pool"]): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const geometry = poolGeometry(x.shape, attributes);
  const values = realData(x);
  const result = new Float64Array(sizeOf(geometry.shape));
  const divisors = attributes.kind === "average" ? averageDivisors(geometry, x.shape, attributes) : undefined;
  eachWindow(geometry, (index, base, offsets, first, position) => {
    result[index] = poolWindow(attributes, values, base, offsets, first, geometry.taps, lowest(x.element));
    if (divisors !== undefined) result[index] /= divisors[position];
  });
  return [storeNumbers(x.element, geometry.shape, result)];
}

/** Visits (output index, input base, taps from `first` of `offsets`, position) of every window. */
function eachWindow(
  geometry: WindowGeometry,
  visit: (index: number, base: number, offsets: Int32Array, first: number, position: number) => void,
): void {
  const { batch, groups, positions, taps, input, output } = geometry;
  const tile = Math.max(1, Math.min(positions, Math.floor((1 << 16) / Math.max(1, taps))));
  const offsets = new Int32Array(tile * taps);
  for (let start = 0; start < positions; start += tile) {
    const count = Math.min(tile, positions - start);
    tapOffsets(geometry, start, count, offsets);
    for (let sample = 0; sample < batch; sample++) {
      for (let channel = 0; channel < groups; channel++) {
        const base = sample * input.batchStride + channel * input.channelStride;
        const out = sample * output.batchStride + channel * output.channelStride;
        for (let row = 0; row < count; row++) {
          visit(out + (start + row) * output.positionStride, base, offsets, row * taps, start + row);
        }
      }
    }
  }
}

function poolWindow(
  { kind, norm }: OpAttributes["pool"],
  values: Rows,
  base: number,
  offsets: Int32Array,
  first: number,
  taps: number,
  least: number,
): number {
  let most = least;
  let sum = 0;
  for (let tap = first; tap < first + taps; tap++) {
    const offset = offsets[tap];
    if (offset === outside) continue;
    const value = values[base + offset];
    if (kind === "max") most = Math.max(most, value);
    else sum += kind === "average" ? value : Math.abs(value) ** norm;
  }
  if (kind === "max") return most;
  return kind === "average" ? sum : sum ** (1 / norm);
}

/** Taps of each window inside the input, or inside the padded input when padding counts. */
function averageDivisors(
  geometry: WindowGeometry,
  shape: readonly number[],
  { pads, strides, dilations, countPadding, layout }: OpAttributes["pool"],
): Float64Array {
  const rank = geometry.axes.length;
  const firstSpatial = layout === "channelsFirst" ? 2 : 1;
  const counts = geometry.axes.map((axis, index) =>
    Array.from({ length: axis.positions }, (_, position) => {
      let count = 0;
      for (let tap = 0; tap < axis.taps; tap++) {
        const place = position * strides[index] + tap * dilations[index];
        const isInside = countPadding
          ? place < pads[index] + shape[firstSpatial + index] + pads[index + rank]
          : axis.sources[position * axis.taps + tap] !== outside;
        if (isInside) count++;
      }
      return count;
    })
  );
  return Float64Array.from({ length: geometry.positions }, (_, position) => {
    let rest = position;
    let product = 1;
    for (let axis = rank - 1; axis >= 0; axis--) {
      product *= counts[axis][rest % counts[axis].length];
      rest = Math.floor(rest / counts[axis].length);
    }
    return product;
  });
}

export function evaluatePoolIndices(
  inputs: readonly Tensor[],
  attributes: OpAttributes["poolIndices"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const geometry = poolGeometry(x.shape, attributes);
  const values = realData(x);
  const data = new BigInt64Array(sizeOf(geometry.shape));
  const number = attributes.columnMajor ? columnMajorIndex(geometry) : (index: number) => index;
  eachWindow(geometry, (index, base, offsets, first) => {
    let best = -1;
    for (let tap = first; tap < first + geometry.taps; tap++) {
      if (offsets[tap] === outside) continue;
      const place = base + offsets[tap];
      if (best < 0 || values[place] > values[best]) best = place;
    }
    data[index] = BigInt(number(Math.max(0, best)));
  });
  return [plainTensor("i64", geometry.shape, data)];
}

/** Row-major flat index to the one with spatial axes in column-major order. */
function columnMajorIndex(geometry: WindowGeometry): (index: number) => number {
  const spatial = geometry.kernelAxes.map((axis) => geometry.input.shape[axis]);
  const plane = sizeOf(spatial);
  return (index) => {
    let rest = index % plane;
    const position = new Array<number>(spatial.length);
    for (let axis = spatial.length - 1; axis >= 0; axis--) {
      position[axis] = rest % spatial[axis];
      rest = Math.floor(rest / spatial[axis]);
    }
    let place = 0;
    for (let axis = spatial.length - 1; axis >= 0; axis--) place = place * spatial[axis] + position[axis];
    return index - index % plane + place;
  };
}

export function evaluateResample(inputs: readonly Tensor[], { axis }: OpAttributes["resample"]): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const [count, taps] = plainInput(inputs, 1).shape;
  const indices = readIntegers(plainInput(inputs, 1));
  const weights = readNumbers(plainInput(inputs, 2));
  const values = realData(x);
  const shape = x.shape.map((extent, index) => (index === axis ? count : extent));
  const inner = sizeOf(x.shape.slice(axis + 1));
  const outer = sizeOf(x.shape.slice(0, axis));
  const result = new Float64Array(sizeOf(shape));
  for (let row = 0; row < outer; row++) {
    const base = row * x.shape[axis] * inner;
    for (let place = 0; place < count; place++) {
      const to = (row * count + place) * inner;
      for (let tap = 0; tap < taps; tap++) {
        const weight = weights[place * taps + tap];
        if (weight === 0) continue;
        const from = base + indices[place * taps + tap] * inner;
        for (let index = 0; index < inner; index++) result[to + index] += weight * values[from + index];
      }
    }
  }
  return [storeNumbers(x.element, shape, result)];
}
