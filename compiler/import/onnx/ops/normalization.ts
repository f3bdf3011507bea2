/** Normalizations: over the batch, over trailing axes, over groups of channels, and by a norm. */

import type { ElementType } from "../../../numeric/element.ts";
import { binary, compare, select, unary } from "../../../ir/expression.ts";
import { equalShapes, type Extent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, div, mul, number, sub } from "./expressions.ts";
import { ignoreAttributes, malformed, unsupported } from "./faults.ts";
import {
  floatConstant,
  floatMap,
  mapOf,
  numbersOf,
  plainConstant,
  productOf,
  reshaped,
  staticExtent,
  widened,
} from "./operands.ts";
import { meanOf, reduced } from "./reduction.ts";

/** A per-channel vector [C] in a shape that broadcasts against [N, C, ...]. */
function perChannel(context: ImportContext, vector: ValueName, rank: number): ValueName {
  const { shape } = context.typeOf(vector);
  return reshaped(context, vector, [...shape, ...new Array<number>(Math.max(0, rank - 2)).fill(1)]);
}

/**
 * BatchNormalization of inference as one map x * a + b with a = gain / sqrt(variance + epsilon) and
 * b = bias - mean * a, both computed in double precision where the parameters are constants.
 */
function importBatchNormalization(context: ImportContext): readonly ValueName[] {
  const { attributes, opset, outputUsed } = context.node;
  const epsilon = attributes.float("epsilon", 1e-5);
  const momentum = attributes.float("momentum", 0.9);
  const perElement = opset < 9 && attributes.int("spatial", 1) === 0;
  if (opset >= 14 && attributes.int("training_mode", 0) !== 0) return trainingBatchNorm(context, epsilon, momentum);
  if (outputUsed.slice(1).some((used) => used)) {
    return unsupported(context, "BatchNormalization with its training outputs", "Export the model in evaluation mode");
  }
  const x = context.input(0);
  const rank = context.typeOf(x).shape.length;
  const shaped = (vector: ValueName) => (perElement ? vector : perChannel(context, vector, rank));
  const parameters = [1, 2, 3, 4].map((index) => context.input(index));
  const [wanted, ...others] = parameters.map((value) => context.typeOf(value).shape);
  if (others.some((extents) => !equalShapes(extents, wanted))) malformed(context, "the parameters differ in shape");
  const folded = foldedParameters(context, parameters, epsilon);
  if (folded !== undefined) {
    const { element } = context.typeOf(x);
    const values = [folded.factor, folded.shift].map((entries) =>
      shaped(floatConstant(context, workOf(element), folded.shape, entries))
    );
    return [floatMap(context, [x, ...values], ([value, factor, shift]) => add(mul(value, factor), shift))];
  }
  const [gain, bias, mean, variance] = parameters.map((vector) => widened(context, vector));
  const factor = mapOf(
    context,
    [gain, variance],
    ([g, v]) => div(g, unary("sqrt", add(v, number(context.typeOf(variance).element, epsilon)))),
  );
  return [normalizedBy(context, x, shaped(mean), shaped(factor), shaped(bias))];
}

/** (x - mean) * factor + bias. */
function normalizedBy(
  context: ImportContext,
  x: ValueName,
  mean: ValueName,
  factor: ValueName,
  bias: ValueName,
): ValueName {
  const { element } = context.typeOf(x);
  const work = workOf(element);
  const operands = [x, mean, factor, bias].map((value) => context.builder.cast(value, work));
  const result = mapOf(context, operands, ([value, m, f, b]) => add(mul(sub(value, m), f), b));
  return context.builder.cast(result, element);
}

function workOf(element: ElementType): ElementType {
  return element === "f64" ? "f64" : "f32";
}

function foldedParameters(
  context: ImportContext,
  parameters: readonly ValueName[],
  epsilon: number,
): { readonly shape: readonly number[]; readonly factor: number[]; readonly shift: number[] } | undefined {
  const [gain, bias, mean, variance] = parameters.map((value) => plainConstant(context, value));
  if (gain === undefined || bias === undefined || mean === undefined || variance === undefined) return undefined;
  const [gains, biases, means, variances] = [gain, bias, mean, variance].map(numbersOf);
  const factor = gains.map((entry, index) => entry / Math.sqrt(variances[index] + epsilon));
  return { shape: gain.shape, factor, shift: biases.map((entry, index) => entry - means[index] * factor[index]) };
}

