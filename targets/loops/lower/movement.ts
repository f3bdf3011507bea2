/** Ops that only move elements: reshape, transpose, expand, slice, pad, concat, and gathers of rows. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import { equalExtents, type Extent, isStatic, shapeSize } from "../../../compiler/ir/extent.ts";
import type { Lowering } from "../context.ts";
import { addIndex, clampIndex, divIndex, dotIndex, extentIndex, mulIndex, remIndex, subIndex } from "../index.ts";
import { broadcastStrides, loadPart, type Operand } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import { literalOf } from "../scalar.ts";
import { axisRange, forAxes, forIndices, joinAxes, type Position } from "../space.ts";

/** y[i] = x[offset + Σ i_k * strides_k] over the result's shape. */
function lowerWalk(lowering: Lowering, x: Operand, strides: readonly number[], offset = 0): void {
  const { b } = lowering;
  const shape = lowering.resultShape();
  const axes = joinAxes(shape, axisRange(0, shape.length), [strides, ...lowering.storeStrides()]);
  forAxes(b, axes, "independent", (position) => {
    lowering.storeAt(position, loadPart(b, x, "data", addIndex(position(strides), offset)));
  });
}

export function lowerTranspose(lowering: Lowering, { permutation }: OpAttributes["transpose"]): readonly string[] {
  const x = lowering.input(0, "x");
  lowerWalk(lowering, x, permutation.map((axis) => x.strides[axis]));
  return [`y's axis i is x's axis [${permutation.join(", ")}][i]`];
}

export function lowerExpand(lowering: Lowering, { shape }: OpAttributes["expand"]): readonly string[] {
  const x = lowering.input(0, "x");
  lowerWalk(lowering, x, broadcastStrides(x, shape.length));
  return ["y[i] = x[i], 0 along x's axes of extent 1"];
}

export function lowerSlice(lowering: Lowering, { starts, steps }: OpAttributes["slice"]): readonly string[] {
  const x = lowering.input(0, "x");
  const offset = starts.reduce((sum, start, axis) => sum + start * x.strides[axis], 0);
  lowerWalk(lowering, x, steps.map((step, axis) => step * x.strides[axis]), offset);
  return [`y[i] = x[start + i * step], start = [${starts.join(", ")}], step = [${steps.join(", ")}]`];
}

/** Whether the elements lie one after another: only the outermost axis may be symbolic. */
function isContiguous(shape: readonly Extent[]): boolean {
  const first = shape.findIndex((extent) => extent !== 1);
  return shape.every((extent, axis) => isStatic(extent) || axis <= first);
}

