/** Ops that read or write at positions held in an operand. */

import type { OpAttributes, ScatterReduction } from "../../../compiler/ir/node.ts";
import { isFloat } from "../../../compiler/numeric/element.ts";
import type { Lowering } from "../context.ts";
import { addIndex, dotIndex, extentIndex, indexOfScalar, mulIndex } from "../index.ts";
import { load, loadPart, loadReal, type Operand } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import { add, binaryOf, castTo, compareOf, literalOf, max, min, mul, scalarOfIndex, selectOf } from "../scalar.ts";
import { axisRange, forAxes, forIndices, joinAxes, type Position } from "../space.ts";

/** A position along an axis from an index operand: negative ones count from the end, those outside are clamped. */
export function wrappedPosition(lowering: Lowering, value: Scalar, extent: Index): Index {
  const { b } = lowering;
  const { element } = value;
  const whole = castTo(element, scalarOfIndex(extent));
  const zero = literalOf(element, 0);
  const raw = b.let("raw", value);
  const positive = selectOf(compareOf("lt", raw, zero), add(raw, whole), raw);
  const last = castTo(element, scalarOfIndex(addIndex(extent, -1)));
  return indexOfScalar(b.let("row", castTo("i32", max(min(positive, last), zero))));
}

export function lowerGather(lowering: Lowering, { axis }: OpAttributes["gather"]): readonly string[] {
  const { b } = lowering;
  const [x, indices] = [lowering.input(0, "x"), lowering.input(1, "indices")];
  const shape = lowering.resultShape();
  const count = indices.shape.length;
  const rowAxes = axisRange(axis, axis + count);
  const outerAxes = axisRange(0, axis);
  const innerAxes = axisRange(axis + count, shape.length);
  const own = (resultAxis: number) => (resultAxis < axis ? resultAxis : resultAxis - count + 1);
  const spread = (strides: readonly number[]) =>
    shape.map((_, each) => (rowAxes.includes(each) ? 0 : strides[own(each)]));
  const indexStrides = shape.map((_, each) => (rowAxes.includes(each) ? indices.strides[each - axis] : 0));
  const extent = extentIndex(x.shape[axis]);
  const stores = lowering.storeStrides();
  if (x.scheme === undefined) {
    const xStrides = spread(x.strides);
    forAxes(b, joinAxes(shape, outerAxes, [xStrides, ...stores]), "independent", (outer) => {
      forAxes(b, joinAxes(shape, rowAxes, [indexStrides, ...stores]), "independent", (position) => {
        const row = wrappedPosition(lowering, loadPart(b, indices, "data", position(indexStrides)), extent);
        const start = mulIndex(row, x.strides[axis]);
        forAxes(b, joinAxes(shape, innerAxes, [xStrides, ...stores]), "independent", (place) => {
          lowering.storeAt(place, loadPart(b, x, "data", addIndex(place(xStrides), start)));
        }, position);
      }, outer);
    });
  } else {
    const names = shape.map((_, each) => rowAxes.includes(each) ? `r${each}` : `i${each}`);
    forIndices(b, shape.slice(0, axis + count), "independent", (outer) => {
      const at = dotIndex(rowAxes.map((each) => outer[each]), indices.strides);
      const row = wrappedPosition(lowering, loadPart(b, indices, "data", at), extent);
      forIndices(b, shape.slice(axis + count), "independent", (inner) => {
        const source = [...outer.slice(0, axis), row, ...inner];
        lowering.store([...outer, ...inner], loadReal(b, x, source));
      }, names.slice(axis + count));
    }, names);
  }
  return [`y[o, r, i] = x[o, indices[r], i]   along axis ${axis}`];
}