/** Training mode: the batch's own mean and variance, and the running ones moved towards them. */
function trainingBatchNorm(context: ImportContext, epsilon: number, momentum: number): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const [gain, bias, runningMean, runningVariance] = [1, 2, 3, 4].map((index) => context.input(index));
  const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1);
  const wide = widened(context, x);
  const mean = meanOf(context, wide, { axes, keepAxes: true });
  const variance = meanOf(context, squaredDistance(context, wide, mean), { axes, keepAxes: true });
  const factor = mapOf(
    context,
    [perChannel(context, widened(context, gain), shape.length), variance],
    ([g, v]) => div(g, unary("sqrt", add(v, number(context.typeOf(variance).element, epsilon)))),
  );
  const y = normalizedBy(context, x, mean, factor, perChannel(context, bias, shape.length));
  const moved = (running: ValueName, current: ValueName) => {
    const { element, shape: channels } = context.typeOf(running);
    const work = workOf(element);
    const values = [running, reshaped(context, current, channels)].map((value) => context.builder.cast(value, work));
    const result = mapOf(
      context,
      values,
      ([old, now]) => add(mul(old, number(work, momentum)), mul(now, number(work, 1 - momentum))),
    );
    return context.builder.cast(result, element);
  };
  return [y, moved(runningMean, mean), moved(runningVariance, variance)];
}

function squaredDistance(context: ImportContext, value: ValueName, mean: ValueName): ValueName {
  return mapOf(context, [value, mean], ([x, m]) => mul(sub(x, m), sub(x, m)));
}

/** The norm op, computed in f32 for halves. */
export function normNode(
  context: ImportContext,
  kind: "layer" | "rms",
  value: ValueName,
  axis: number,
  epsilon: number,
  gain: ValueName | undefined,
  bias: ValueName | undefined,
): ValueName {
  const { element } = context.typeOf(value);
  const work = workOf(element);
  const wide = [value, gain, bias].filter((operand) => operand !== undefined)
    .map((operand) => context.builder.cast(operand, work));
  if (gain === undefined && bias !== undefined) return malformed(context, "bias stands without a gain");
  return context.builder.cast(context.builder.add("norm", wide, { kind, axis, epsilon }), element);
}

/** LayerNormalization; its second and third outputs are the mean and 1 / sqrt(variance + epsilon). */
function importLayerNormalization(context: ImportContext): readonly ValueName[] {
  const { attributes, outputUsed } = context.node;
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const axis = context.axis(attributes.int("axis", -1), shape.length);
  const epsilon = attributes.float("epsilon", 1e-5);
  ignoreAttributes(context, "stash_type");
  const y = normNode(context, "layer", x, axis, epsilon, context.input(1), context.optional(2));
  if (outputUsed[1] !== true && outputUsed[2] !== true) return [y];
  const over = { axes: trailingAxes(shape.length, axis), keepAxes: true };
  const wide = context.builder.cast(x, workOf(context.typeOf(x).element));
  const mean = meanOf(context, wide, over);
  if (outputUsed[2] !== true) return [y, mean];
  const variance = meanOf(context, squaredDistance(context, wide, mean), over);
  const inverse = mapOf(context, [variance], ([v]) => {
    const { element } = context.typeOf(variance);
    return div(number(element, 1), unary("sqrt", add(v, number(element, epsilon))));
  });
  return [y, mean, inverse];
}

function trailingAxes(rank: number, axis: number): number[] {
  return Array.from({ length: rank - axis }, (_, index) => axis + index);
}

function importRmsNormalization(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const x = context.input(0);
  const axis = context.axis(attributes.int("axis", -1), context.typeOf(x).shape.length);
  ignoreAttributes(context, "stash_type");
  const epsilon = attributes.float("epsilon", 1e-5);
  return [normNode(context, "rms", x, axis, epsilon, context.input(1), undefined)];
}

function importInstanceNormalization(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const rank = context.typeOf(x).shape.length;
  if (rank < 3) return malformed(context, `InstanceNormalization wants rank 3 or more, got ${rank}`);
  const epsilon = context.node.attributes.float("epsilon", 1e-5);
  const [gain, bias] = [1, 2].map((index) => perChannel(context, context.input(index), rank));
  return [normNode(context, "layer", x, 2, epsilon, gain, bias)];
}

