/** Iteration spaces: the fewest loops that walk a shape when every participant has a stride per axis. */

import { type Extent, isStatic, multiplyExtents } from "../../compiler/ir/extent.ts";
import type { LoopBuilder } from "./build.ts";
import { addIndex, extentIndex, mulIndex } from "./index.ts";
import type { Index, LoopOrder } from "./program.ts";

/** One loop: it covers neighbouring axes, the last of which is `axis`; a participant moves by its stride there. */
export interface LoopAxis {
  readonly axis: number;
  readonly extent: Extent;
}

/** Flat index of a participant at the present iteration, from its strides per axis of the whole shape. */
export type Position = (strides: readonly number[]) => Index;

/**
 * Joins neighbours among `axes` (ascending) where every participant crosses them with one stride, and drops axes of
 * extent 1. An inner axis joins only when its extent is static: rows of a symbolic extent do not follow one another.
 */
export function joinAxes(
  shape: readonly Extent[],
  axes: readonly number[],
  participants: readonly (readonly number[])[],
): readonly LoopAxis[] {
  const joined: LoopAxis[] = [];
  for (const axis of axes) {
    const extent = shape[axis];
    if (extent === 1) continue;
    const last = joined[joined.length - 1];
    const product = last === undefined ? undefined : multiplyExtents(last.extent, extent);
    const fits = last !== undefined && product !== undefined && isStatic(extent) &&
      participants.every((strides) => strides[last.axis] === strides[axis] * extent);
    if (fits) joined[joined.length - 1] = { axis, extent: product };
    else joined.push({ axis, extent });
  }
  return joined;
}

export function axisRange(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index);
}

const loopNames = ["i", "j", "k", "l", "m", "n"];

/** Nests a loop per joined axis; the position that the body gets covers these axes and those of `outer`. */
export function forAxes(
  b: LoopBuilder,
  axes: readonly LoopAxis[],
  order: LoopOrder,
  body: (position: Position) => void,
  outer: Position = () => 0,
): void {
  const visit = (depth: number, position: Position): void => {
    if (depth === axes.length) return body(position);
    const { axis, extent } = axes[depth];
    b.for(loopNames[axis] ?? `i${axis}`, extentIndex(extent), order, (index) => {
      visit(depth + 1, (strides) => addIndex(position(strides), mulIndex(index, strides[axis])));
    });
  };
  visit(0, outer);
}

/** Loops over every axis of `shape`, in order, handing the body one index per axis. */
export function forIndices(
  b: LoopBuilder,
  shape: readonly Extent[],
  order: LoopOrder,
  body: (indices: readonly Index[]) => void,
  names: readonly string[] = loopNames,
): void {
  const visit = (indices: readonly Index[]): void => {
    const axis = indices.length;
    if (axis === shape.length) return body(indices);
    b.for(names[axis] ?? `i${axis}`, extentIndex(shape[axis]), order, (index) => visit([...indices, index]));
  };
  visit([]);
}

/** The position at one index per axis. */
export function positionOf(indices: readonly Index[]): Position {
  return (strides) => indices.reduce<Index>((sum, index, axis) => addIndex(sum, mulIndex(index, strides[axis])), 0);
}
