/** Pools: maxima, means and p-norms over windows, and the places of the maxima. */

import type { OpAttributes } from "../../../compiler/ir/node.ts";
import type { Lowering } from "../context.ts";
import { addIndex, extentIndex, minIndex, mulIndex, subIndex } from "../index.ts";
import { load, type Operand } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import {
  accumulatorOf,
  add,
  binaryOf,
  castTo,
  compareOf,
  div,
  literalOf,
  lowestOf,
  max,
  mul,
  scalarOfIndex,
  unaryOf,
} from "../scalar.ts";
import { forIndices } from "../space.ts";
import { forWindow, type WindowAxes, windowAxes, type WindowRange, windowRanges } from "./linear.ts";

const spatialNames = ["oy", "ox", "oz", "ow"];

function loopNames(axes: WindowAxes, rank: number): string[] {
  return Array.from({ length: rank }, (_, axis) => {
    if (axis === 0) return "n";
    return axis === axes.channel ? "c" : spatialNames[axes.spatial.indexOf(axis)] ?? `o${axis}`;
  });
}

/** Indices of x at the window's entry, from those of the result. */
function sourceIndices(axes: WindowAxes, indices: readonly Index[], places: readonly Index[]): readonly Index[] {
  return indices.map((index, axis) => (axes.spatial.includes(axis) ? places[axes.spatial.indexOf(axis)] : index));
}

export function lowerPool(lowering: Lowering, attributes: OpAttributes["pool"]): readonly string[] {
  const { b } = lowering;
  const { kind, kernel, norm } = attributes;
  const x = lowering.input(0, "x");
  const axes = windowAxes(attributes.layout, x.shape.length);
  const element = kind === "max" ? x.element : accumulatorOf(x.element);
  forIndices(b, lowering.resultShape(), "independent", (indices) => {
    const outputs = axes.spatial.map((axis) => indices[axis]);
    const ranges = windowRanges(lowering, x, axes, outputs, kernel, attributes, attributes.outputExtents);
    const result = b.let(kind, kind === "max" ? lowestOf(element) : literalOf(element, 0));
    const norms = literalOf(element, norm);
    forWindow(lowering, ranges, "reduction", (places) => {
      const value = castTo(element, load(b, x, sourceIndices(axes, indices, places)));
      b.assign(result, kind === "max" ? max(result, value) : add(result, termOf(lowering, kind, norm, norms, value)));
    });
    if (kind === "average") {
      const divisor = windowSize(lowering, x, axes, outputs, ranges, attributes);
      lowering.store(indices, div(result, castTo(element, scalarOfIndex(divisor))));
    } else if (kind === "lp") {
      lowering.store(indices, rootOf(norm, norms, result));
    } else {
      lowering.store(indices, result);
    }
  }, loopNames(axes, x.shape.length));
  const window = `k in [${kernel.join(", ")}], strides ${attributes.strides}, pads ${attributes.pads}`;
  const algebra = kind === "max"
    ? "max_k x[o, k]"
    : kind === "average"
    ? "mean_k x[o, k]"
    : "(sum_k |x[o, k]|^p)^(1/p)";
  return [`y[o] = ${algebra}, ${window}`];
}

function termOf(lowering: Lowering, kind: "average" | "lp", norm: number, norms: Scalar, value: Scalar): Scalar {
  if (kind === "average") return value;
  if (norm === 1) return unaryOf("abs", value);
  if (norm === 2) {
    const named = lowering.b.let("value", value);
    return mul(named, named);
  }
  return binaryOf("pow", unaryOf("abs", value), norms);
}

function rootOf(norm: number, norms: Scalar, sum: Scalar): Scalar {
  if (norm === 1) return sum;
  return norm === 2 ? unaryOf("sqrt", sum) : binaryOf("pow", sum, div(literalOf(sum.element, 1), norms));
}

/** Entries that an average divides by: those inside x, or inside x and its padding. */
function windowSize(
  lowering: Lowering,
  x: Operand,
  axes: WindowAxes,
  outputs: readonly Index[],
  ranges: readonly WindowRange[],
  attributes: OpAttributes["pool"],
): Index {
  const { countPadding, kernel, strides, dilations, pads } = attributes;
  const counts = ranges.map((range, index): Index => {
    if (!countPadding) return subIndex(range.to, range.from);
    // Ceil mode may reach past the padding, and what lies there does not count.
    const extent = addIndex(extentIndex(x.shape[axes.spatial[index]]), pads[index] + pads[index + ranges.length]);
    const start = mulIndex(outputs[index], strides[index]);
    const dilation = dilations[index];
    const room: Index = { kind: "div", x: addIndex(subIndex(extent, start), dilation - 1), y: dilation };
    return minIndex(kernel[index], room);
  });
  return lowering.b.letIndex("count", counts.reduce<Index>((product, count) => mulIndex(product, count), 1));
}

export function lowerPoolIndices(lowering: Lowering, attributes: OpAttributes["poolIndices"]): readonly string[] {
  const { b } = lowering;
  const x = lowering.input(0, "x");
  const axes = windowAxes(attributes.layout, x.shape.length);
  const { kernel, outputExtents, columnMajor } = attributes;
  forIndices(b, lowering.resultShape(), "independent", (indices) => {
    const outputs = axes.spatial.map((axis) => indices[axis]);
    const ranges = windowRanges(lowering, x, axes, outputs, kernel, attributes, outputExtents);
    const best = b.let("best", lowestOf(x.element));
    const where = b.let("where", literalOf("i32", -1));
    forWindow(lowering, ranges, "sequential", (places) => {
      const source = sourceIndices(axes, indices, places);
      const value = b.let("value", load(b, x, source));
      const first = compareOf("lt", where, literalOf("i32", 0));
      b.if(binaryOf("or", first, compareOf("gt", value, best)), () => {
        b.assign(best, value);
        b.assign(where, scalarOfIndex(flatIndex(x, axes, source, columnMajor)));
      });
    });
    lowering.store(indices, castTo("i64", max(where, literalOf("i32", 0))));
  }, loopNames(axes, x.shape.length));
  return [`y[o] = flat index of max_k x[o, k], ${columnMajor ? "column" : "row"}-major`];
}

/** Flat index over the run-time extents; column-major order turns the spatial axes around. */
function flatIndex(x: Operand, axes: WindowAxes, indices: readonly Index[], columnMajor: boolean): Index {
  const order = x.shape.map((_, axis) => axis);
  if (columnMajor) {
    const reversed = [...axes.spatial].reverse();
    axes.spatial.forEach((axis, index) => order[axis] = reversed[index]);
  }
  return order.reduce<Index>(
    (flat, axis) => addIndex(mulIndex(flat, extentIndex(x.shape[axis])), indices[axis]),
    0,
  );
}