/** GroupNormalization: channels split into [groups, channels / groups]; gain and bias are per group up to opset 20. */
function importGroupNormalization(context: ImportContext): readonly ValueName[] {
  const { attributes, opset } = context.node;
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  ignoreAttributes(context, "stash_type");
  const groups = attributes.int("num_groups");
  const channels = staticExtent(
    context,
    shape[1] ?? malformed(context, "input has no channel axis"),
    "the channel axis",
  );
  if (groups < 1 || channels % groups !== 0) {
    return malformed(context, `${channels} channels do not divide into ${groups} groups`);
  }
  const split: Extent[] = [shape[0], groups, channels / groups, ...shape.slice(2)];
  const ones = new Array<number>(shape.length - 2).fill(1);
  const perGroup = opset < 21;
  const parameters = [1, 2].map((index) =>
    reshaped(context, context.input(index), [groups, perGroup ? 1 : channels / groups, ...ones])
  );
  const epsilon = attributes.float("epsilon", 1e-5);
  const y = normNode(context, "layer", reshaped(context, x, split), 2, epsilon, parameters[0], parameters[1]);
  return [reshaped(context, y, shape)];
}

/** x / |x|_p along an axis; 0 where the norm is 0. */
function importLpNormalization(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const x = context.input(0);
  const axis = context.axis(attributes.int("axis", -1), context.typeOf(x).shape.length);
  const p = attributes.int("p", 2);
  if (p !== 1 && p !== 2) return malformed(context, `p is ${p}, it must be 1 or 2`);
  const wide = widened(context, x);
  const terms = mapOf(context, [wide], ([value]) => (p === 1 ? unary("abs", value) : mul(value, value)));
  const sum = reduced(context, terms, "sum", { axes: [axis], keepAxes: true });
  const { element } = context.typeOf(wide);
  const y = mapOf(context, [wide, sum], ([value, total]) => {
    const zero = number(element, 0);
    const norm = p === 1 ? total : unary("sqrt", total);
    return select(compare("eq", total, zero), zero, div(value, norm));
  });
  return [context.builder.cast(y, context.typeOf(x).element)];
}

/** (x - mean) / (deviation + 1e-9) over `axes`. */
function importMeanVarianceNormalization(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const rank = context.typeOf(x).shape.length;
  const listed = context.node.attributes.ints("axes", [0, 2, 3]);
  const axes = listed.map((axis) => context.axis(axis, rank)).sort((a, b) => a - b);
  const wide = widened(context, x);
  const mean = meanOf(context, wide, { axes, keepAxes: true });
  const variance = meanOf(context, squaredDistance(context, wide, mean), { axes, keepAxes: true });
  const { element } = context.typeOf(wide);
  const y = mapOf(
    context,
    [wide, mean, variance],
    ([value, m, v]) => div(sub(value, m), add(unary("sqrt", v), number(element, 1e-9))),
  );
  return [context.builder.cast(y, context.typeOf(x).element)];
}

/**
 * LRN: x / (bias + alpha / size * Σ x²)^beta over a window of `size` channels. The sum over the window, divided by
 * `size`, is an average pool along the channels that counts its padding.
 */
function importLrn(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const x = context.input(0);
  const { shape, element } = context.typeOf(x);
  const size = attributes.int("size");
  const [alpha, beta, bias] = [
    attributes.float("alpha", 1e-4),
    attributes.float("beta", 0.75),
    attributes.float("bias", 1),
  ];
  if (size < 1) return malformed(context, `size is ${size}`);
  const channels = staticExtent(
    context,
    shape[1] ?? malformed(context, "input has no channel axis"),
    "the channel axis",
  );
  const wide = widened(context, x);
  const squares = mapOf(context, [wide], ([value]) => mul(value, value));
  const rest = staticExtent(context, productOf(context, shape.slice(2)), "the spatial axes");
  const planes = reshaped(context, squares, [shape[0], 1, channels, rest]);
  const before = Math.floor((size - 1) / 2);
  const means = context.builder.add("pool", [planes], {
    kind: "average",
    kernel: [size, 1],
    strides: [1, 1],
    dilations: [1, 1],
    pads: [before, 0, size - 1 - before, 0],
    layout: "channelsFirst",
    outputExtents: [channels, rest],
    countPadding: true,
    norm: 2,
  });
  const work = workOf(element);
  const y = mapOf(context, [wide, reshaped(context, means, shape)], ([value, mean]) => {
    const inner = add(number(work, bias), mul(number(work, alpha), mean));
    return div(value, binary("pow", inner, number(work, beta)));
  });
  return [context.builder.cast(y, element)];
}

export const normalizationImporters: OpImporterTable = {
  BatchNormalization: importBatchNormalization,
  LayerNormalization: importLayerNormalization,
  RMSNormalization: importRmsNormalization,
  SimplifiedLayerNormalization: importRmsNormalization,
  InstanceNormalization: importInstanceNormalization,
  GroupNormalization: importGroupNormalization,
  LpNormalization: importLpNormalization,
  MeanVarianceNormalization: importMeanVarianceNormalization,
  LRN: importLrn,
};
