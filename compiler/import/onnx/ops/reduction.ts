/** Reductions, arg reductions and running sums along axes. */

import { isFloat } from "../../../numeric/element.ts";
import { type Expression, select, unary } from "../../../ir/expression.ts";
import { isStatic } from "../../../ir/extent.ts";
import type { OpAttributes, ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporter, OpImporterTable } from "../op_importer.ts";
import { add, div, exp, mul, number, sub } from "./expressions.ts";
import { malformed } from "./faults.ts";
import { mapOf, scalarOf, widened } from "./operands.ts";

export type ReduceKind = OpAttributes["reduce"]["kind"];

interface Reduction {
  readonly axes: readonly number[];
  readonly keepAxes: boolean;
}

/** Reduces a value; no node when there is nothing to reduce over. Halves are summed in f32 and rounded once. */
export function reduced(
  context: ImportContext,
  value: ValueName,
  kind: ReduceKind,
  { axes, keepAxes }: Reduction,
): ValueName {
  if (axes.length === 0) return value;
  const { element } = context.typeOf(value);
  const exact = kind === "max" || kind === "min";
  const operand = exact ? value : widened(context, value);
  const result = context.builder.add("reduce", [operand], { kind, axes, keepAxes });
  return context.builder.cast(result, element);
}

/**
 * The mean over axes as a sum divided by the count. A symbolic extent is counted at run time by a sum of ones.
 */
export function meanOf(context: ImportContext, value: ValueName, reduction: Reduction): ValueName {
  const { shape, element } = context.typeOf(value);
  const symbolic = reduction.axes.filter((axis) => !isStatic(shape[axis]));
  const count = reduction.axes.reduce((product, axis) => {
    const extent = shape[axis];
    return isStatic(extent) ? product * extent : product;
  }, 1);
  const wide = widened(context, value);
  const sum = reduced(context, wide, "sum", reduction);
  const { element: work } = context.typeOf(wide);
  const counts = symbolic.map((axis) =>
    context.builder.cast(scalarOf(context, context.shapeValue([shape[axis]])), work)
  );
  const mean = mapOf(context, [sum, ...counts], ([total, ...extents]) => {
    if (extents.length === 0) return div(total, number(work, count));
    return div(total, extents.reduce(mul, number(work, count)));
  });
  return context.builder.cast(mean, element);
}

/** Ascending axes of a Reduce op: an attribute first, an input later; none means all, or nothing with `noop`. */
function reductionOf(context: ImportContext, inputSince: number): Reduction {
  const { attributes, opset } = context.node;
  const rank = context.typeOf(context.input(0)).shape.length;
  const keepAxes = attributes.int("keepdims", 1) !== 0;
  const fromInput = opset >= inputSince;
  const noop = fromInput && attributes.int("noop_with_empty_axes", 0) !== 0;
  const listed = fromInput ? context.optional(1) === undefined ? [] : context.integers(1) : attributes.ints("axes", []);
  if (listed.length === 0) {
    return { keepAxes, axes: noop ? [] : Array.from({ length: rank }, (_, axis) => axis) };
  }
  const axes = [...new Set(listed.map((axis) => context.axis(axis, rank)))].sort((a, b) => a - b);
  return { axes, keepAxes };
}

type ReduceForm = (context: ImportContext, value: ValueName, reduction: Reduction) => ValueName;

function reduceOp(form: ReduceForm, inputSince = 18): OpImporter {
  return (context) => [form(context, context.input(0), reductionOf(context, inputSince))];
}

/** A map before and after a sum, computed in f32 for halves. */
function mappedSum(
  before: ((x: Expression) => Expression) | undefined,
  after: ((x: Expression) => Expression) | undefined,
): ReduceForm {
  return (context, value, reduction) => {
    const { element } = context.typeOf(value);
    const wide = widened(context, value);
    const terms = before === undefined ? wide : mapOf(context, [wide], ([x]) => before(x));
    const sum = reduced(context, terms, "sum", reduction);
    const result = after === undefined ? sum : mapOf(context, [sum], ([x]) => after(x));
    return context.builder.cast(result, element);
  };
}

/** Max and min of bool are those of 0 and 1. */
function extremum(kind: "max" | "min"): ReduceForm {
  return (context, value, reduction) => {
    if (context.typeOf(value).element !== "bool") return reduced(context, value, kind, reduction);
    return context.builder.cast(reduced(context, context.builder.cast(value, "u8"), kind, reduction), "bool");
  };
}