export function lowerGatherElements(lowering: Lowering, { axis }: OpAttributes["gatherElements"]): readonly string[] {
  const { b } = lowering;
  const [x, indices] = [lowering.input(0, "x"), lowering.input(1, "indices")];
  const extent = extentIndex(x.shape[axis]);
  forIndices(b, lowering.resultShape(), "independent", (at) => {
    const row = wrappedPosition(lowering, load(b, indices, at), extent);
    lowering.store(at, load(b, x, at.with(axis, row)));
  });
  return [`y[i] = x[i with indices[i] at axis ${axis}]`];
}

/** The flat start of the slice of `x` that row `at` of an index operand names, after `batch` leading axes. */
function sliceStart(
  lowering: Lowering,
  x: Operand,
  indices: Operand,
  at: readonly Index[],
  batch: number,
): Index {
  const depth = indices.bounds[indices.bounds.length - 1];
  const parts = axisRange(0, depth).map((each): Index => {
    const axis = batch + each;
    const row = wrappedPosition(lowering, load(lowering.b, indices, [...at, each]), extentIndex(x.shape[axis]));
    return mulIndex(row, x.strides[axis]);
  });
  return parts.reduce<Index>((sum, part) => addIndex(sum, part), dotIndex(at.slice(0, batch), x.strides));
}

export function lowerGatherNd(lowering: Lowering, { batchAxes }: OpAttributes["gatherNd"]): readonly string[] {
  const { b } = lowering;
  const [x, indices] = [lowering.input(0, "x"), lowering.input(1, "indices")];
  const shape = lowering.resultShape();
  const rows = indices.shape.length - 1;
  const sliceAxis = batchAxes + indices.bounds[rows];
  const xStrides = shape.map((_, axis) => (axis < rows ? 0 : x.strides[sliceAxis + axis - rows]));
  const inner = joinAxes(shape, axisRange(rows, shape.length), [xStrides, ...lowering.storeStrides()]);
  forIndices(b, indices.shape.slice(0, rows), "independent", (at) => {
    const start = b.letIndex("start", sliceStart(lowering, x, indices, at, batchAxes));
    const outer: Position = (strides) => dotIndex(at, strides);
    forAxes(b, inner, "independent", (position) => {
      lowering.storeAt(position, loadPart(b, x, "data", addIndex(start, position(xStrides))));
    }, outer);
  });
  return ["y[r, i] = x[indices[r], i]"];
}

/** Copies the operand to the memory of the result, which the updates then change. */
function copyWhole(lowering: Lowering, x: Operand, target: string): void {
  const { b } = lowering;
  const axes = joinAxes(x.shape, axisRange(0, x.shape.length), [x.strides]);
  forAxes(b, axes, "independent", (position) => {
    b.store(target, position(x.strides), loadPart(b, x, "data", position(x.strides)));
  });
}

function combined(reduction: ScatterReduction, old: Scalar, update: Scalar): Scalar {
  switch (reduction) {
    case "none":
      return update;
    case "add":
      return old.element === "bool" ? binaryOf("or", old, update) : add(old, update);
    case "mul":
      return old.element === "bool" ? binaryOf("and", old, update) : mul(old, update);
    default:
      return extreme(reduction, old, update);
  }
}

function extreme(reduction: "max" | "min", x: Scalar, y: Scalar): Scalar {
  if (x.element === "bool") return binaryOf(reduction === "max" ? "or" : "and", x, y);
  return reduction === "max" ? max(x, y) : min(x, y);
}

export function lowerScatterElements(
  lowering: Lowering,
  { axis, reduction }: OpAttributes["scatterElements"],
): readonly string[] {
  const { b } = lowering;
  const [x, indices, updates] = [lowering.input(0, "x"), lowering.input(1, "indices"), lowering.input(2, "updates")];
  const extent = extentIndex(x.shape[axis]);
  lowering.throughMemory((target) => {
    copyWhole(lowering, x, target);
    forIndices(b, indices.shape, "sequential", (at) => {
      const row = wrappedPosition(lowering, load(b, indices, at), extent);
      const place = b.letIndex("place", dotIndex(at.with(axis, row), x.strides));
      const old: Scalar = { kind: "load", element: x.element, buffer: target, index: place };
      b.store(target, place, combined(reduction, old, load(b, updates, at)));
    });
  });
  return [
    `y = x, then in order y[i with indices[i] at axis ${axis}] ${
      reduction === "none" ? "=" : `${reduction}=`
    } updates[i]`,
  ];
}

