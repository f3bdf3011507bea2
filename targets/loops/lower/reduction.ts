/** Reductions over axes: sums and extremes, arg-extremes, softmax and norms, running sums. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import type { ElementType } from "../../../compiler/numeric/element.ts";
import type { Variable } from "../build.ts";
import type { Lowering } from "../context.ts";
import { addIndex, extentIndex, mulIndex, subIndex } from "../index.ts";
import { broadcastStrides, bufferOf, loadPart, type Operand } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import {
  accumulatorOf,
  add,
  binaryOf,
  castTo,
  compareOf,
  div,
  highestOf,
  largerOf,
  literalOf,
  lowestOf,
  mul,
  scalarOfIndex,
  selectOf,
  smallerOf,
  sub,
  unaryOf,
} from "../scalar.ts";
import { axisRange, forAxes, joinAxes, type LoopAxis, type Position } from "../space.ts";

/** Strides of a result per axis of the operand it was reduced from: 0 along reduced axes. */
function reducedStrides(
  strides: readonly number[],
  rank: number,
  axes: readonly number[],
  keepAxes: boolean,
): number[] {
  let next = 0;
  return axisRange(0, rank).map((axis) => {
    if (!axes.includes(axis)) return strides[next++];
    if (keepAxes) next++;
    return 0;
  });
}

export function lowerReduce(
  lowering: Lowering,
  { kind, axes, keepAxes }: OpAttributes["reduce"],
): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const rank = x.shape.length;
  const kept = axisRange(0, rank).filter((axis) => !axes.includes(axis));
  const participants = lowering.storeStrides().map((strides) => reducedStrides(strides, rank, axes, keepAxes));
  const accumulator = kind === "sum" || kind === "prod" ? accumulatorOf(x.element) : x.element;
  // A bool has no order; its maximum and minimum are those of 0 and 1.
  const element = accumulator === "bool" ? "i32" : accumulator;
  forAxes(b, joinAxes(x.shape, kept, [x.strides, ...participants]), "independent", (outer) => {
    const result = b.let(kind, startOf(kind, element));
    forAxes(b, joinAxes(x.shape, axes, [x.strides]), "reduction", (position) => {
      const value = castTo(element, loadPart(b, x, "data", position(x.strides)));
      b.assign(result, binaryOf(operatorOf(kind), result, value));
    }, outer);
    lowering.storeAt((strides) => outer(reducedStrides(strides, rank, axes, keepAxes)), result);
  });
  return [`y[o] = ${kind}_r x[o, r]   over axes ${axes.join(", ")}`];
}

type ReduceKind = OpAttributes["reduce"]["kind"];

function operatorOf(kind: ReduceKind): "add" | "mul" | "max" | "min" {
  return kind === "sum" ? "add" : kind === "prod" ? "mul" : kind;
}

function startOf(kind: ReduceKind, element: ElementType): Scalar {
  if (kind === "sum") return literalOf(element, 0);
  if (kind === "prod") return literalOf(element, 1);
  return kind === "max" ? lowestOf(element) : highestOf(element);
}

export function lowerArgReduce(
  lowering: Lowering,
  { kind, axis, keepAxes, last }: OpAttributes["argReduce"],
): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const rank = x.shape.length;
  const kept = axisRange(0, rank).filter((other) => other !== axis);
  const participants = lowering.storeStrides().map((strides) => reducedStrides(strides, rank, [axis], keepAxes));
  const element = x.element === "bool" ? "i32" : x.element;
  forAxes(b, joinAxes(x.shape, kept, [x.strides, ...participants]), "independent", (outer) => {
    const at = (index: Index): Scalar =>
      castTo(element, loadPart(b, x, "data", addIndex(outer(x.strides), mulIndex(index, x.strides[axis]))));
    const extent = extentIndex(x.shape[axis]);
    // A NaN in front stays the best and equals nothing; any other is passed over.
    const best = b.let("best", at(0));
    b.for("k", extent, "reduction", (index) => {
      const value = b.let("value", at(index));
      b.assign(best, kind === "max" ? largerOf(best, value) : smallerOf(best, value));
    });
    const none = scalarOfIndex(last ? -1 : extent);
    const found = b.let("found", none);
    b.for("k", extent, "reduction", (index) => {
      const place = selectOf(compareOf("eq", at(index), best), scalarOfIndex(index), none);
      b.assign(found, binaryOf(last ? "max" : "min", found, place));
    });
    const where = selectOf(compareOf("eq", found, none), scalarOfIndex(0), found);
    const stored = (strides: readonly number[]) => outer(reducedStrides(strides, rank, [axis], keepAxes));
    lowering.storeAt(stored, castTo("i64", where));
  });
  return [`y[o] = arg${kind}_k x[o, k]   along axis ${axis}, ${last ? "last" : "first"} of equals`];
}

/** Loops over all axes but `axes`, joined for x, the store and `more`. */
function otherAxes(
  lowering: Lowering,
  x: Operand,
  axes: readonly number[],
  more: readonly (readonly number[])[] = [],
): readonly LoopAxis[] {
  const others = axisRange(0, x.shape.length).filter((axis) => !axes.includes(axis));
  return joinAxes(x.shape, others, [x.strides, ...lowering.storeStrides(), ...more]);
}

/** Whether results may be parked in the result's own memory on the way: same element as the computation. */
function storesElement(lowering: Lowering, element: ElementType): boolean {
  return lowering.result().element === element && lowering.result().scheme === undefined;
}