/** log Σ exp(x) as m + log Σ exp(x - m) with m the maximum, taken as 0 where it is infinite. */
export function logSumExp(context: ImportContext, value: ValueName, reduction: Reduction): ValueName {
  const { element } = context.typeOf(value);
  const wide = widened(context, value);
  const highest = reduced(context, wide, "max", { axes: reduction.axes, keepAxes: true });
  const guarded = (peak: Expression) => select(unary("isInf", peak), number(context.typeOf(wide).element, 0), peak);
  const terms = mapOf(context, [wide, highest], ([x, peak]) => exp(sub(x, guarded(peak))));
  const sum = reduced(context, terms, "sum", { axes: reduction.axes, keepAxes: true });
  const kept = mapOf(context, [sum, highest], ([total, peak]) => add(unary("log", total), guarded(peak)));
  const result = reduction.keepAxes ? kept : droppedAxes(context, kept, reduction.axes);
  return context.builder.cast(result, element);
}

function droppedAxes(context: ImportContext, value: ValueName, axes: readonly number[]): ValueName {
  const shape = context.typeOf(value).shape.filter((_, axis) => !axes.includes(axis));
  return context.builder.add("reshape", [value], { shape });
}

function squared(x: Expression): Expression {
  return mul(x, x);
}

function importLogSumExp(context: ImportContext, value: ValueName, reduction: Reduction): ValueName {
  if (!isFloat(context.typeOf(value).element)) return malformed(context, "ReduceLogSumExp of integers");
  return logSumExp(context, value, reduction);
}

function argOp(kind: "max" | "min"): OpImporter {
  return (context) => {
    const x = context.input(0);
    const { attributes } = context.node;
    const axis = context.axis(attributes.int("axis", 0), context.typeOf(x).shape.length);
    const keepAxes = attributes.int("keepdims", 1) !== 0;
    const last = attributes.int("select_last_index", 0) !== 0;
    return [context.builder.add("argReduce", [x], { kind, axis, keepAxes, last })];
  };
}

function cumulativeOp(kind: "sum" | "prod"): OpImporter {
  return (context) => {
    const x = context.input(0);
    const { attributes } = context.node;
    const [axis] = context.integers(1);
    if (axis === undefined) return malformed(context, "axis is empty");
    const options = {
      kind,
      axis: context.axis(axis, context.typeOf(x).shape.length),
      exclusive: attributes.int("exclusive", 0) !== 0,
      reverse: attributes.int("reverse", 0) !== 0,
    };
    const { element } = context.typeOf(x);
    return [context.builder.cast(context.builder.add("cumulative", [widened(context, x)], options), element)];
  };
}

/** TopK: `k` is an attribute up to opset 9; equal values keep the order of their indices. */
function importTopK(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { attributes, opset } = context.node;
  const axis = context.axis(attributes.int("axis", -1), context.typeOf(x).shape.length);
  const count = opset < 10 ? attributes.int("k") : context.integers(1)[0];
  if (count === undefined || count < 0) return malformed(context, `k is ${count}`);
  const largest = opset < 11 || attributes.int("largest", 1) !== 0;
  if (opset >= 11) attributes.int("sorted", 1);
  return context.builder.addAll("topK", [x], { axis, count, largest });
}

/** sqrt Σ x²; of integers through f64, cut back to integers. */
function normOf(context: ImportContext, value: ValueName, reduction: Reduction): ValueName {
  const { element } = context.typeOf(value);
  const real = isFloat(element) ? value : context.builder.cast(value, "f64");
  const norm = mappedSum(squared, (x) => unary("sqrt", x))(context, real, reduction);
  return context.builder.cast(norm, element);
}

export const reductionImporters: OpImporterTable = {
  ReduceSum: reduceOp((context, value, reduction) => reduced(context, value, "sum", reduction), 13),
  ReduceProd: reduceOp((context, value, reduction) => reduced(context, value, "prod", reduction)),
  ReduceMax: reduceOp(extremum("max")),
  ReduceMin: reduceOp(extremum("min")),
  ReduceMean: reduceOp(meanOf),
  ReduceL1: reduceOp(mappedSum((x) => unary("abs", x), undefined)),
  ReduceL2: reduceOp(normOf),
  ReduceSumSquare: reduceOp(mappedSum(squared, undefined)),
  ReduceLogSum: reduceOp(mappedSum(undefined, (x) => unary("log", x))),
  ReduceLogSumExp: reduceOp(importLogSumExp),
  ArgMax: argOp("max"),
  ArgMin: argOp("min"),
  CumSum: cumulativeOp("sum"),
  CumProd: cumulativeOp("prod"),
  TopK: importTopK,
};
