/** Strided copies between dense arrays: the one loop behind transpose, slice, expand, pad and concat. */

import { bitsOf } from "./numbers.ts";
import type { TypedArray } from "../../numeric/element.ts";
import { stridesOf } from "../tensor.ts";

/** A walk over an array: entry (i0, i1, ...) stands at offset + Σ i_k * strides_k. Strides may be 0 or negative. */
export interface Walk {
  readonly data: TypedArray;
  readonly offset: number;
  readonly strides: readonly number[];
}

/** target[walk] = source[walk] for every index of `extents`. Both arrays hold elements of one width. */
export function copyStrided(extents: readonly number[], source: Walk, target: Walk): void {
  if (extents.some((extent) => extent === 0)) return;
  const from = bitsOf(source.data);
  const to = bitsOf(target.data);
  const width = from.perElement;
  const axes = collapseAxes(
    width === 1 ? extents : [...extents, 2],
    [
      width === 1 ? source.strides : [...source.strides.map((stride) => 2 * stride), 1],
      width === 1 ? target.strides : [...target.strides.map((stride) => 2 * stride), 1],
    ],
  );
  const inner = axes.extents.length - 1;
  const rows = axes.strides[0].indexOf(1);
  // A transposition: the source runs along another axis than the target. Square tiles read and write whole cache lines.
  const isTiled = rows >= 0 && rows < inner && axes.strides[1][inner] === 1;
  const count = axes.extents[inner] ?? 1;
  const fromStep = axes.strides[0][inner] ?? 1;
  const toStep = axes.strides[1][inner] ?? 1;
  const tile = { from: from.units, to: to.units, columns: count, fromStep };
  const outer = axes.extents.map((_, axis) => axis).filter((axis) => axis !== inner && !(isTiled && axis === rows));
  const position = new Array<number>(outer.length).fill(0);
  let fromAt = source.offset * width;
  let toAt = target.offset * width;
  for (;;) {
    if (isTiled) copyTiles(tile, fromAt, toAt, axes.extents[rows], axes.strides[1][rows]);
    else if (fromStep === 1 && toStep === 1 && count >= 16) {
      to.units.set(from.units.subarray(fromAt, fromAt + count), toAt);
    } else copyEntries(from.units, fromAt, fromStep, to.units, toAt, toStep, count);
    let place = outer.length - 1;
    for (; place >= 0; place--) {
      const axis = outer[place];
      fromAt += axes.strides[0][axis];
      toAt += axes.strides[1][axis];
      if (++position[place] < axes.extents[axis]) break;
      position[place] = 0;
      fromAt -= axes.strides[0][axis] * axes.extents[axis];
      toAt -= axes.strides[1][axis] * axes.extents[axis];
    }
    if (place < 0) return;
  }
}

type Units = Uint8Array | Uint16Array | Uint32Array;

/** Entries per side of a tile: 16 of four bytes fill a cache line. */
const tileSide = 16;

/** to[r * toStep + c] = from[r + c * fromStep] for all rows r and columns c, tile by tile. */
function copyTiles(
  { from, to, columns, fromStep }: {
    readonly from: Units;
    readonly to: Units;
    readonly columns: number;
    readonly fromStep: number;
  },
  fromAt: number,
  toAt: number,
  rows: number,
  toStep: number,
): void {
  for (let firstRow = 0; firstRow < rows; firstRow += tileSide) {
    const endRow = Math.min(rows, firstRow + tileSide);
    for (let first = 0; first < columns; first += tileSide) {
      const end = Math.min(columns, first + tileSide);
      for (let row = firstRow; row < endRow; row++) {
        const target = toAt + row * toStep;
        let place = fromAt + row + first * fromStep;
        for (let column = first; column < end; column++, place += fromStep) to[target + column] = from[place];
      }
    }
  }
}

function copyEntries(
  from: Units,
  fromAt: number,
  fromStep: number,
  to: Units,
  toAt: number,
  toStep: number,
  count: number,
): void {
  for (let index = 0; index < count; index++) {
    to[toAt] = from[fromAt];
    fromAt += fromStep;
    toAt += toStep;
  }
}

/** Drops axes of extent 1 and joins neighbours that every walk crosses with one stride. */
export function collapseAxes(
  extents: readonly number[],
  walks: readonly (readonly number[])[],
): { readonly extents: number[]; readonly strides: number[][] } {
  const kept: number[] = [];
  const strides: number[][] = walks.map(() => []);
  for (let axis = 0; axis < extents.length; axis++) {
    const extent = extents[axis];
    if (extent === 1) continue;
    const last = kept.length - 1;
    if (last >= 0 && walks.every((walk, index) => strides[index][last] === walk[axis] * extent)) {
      kept[last] *= extent;
      walks.forEach((walk, index) => strides[index][last] = walk[axis]);
    } else {
      kept.push(extent);
      walks.forEach((walk, index) => strides[index].push(walk[axis]));
    }
  }
  return { extents: kept, strides };
}

/** Strides of a tensor of `shape` read as the broadcast shape `to` (0 along repeated axes). */
export function broadcastStrides(shape: readonly number[], to: readonly number[]): number[] {
  const own = stridesOf(shape);
  const lead = to.length - shape.length;
  return to.map((_, axis) => (axis < lead || shape[axis - lead] === 1 ? 0 : own[axis - lead]));
}

/** The shape that static shapes broadcast to. */
export function broadcastAll(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const extents = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    return extents.find((extent) => extent !== 1) ?? 1;
  });
}
