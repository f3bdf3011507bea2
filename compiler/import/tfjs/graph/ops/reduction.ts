/** Reductions, softmax, and ops that order entries, of TensorFlow graphs. */

import { binary, compare, input, unary } from "../../../../ir/expression.ts";
import type { OpAttributes } from "../../../../ir/node.ts";
import { logSoftmax, mean } from "../../kernels.ts";
import type { TfContext, TfImporter, TfImporterTable } from "../context.ts";
import { tensorValue, type TfValue } from "../value.ts";

/** Ascending axes of input 1; none at all for an empty list. */
function axesOf(context: TfContext, rank: number): readonly number[] {
  const axes = context.integers(1).map((axis) => context.axis(axis, rank));
  return [...new Set(axes)].sort((a, b) => a - b);
}

function keepAxesOf(context: TfContext): boolean {
  return context.attributes.boolean("keep_dims", context.attributes.boolean("keepDims", false));
}

function reduction(kind: OpAttributes["reduce"]["kind"]): TfImporter {
  return (context) => {
    const x = context.tensor(0);
    const axes = axesOf(context, context.typeOf(x).shape.length);
    if (axes.length === 0) return [tensorValue(x)];
    return [tensorValue(context.builder.add("reduce", [x], { kind, axes, keepAxes: keepAxesOf(context) }))];
  };
}

/** `All` and `Any` as the least and the greatest of 0 and 1. */
function logical(kind: "min" | "max"): TfImporter {
  return (context) => {
    const x = context.builder.cast(context.tensor(0), "i32");
    const axes = axesOf(context, context.typeOf(x).shape.length);
    const reduced = axes.length === 0
      ? x
      : context.builder.add("reduce", [x], { kind, axes, keepAxes: keepAxesOf(context) });
    return [tensorValue(context.builder.cast(reduced, "bool"))];
  };
}

function importMean(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const axes = axesOf(context, context.typeOf(x).shape.length);
  if (axes.length === 0) return [tensorValue(x)];
  return [tensorValue(mean(context.builder, x, axes, keepAxesOf(context)))];
}

function argReduction(kind: "max" | "min"): TfImporter {
  return (context) => {
    const x = context.tensor(0);
    const axis = context.axis(context.integers(1)[0] ?? 0, context.typeOf(x).shape.length);
    const index = context.builder.add("argReduce", [x], { kind, axis, keepAxes: false, last: false });
    return [tensorValue(context.builder.cast(index, "i32"))];
  };
}

function importSoftmax(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  return [tensorValue(context.builder.add("softmax", [x], { axis: context.typeOf(x).shape.length - 1 }))];
}

function importLogSoftmax(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  return [tensorValue(logSoftmax(context.builder, x, context.typeOf(x).shape.length - 1))];
}

function importCumulative(kind: "sum" | "prod"): TfImporter {
  return (context) => {
    const x = context.tensor(0);
    const axis = context.axis(context.integers(1)[0] ?? 0, context.typeOf(x).shape.length);
    const { attributes, builder } = context;
    const exclusive = attributes.boolean("exclusive", false);
    const reverse = attributes.boolean("reverse", false);
    return [tensorValue(builder.add("cumulative", [x], { kind, axis, exclusive, reverse }))];
  };
}

function importTopK(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const count = context.node.op === "TopK" ? context.attributes.int("k", 1) : context.integers(1)[0];
  const axis = context.typeOf(x).shape.length - 1;
  const [values, indices] = context.builder.addAll("topK", [x], { axis, count, largest: true });
  return [tensorValue(values), tensorValue(context.builder.cast(indices, "i32"))];
}

/** onValue where the index is the place along the new axis, offValue elsewhere. */
function importOneHot(context: TfContext): readonly TfValue[] {
  const { builder } = context;
  const indices = builder.cast(context.tensor(0), "i32");
  const depth = context.integers(1)[0];
  const rank = context.typeOf(indices).shape.length + 1;
  const axis = context.axis(context.attributes.int("axis", -1), rank);
  const { shape } = context.typeOf(indices);
  const spread = builder.add("reshape", [indices], { shape: [...shape.slice(0, axis), 1, ...shape.slice(axis)] });
  const places = Int32Array.from({ length: depth }, (_, index) => index);
  const counting = builder.constant({
    kind: "plain",
    element: "i32",
    shape: Array.from({ length: rank }, (_, index) => (index === axis ? depth : 1)),
    data: places,
  });
  const hit = compare("eq", input(0), input(1));
  const operands = [spread, counting, context.tensor(2), context.tensor(3)];
  return [tensorValue(builder.map({ kind: "select", condition: hit, x: input(2), y: input(3) }, operands))];
}

/** √Σx². */
function importEuclideanNorm(context: TfContext): readonly TfValue[] {
  const { builder } = context;
  const x = context.tensor(0);
  const axes = axesOf(context, context.typeOf(x).shape.length);
  const squares = builder.map(binary("mul", input(0), input(0)), [x]);
  const sum = builder.add("reduce", [squares], { kind: "sum", axes, keepAxes: keepAxesOf(context) });
  return [tensorValue(builder.map(unary("sqrt", input(0)), [sum]))];
}

export const reductionOps: TfImporterTable = {
  All: logical("min"),
  Any: logical("max"),
  ArgMax: argReduction("max"),
  ArgMin: argReduction("min"),
  Cumprod: importCumulative("prod"),
  Cumsum: importCumulative("sum"),
  EuclideanNorm: importEuclideanNorm,
  LogSoftmax: importLogSoftmax,
  Max: reduction("max"),
  Mean: importMean,
  Min: reduction("min"),
  OneHot: importOneHot,
  Prod: reduction("prod"),
  Softmax: importSoftmax,
  Sum: reduction("sum"),
  TopK: importTopK,
  TopKV2: importTopK,
};
