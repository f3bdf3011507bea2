/** Gathers, scatters, one-hot rows, and selections that are known at compile time. */

import { binary, compare, type Expression, select } from "../../../ir/expression.ts";
import { isStatic } from "../../../ir/extent.ts";
import type { ScatterReduction, ValueName } from "../../../ir/node.ts";
import { stridesOf } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, number } from "./expressions.ts";
import { malformed, needsConstant } from "./faults.ts";
import {
  entryOf,
  expanded,
  integerConstant,
  iota,
  mapOf,
  numbersOf,
  plainConstant,
  productOf,
  reshaped,
  scalarOf,
  sliced,
  staticExtent,
} from "./operands.ts";

function importGather(context: ImportContext): readonly ValueName[] {
  const [x, indices] = [context.input(0), context.input(1)];
  const axis = context.axis(context.node.attributes.int("axis", 0), context.typeOf(x).shape.length);
  return [context.builder.add("gather", [x, indices], { axis })];
}

function importGatherElements(context: ImportContext): readonly ValueName[] {
  const [x, indices] = [context.input(0), context.input(1)];
  const axis = context.axis(context.node.attributes.int("axis", 0), context.typeOf(x).shape.length);
  return [context.builder.add("gatherElements", [x, indices], { axis })];
}

function importGatherNd(context: ImportContext): readonly ValueName[] {
  const [x, indices] = [context.input(0), context.input(1)];
  const batchAxes = context.node.opset >= 12 ? context.node.attributes.int("batch_dims", 0) : 0;
  const rank = Math.min(context.typeOf(x).shape.length, context.typeOf(indices).shape.length);
  if (batchAxes < 0 || batchAxes >= rank) return malformed(context, `batch_dims is ${batchAxes}`);
  return [context.builder.add("gatherNd", [x, indices], { batchAxes })];
}

function reductionOf(context: ImportContext): ScatterReduction {
  if (context.node.opset < 16) return "none";
  const reduction = context.node.attributes.string("reduction", "none");
  const known: readonly ScatterReduction[] = ["none", "add", "mul", "max", "min"];
  return known.find((entry) => entry === reduction) ?? malformed(context, `reduction is "${reduction}"`);
}

function importScatterElements(context: ImportContext): readonly ValueName[] {
  const [x, indices, updates] = [context.input(0), context.input(1), context.input(2)];
  const axis = context.axis(context.node.attributes.int("axis", 0), context.typeOf(x).shape.length);
  return [context.builder.add("scatterElements", [x, indices, updates], { axis, reduction: reductionOf(context) })];
}

function importScatterNd(context: ImportContext): readonly ValueName[] {
  const inputs = [context.input(0), context.input(1), context.input(2)];
  return [context.builder.add("scatterNd", inputs, { reduction: reductionOf(context) })];
}

/** TensorScatter: updates written along an axis from each batch entry's own place on, around the end when circular. */
function importTensorScatter(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const [cache, update] = [context.input(0), context.input(1)];
  const { shape } = context.typeOf(cache);
  const target = context.typeOf(update).shape;
  const axis = context.axis(attributes.int("axis", -2), shape.length);
  if (target.length !== shape.length) return malformed(context, `the ranks are ${shape.length} and ${target.length}`);
  const mode = attributes.string("mode", "linear");
  if (mode !== "linear" && mode !== "circular") return malformed(context, `mode is "${mode}"`);
  const steps = iota(context, target[axis], axis, shape.length);
  const starts = context.optional(2);
  const extent = staticExtent(context, shape[axis], "the cache");
  const places = starts === undefined ? steps : mapOf(
    context,
    [
      steps,
      reshaped(context, context.builder.cast(starts, "i64"), shape.map((_, index) => (index === 0 ? target[0] : 1))),
    ],
    ([step, start]) => mode === "linear" ? add(step, start) : binary("mod", add(step, start), number("i64", extent)),
  );
  const indices = expanded(context, places, target);
  return [context.builder.add("scatterElements", [cache, indices, update], { axis, reduction: "none" })];
}

/**
 * OneHot: `on` where the place along the new axis equals the index, or the index plus depth for negative ones; an index
 * outside gives a row of `off`.
 */
function importOneHot(context: ImportContext): readonly ValueName[] {
  const [indices, values] = [context.input(0), context.input(2)];
  const [depth] = context.integers(1);
  if (depth === undefined || depth < 0) return malformed(context, `depth is ${depth}`);
  const { shape } = context.typeOf(indices);
  const rank = shape.length + 1;
  const axis = context.axis(context.node.attributes.int("axis", -1), rank);
  const rows = reshaped(
    context,
    context.builder.cast(indices, "i64"),
    [...shape.slice(0, axis), 1, ...shape.slice(axis)],
  );
  const places = iota(context, depth, axis, rank);
  const [off, on] = [0, 1].map((index) => scalarOf(context, sliced(context, values, 0, index, 1)));
  return [mapOf(context, [rows, places, on, off], ([row, place, hot, cold]) => {
    const wrapped = add(row, number("i64", depth));
    const hit = (index: Expression) => compare("eq", index, place);
    return select(binary("or", hit(row), hit(wrapped)), hot, cold);
  })];
}

/** Compress: a gather of the places where a constant condition holds. */
function importCompress(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const x = context.input(0);
  const condition = plainConstant(context, context.input(1)) ??
    needsConstant(context, "The extent of Compress depends on data: its condition must be a constant");
  const places = numbersOf(condition).flatMap((flag, index) => (flag !== 0 ? [index] : []));
  const { shape } = context.typeOf(x);
  const flat = !attributes.has("axis");
  const axis = flat ? 0 : context.axis(attributes.int("axis"), shape.length);
  const operand = flat ? reshaped(context, x, [productOf(context, shape)]) : x;
  const extent = context.typeOf(operand).shape[axis];
  if (isStatic(extent) && places.some((place) => place >= extent)) {
    return malformed(context, `condition holds at ${places[places.length - 1]}, the axis has ${extent} entries`);
  }
  return [context.builder.add("gather", [operand, integerConstant(context, [places.length], places)], { axis })];
}

/** NonZero of a constant: [rank, count] indices in row-major order. */
function importNonZero(context: ImportContext): readonly ValueName[] {
  const tensor = plainConstant(context, context.input(0)) ??
    needsConstant(context, "The extent of NonZero depends on data: its input must be a constant");
  const shape = tensor.shape.length === 0 ? [1] : tensor.shape;
  const strides = stridesOf(shape);
  const places = Array.from({ length: tensor.data.length }, (_, index) => index)
    .filter((index) => Number(entryOf(tensor, index)) !== 0);
  const indices = shape.flatMap((extent, axis) => places.map((place) => Math.floor(place / strides[axis]) % extent));
  return [integerConstant(context, [shape.length, places.length], indices)];
}

export const indexingImporters: OpImporterTable = {
  Gather: importGather,
  GatherElements: importGatherElements,
  GatherND: importGatherNd,
  ScatterElements: importScatterElements,
  Scatter: importScatterElements,
  ScatterND: importScatterNd,
  TensorScatter: importTensorScatter,
  OneHot: importOneHot,
  Compress: importCompress,
  NonZero: importNonZero,
};