export function lowerScatterNd(lowering: Lowering, { reduction }: OpAttributes["scatterNd"]): readonly string[] {
  const { b } = lowering;
  const [x, indices, updates] = [lowering.input(0, "x"), lowering.input(1, "indices"), lowering.input(2, "updates")];
  const rows = indices.shape.length - 1;
  const depth = indices.bounds[rows];
  // Along the slice, an axis of updates lies rows - depth places further out than the same axis of x.
  const slice = axisRange(rows, updates.shape.length);
  const xStrides = updates.shape.map((_, axis) => (axis < rows ? 0 : x.strides[axis - rows + depth]));
  lowering.throughMemory((target) => {
    copyWhole(lowering, x, target);
    forIndices(b, indices.shape.slice(0, rows), "sequential", (at) => {
      const start = b.letIndex("start", sliceStart(lowering, x, indices, at, 0));
      const outer: Position = (strides) => dotIndex(at, strides);
      forAxes(b, joinAxes(updates.shape, slice, [xStrides, updates.strides]), "independent", (position) => {
        const place = addIndex(start, position(xStrides));
        const old: Scalar = { kind: "load", element: x.element, buffer: target, index: place };
        b.store(target, place, combined(reduction, old, loadPart(b, updates, "data", position(updates.strides))));
      }, outer);
    });
  });
  return [`y = x, then in order y[indices[r], i] ${reduction === "none" ? "=" : `${reduction}=`} updates[r, i]`];
}

/** y[o] = Σ_t weights[o, t] x[indices[o, t]] along one axis. */
export function lowerResample(lowering: Lowering, { axis }: OpAttributes["resample"]): readonly string[] {
  const { b } = lowering;
  const [x, indices, weights] = [lowering.input(0, "x"), lowering.input(1, "indices"), lowering.input(2, "weights")];
  const shape = lowering.resultShape();
  const stores = lowering.storeStrides();
  const taps = indices.bounds[1];
  const element = isFloat(x.element) && x.element !== "f64" ? "f32" : "f64";
  const outer = joinAxes(shape, axisRange(0, axis), [x.strides, ...stores]);
  const inner = joinAxes(shape, axisRange(axis + 1, shape.length), [x.strides, ...stores]);
  forAxes(b, outer, "independent", (before) => {
    b.for("o", extentIndex(shape[axis]), "independent", (o) => {
      const place: Position = (strides) => addIndex(before(strides), mulIndex(o, strides[axis]));
      forAxes(b, inner, "independent", (after) => {
        const sum = b.let("sum", literalOf(element, 0));
        b.for("t", taps, "sequential", (t) => {
          const tap = addIndex(mulIndex(o, taps), t);
          const source = indexOfScalar(b.let("source", castTo("i32", loadPart(b, indices, "data", tap))));
          const at = addIndex(before(x.strides), mulIndex(source, x.strides[axis]));
          const weight = b.let("weight", castTo(element, loadPart(b, weights, "data", tap)));
          // A tap of weight 0 is not read: what it points at may be infinite.
          b.if(compareOf("ne", weight, literalOf(element, 0)), () => {
            const value = castTo(element, loadPart(b, x, "data", addIndex(at, after(x.strides))));
            b.assign(sum, add(sum, mul(weight, value)));
          });
        });
        lowering.storeAt((strides) => addIndex(place(strides), after(strides)), sum);
      });
    });
  });
  return [`y[o] = sum_t weights[o, t] * x[indices[o, t]]   along axis ${axis}`];
}