export function lowerSoftmax(lowering: Lowering, { axis }: OpAttributes["softmax"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const y = lowering.result();
  const element = accumulatorOf(x.element);
  const parked = storesElement(lowering, element);
  const along = joinAxes(x.shape, [axis], [x.strides]);
  forAxes(b, otherAxes(lowering, x, [axis]), "independent", (outer) => {
    const value = (position: Position) => castTo(element, loadPart(b, x, "data", position(x.strides)));
    const top = b.let("top", lowestOf(element));
    // A NaN is passed over here: it makes its row NaN through its own power.
    forAxes(b, along, "reduction", (position) => {
      b.assign(top, largerOf(top, b.let("value", value(position))));
    }, outer);
    const sum = b.let("sum", literalOf(element, 0));
    const power = (position: Position) => unaryOf("exp", sub(value(position), top));
    forAxes(b, along, "reduction", (position) => {
      const term = b.let("term", power(position));
      if (parked) b.store(bufferOf(b, y, "data", "write"), position(y.strides), term);
      b.assign(sum, add(sum, term));
    }, outer);
    const inverse = b.let("inverse", div(literalOf(element, 1), sum));
    forAxes(b, along, "independent", (position) => {
      const term = parked ? loadPart(b, y, "data", position(y.strides)) : power(position);
      lowering.storeAt(position, mul(term, inverse));
    }, outer);
  });
  return ["y[o, k] = exp(x[o, k] - max_k x) / sum_k exp(x[o, k] - max_k x)"];
}

export function lowerNorm(lowering: Lowering, { kind, axis, epsilon }: OpAttributes["norm"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const gain = lowering.optional(1, "gain");
  const bias = lowering.optional(2, "bias");
  const rank = x.shape.length;
  const affine = [gain, bias].filter((operand) => operand !== undefined)
    .map((operand) => ({ operand, strides: broadcastStrides(operand, rank) }));
  const element = accumulatorOf(x.element);
  const axes = axisRange(axis, rank);
  const affineStrides = affine.map((entry) => entry.strides);
  const inside = joinAxes(x.shape, axes, [x.strides]);
  const written = joinAxes(x.shape, axes, [x.strides, ...lowering.storeStrides(), ...affineStrides]);
  const count = axes.reduce<Scalar>(
    (product, each) => mul(product, castTo(element, scalarOfIndex(extentIndex(x.shape[each])))),
    literalOf(element, 1),
  );
  forAxes(b, otherAxes(lowering, x, axes, affineStrides), "independent", (outer) => {
    const value = (position: Position) => castTo(element, loadPart(b, x, "data", position(x.strides)));
    const sumOf = (name: string, term: (position: Position) => Scalar): Variable => {
      const sum = b.let(name, literalOf(element, 0));
      forAxes(b, inside, "reduction", (position) => b.assign(sum, add(sum, term(position))), outer);
      return sum;
    };
    const mean = kind === "layer" ? b.let("mean", div(sumOf("sum", value), count)) : undefined;
    const centred = (position: Position) => mean === undefined ? value(position) : sub(value(position), mean);
    const squares = sumOf("squares", (position) => {
      const term = b.let("centred", centred(position));
      return mul(term, term);
    });
    const root = unaryOf("sqrt", add(div(squares, count), literalOf(element, epsilon)));
    const inverse = b.let("inverse", div(literalOf(element, 1), root));
    forAxes(b, written, "independent", (position) => {
      const unit = mul(centred(position), inverse);
      const parts = affine.map(({ operand, strides }) =>
        castTo(element, loadPart(b, operand, "data", position(strides)))
      );
      const scaled = parts.length > 0 ? mul(unit, parts[0]) : unit;
      lowering.storeAt(position, parts.length > 1 ? add(scaled, parts[1]) : scaled);
    }, outer);
  });
  const affineText = `${gain === undefined ? "" : " * gain[k]"}${bias === undefined ? "" : " + bias[k]"}`;
  return kind === "layer"
    ? ["m = mean_k x[o, k], v = mean_k (x[o, k] - m)^2", `y[o, k] = (x[o, k] - m) / sqrt(v + ${epsilon})${affineText}`]
    : [`y[o, k] = x[o, k] / sqrt(mean_k x[o, k]^2 + ${epsilon})${affineText}`];
}

export function lowerCumulative(
  lowering: Lowering,
  { kind, axis, exclusive, reverse }: OpAttributes["cumulative"],
): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const element = accumulatorOf(x.element);
  const extent = extentIndex(x.shape[axis]);
  forAxes(b, otherAxes(lowering, x, [axis]), "independent", (outer) => {
    const sum = b.let(kind, literalOf(element, kind === "sum" ? 0 : 1));
    b.for("k", extent, "sequential", (index) => {
      const place = reverse ? subIndex(addIndex(extent, -1), index) : index;
      const position: Position = (strides) => addIndex(outer(strides), mulIndex(place, strides[axis]));
      const value = castTo(element, loadPart(b, x, "data", position(x.strides)));
      const next = kind === "sum" ? add(sum, value) : mul(sum, value);
      if (exclusive) {
        const term = b.let("term", next);
        lowering.storeAt(position, sum);
        b.assign(sum, term);
      } else {
        b.assign(sum, next);
        lowering.storeAt(position, sum);
      }
    });
  });
  const range = `${reverse ? "j >" : "j <"}${exclusive ? "" : "="} k`;
  return [`y[o, k] = ${kind}_{${range}} x[o, j]   along axis ${axis}`];
}