export function lowerReshape(lowering: Lowering, _attributes: OpAttributes["reshape"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const shape = lowering.resultShape();
  const size = shapeSize(shape);
  if (size !== undefined && isContiguous(shape) && isContiguous(x.shape) && !lowering.hasEpilogue) {
    b.for("i", extentIndex(size), "independent", (index) => {
      lowering.storeAt(() => index, loadPart(b, x, "data", index));
    });
  } else {
    lowerRegroup(lowering, x);
  }
  return ["y = x in row-major order"];
}

/** Axes of x and of y that hold the same elements: products of their extents are equal. */
interface AxisGroup {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/** Splits a reshape at the places where the extents to the left have equal products on both sides. */
export function axisGroups(from: readonly Extent[], to: readonly Extent[]): readonly AxisGroup[] {
  const groups: AxisGroup[] = [];
  let group = { from: [] as number[], to: [] as number[] };
  let [a, c] = [0, 0];
  const size = (shape: readonly Extent[], axes: readonly number[]) => shapeSize(axes.map((axis) => shape[axis]));
  while (a < from.length || c < to.length) {
    const left = size(from, group.from);
    const right = size(to, group.to);
    if (group.from.length > 0 && group.to.length > 0 && left !== undefined && right !== undefined) {
      if (equalExtents(left, right) && left !== 0) {
        groups.push(group);
        group = { from: [], to: [] };
        continue;
      }
    }
    // The side with the smaller product so far takes its next axis; a symbolic product counts as large.
    const weight = (axes: readonly number[], product: Extent | undefined) =>
      axes.length === 0 ? 0 : typeof product === "number" ? product : Infinity;
    const [leftValue, rightValue] = [weight(group.from, left), weight(group.to, right)];
    if (a < from.length && (leftValue <= rightValue || c >= to.length)) group.from.push(a++);
    else group.to.push(c++);
  }
  groups.push(group);
  return groups;
}

/**
 * Strides are fixed by bounds, so where an inner axis is symbolic the flat position on one side is not that on the
 * other. Each group of axes with equal products is flattened by its run-time extents and taken apart again.
 */
function lowerRegroup(lowering: Lowering, x: Operand): void {
  const { b } = lowering;
  const shape = lowering.resultShape();
  const groups = axisGroups(x.shape, shape);
  forIndices(b, shape, "independent", (indices) => {
    const source = new Array<Index>(x.shape.length).fill(0);
    for (const group of groups) {
      const same = group.from.length === 1 && group.to.length === 1;
      if (same) {
        source[group.from[0]] = indices[group.to[0]];
        continue;
      }
      const flat = group.to.reduce<Index>(
        (sum, axis) => addIndex(mulIndex(sum, extentIndex(shape[axis])), indices[axis]),
        0,
      );
      unflatten(b.letIndex("flat", flat), group.from, x.shape, source);
    }
    lowering.store(indices, loadPart(b, x, "data", dotIndex(source, x.strides)));
  });
}

function unflatten(flat: Index, axes: readonly number[], shape: readonly Extent[], into: Index[]): void {
  let rest = flat;
  for (let position = axes.length - 1; position >= 0; position--) {
    const axis = axes[position];
    const extent = extentIndex(shape[axis]);
    into[axis] = position === 0 ? rest : remIndex(rest, extent);
    rest = divIndex(rest, extent);
  }
}

export function lowerConcat(lowering: Lowering, { axis }: OpAttributes["concat"]): readonly string[] {
  const { b } = lowering;
  const shape = lowering.resultShape();
  let start: Index = 0;
  for (const index of axisRange(0, lowering.inputCount)) {
    const x = lowering.input(index, `x${index}`);
    const axes = joinAxes(x.shape, axisRange(0, shape.length), [x.strides, ...lowering.storeStrides()]);
    const offset = start;
    forAxes(b, axes, "independent", (position) => {
      const place: Position = (strides) => addIndex(position(strides), mulIndex(offset, strides[axis]));
      lowering.storeAt(place, loadPart(b, x, "data", position(x.strides)));
    });
    start = addIndex(start, extentIndex(x.shape[axis]));
  }
  return [`y = x0, x1, ... one after another along axis ${axis}`];
}

export function lowerPad(lowering: Lowering, { before, after, mode }: OpAttributes["pad"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const shape = lowering.resultShape();
  const fill = lowering.optional(1, "value");
  const value = fill === undefined ? literalOf(x.element, 0) : loadPart(b, fill, "data", 0);
  const padded = axisRange(0, shape.length).filter((axis) => before[axis] !== 0 || after[axis] !== 0);
  if (mode === "constant") padConstant(lowering, x, before, after, value);
  else {
    forIndices(b, shape, "independent", (indices) => {
      const source = indices.map((index, axis) =>
        padded.includes(axis)
          ? foldedIndex(mode, addIndex(index, -before[axis]), extentIndex(x.shape[axis]), before[axis], after[axis])
          : index
      );
      lowering.store(indices, loadPart(b, x, "data", dotIndex(source, x.strides)));
    });
  }
  return [`y[i] = x[i - before], ${mode} outside, before = [${before.join(", ")}], after = [${after.join(", ")}]`];
}

/** A place outside 0..extent-1 brought inside. */
function foldedIndex(
  mode: "reflect" | "edge" | "wrap",
  place: Index,
  extent: Index,
  before: number,
  after: number,
): Index {
  const last = addIndex(extent, -1);
  if (mode === "edge") return clampIndex(place, 0, last);
  const reach = Math.max(before, after, 0);
  if (mode === "wrap") return remIndex(addIndex(place, mulIndex(extent, reach)), extent);
  return reflectedIndex(place, last, reach);
}

/** Reflection about both ends has period 2 (extent - 1): r = place mod period, min(r, period - r). One entry repeats. */
function reflectedIndex(place: Index, last: Index, reach: number): Index {
  if (last === 0) return 0;
  const period = mulIndex(last, 2);
  // An extent of 1 at run time would make the period 0; max keeps the remainder defined and min(r, 0) gives 0.
  const safe: Index = typeof period === "number" ? period : { kind: "max", x: period, y: 1 };
  const folded = remIndex(addIndex(place, mulIndex(safe, reach)), safe);
  return { kind: "min", x: folded, y: subIndex(period, folded) };
}

/**
 * Axis by axis: a stretch before, the inside, a stretch after. The stretches store the value over the whole rest, so no
 * position is tested inside a loop.
 */
function padConstant(
  lowering: Lowering,
  x: Operand,
  before: readonly number[],
  after: readonly number[],
  value: Scalar,
): void {
  const { b } = lowering;
  const shape = lowering.resultShape();
  const stores = lowering.storeStrides();
  const fillRest = (axis: number, outer: Position): void => {
    forAxes(b, joinAxes(shape, axisRange(axis, shape.length), stores), "independent", (position) => {
      lowering.storeAt(position, value);
    }, outer);
  };
  const visit = (axis: number, outer: Position, source: Position): void => {
    const rest = axisRange(axis, shape.length);
    if (rest.every((other) => before[other] === 0 && after[other] === 0)) {
      forAxes(b, joinAxes(shape, rest, [x.strides, ...stores]), "independent", (position) => {
        const inner: Position = (strides) => subIndex(position(strides), outer(strides));
        lowering.storeAt(position, loadPart(b, x, "data", addIndex(source(x.strides), inner(x.strides))));
      }, outer);
      return;
    }
    const crop = Math.max(0, -before[axis]);
    const lead = Math.max(0, before[axis]);
    const inside = addIndex(extentIndex(x.shape[axis]), Math.min(0, before[axis]) + Math.min(0, after[axis]));
    const stretch = (count: Index, start: Index): void => {
      b.for("p", count, "independent", (index) => {
        fillRest(axis + 1, (strides) => addIndex(outer(strides), mulIndex(addIndex(index, start), strides[axis])));
      });
    };
    if (lead > 0) stretch(lead, 0);
    b.for("i", inside, "independent", (index) => {
      visit(
        axis + 1,
        (strides) => addIndex(outer(strides), mulIndex(addIndex(index, lead), strides[axis])),
        (strides) => addIndex(source(strides), mulIndex(addIndex(index, crop), strides[axis])),
      );
    });
    if (after[axis] > 0) stretch(after[axis], addIndex(inside, lead));
  };
  visit(0, () => 0, () => 0);
}
