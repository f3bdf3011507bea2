/** What every Keras layer computes, as IR nodes. */

import type { Diagnostic } from "../../../diagnostics.ts";
import { DiagnosticError, fail } from "../../../diagnostics.ts";
import { add, div, max, min, mul } from "../../onnx/ops/expressions.ts";
import type { FoldingBuilder } from "../../onnx/folding_builder.ts";
import { binary, type Expression, input, literal, select } from "../../../ir/expression.ts";
import { compare } from "../../../ir/expression.ts";
import { type Extent, isStatic, multiplyExtents } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { floatTensor } from "../../../ir/tensor.ts";
import { Fields } from "../../fields.ts";
import {
  activationExpression,
  convolution,
  depthwise,
  mean,
  pooled,
  reshaped,
  spatialAxes,
  transposed,
  type Window,
} from "../kernels.ts";
import type { LayerSpec } from "./model.ts";
import type { LayerWeights } from "./weights.ts";

export interface LayerContext {
  readonly builder: FoldingBuilder;
  readonly layer: LayerSpec;
  readonly fields: Fields;
  readonly weights: LayerWeights;
  readonly inputs: readonly ValueName[];
}

export type LayerImporter = (context: LayerContext) => ValueName;

/** Runs a layer's importer; faults of its configuration become one DiagnosticError. */
export function importLayer(
  builder: FoldingBuilder,
  layer: LayerSpec,
  weights: LayerWeights,
  inputs: readonly ValueName[],
): ValueName {
  const importer = layerTable[layer.className];
  const diagnostics: Diagnostic[] = [];
  const fields = new Fields(layer.config, layer.name, diagnostics, "Q0464");
  const output = importer({ builder, layer, fields, weights, inputs });
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  return output;
}

function unsupported(context: LayerContext, message: string): never {
  return fail("Q0464", `${context.layer.className} "${context.layer.name}": ${message}`, { node: context.layer.name });
}

function only(context: LayerContext): ValueName {
  if (context.inputs.length !== 1) return unsupported(context, `takes 1 operand, got ${context.inputs.length}`);
  return context.inputs[0];
}

function plainWeight(context: LayerContext, parameter: string): ValueName {
  return context.builder.constant(context.weights.plain(context.layer.name, parameter), { name: parameter });
}

function optionalBias(context: LayerContext): ValueName | undefined {
  return context.fields.boolean("use_bias", true) ? plainWeight(context, "bias") : undefined;
}

function activated(context: LayerContext, value: ValueName, key = "activation"): ValueName {
  return withActivation(context, value, context.fields.string(key, "linear"));
}

function withActivation(context: LayerContext, value: ValueName, name: string): ValueName {
  const { builder } = context;
  const plain = name.toLowerCase();
  if (plain === "linear") return value;
  const axis = builder.typeOf(value).shape.length - 1;
  if (plain === "softmax") return builder.add("softmax", [value], { axis });
  if (plain === "log_softmax" || plain === "logsoftmax") return logSoftmax(builder, value, axis);
  const expression = activationExpression(name, input(0));
  if (expression === undefined) return unsupported(context, `activation "${name}" is not supported`);
  return builder.map(expression, [value], { name: plain });
}

/** x - max - log Σ exp(x - max). */
function logSoftmax(builder: FoldingBuilder, x: ValueName, axis: number): ValueName {
  const largest = builder.add("reduce", [x], { kind: "max", axes: [axis], keepAxes: true });
  const shifted = builder.map(binary("sub", input(0), input(1)), [x, largest]);
  const powers = builder.map({ kind: "unary", operator: "exp", x: input(0) }, [shifted]);
  const sum = builder.add("reduce", [powers], { kind: "sum", axes: [axis], keepAxes: true });
  return builder.map(binary("sub", input(0), { kind: "unary", operator: "log", x: input(1) }), [shifted, sum]);
}

/** A number or a list of `count` numbers. */
function perAxis(context: LayerContext, key: string, count: number, fallback?: readonly number[]): readonly number[] {
  const value = context.layer.config[key];
  if (typeof value === "number") return new Array<number>(count).fill(context.fields.int(key, undefined, 1));
  const list = context.fields.numbers(key) ?? fallback;
  if (list === undefined || list.length !== count) return unsupported(context, `"${key}" wants ${count} numbers`);
  return list;
}

function readWindow(context: LayerContext, spatial: number, keys: { strides: string; dilations?: string }): Window {
  const format = context.fields.string("data_format", "channels_last");
  if (format !== "channels_last") return unsupported(context, `data_format "${format}" is not supported`);
  const ones = new Array<number>(spatial).fill(1);
  const padding = context.fields.string("padding", "valid");
  if (padding !== "same" && padding !== "valid") {
    return unsupported(context, `padding "${padding}" is not supported`);
  }
  return {
    strides: perAxis(context, keys.strides, spatial, ones),
    dilations: keys.dilations === undefined ? ones : perAxis(context, keys.dilations, spatial, ones),
    padding,
    layout: "channelsLast",
  };
}

function convolutionLayer(spatial: number): LayerImporter {
  return (context) => {
    const { builder, fields } = context;
    const window = readWindow(context, spatial, { strides: "strides", dilations: "dilation_rate" });
    const weights = plainWeight(context, "kernel");
    const groups = fields.int("groups", 1, 1);
    const bias = optionalBias(context);
    return activated(
      context,
      convolution(builder, only(context), weights, bias, window, groups),
    );
  };
}

function importDepthwise(context: LayerContext): ValueName {
  const window = readWindow(context, 2, { strides: "strides", dilations: "dilation_rate" });
  const weights = plainWeight(context, "depthwise_kernel");
  return activated(context, depthwise(context.builder, only(context), weights, optionalBias(context), window));
}

function importSeparable(context: LayerContext): ValueName {
  const { builder } = context;
  const window = readWindow(context, 2, { strides: "strides", dilations: "dilation_rate" });
  const each = depthwise(builder, only(context), plainWeight(context, "depthwise_kernel"), undefined, window);
  const pointwise = { ...window, strides: [1, 1], dilations: [1, 1], padding: "valid" } as const;
  const mixed = convolution(
    builder,
    each,
    plainWeight(context, "pointwise_kernel"),
    optionalBias(context),
    pointwise,
    1,
  );
  return activated(context, mixed);
}

function importDense(context: LayerContext): ValueName {
  const { builder, weights, layer } = context;
  const x = only(context);
  const { shape } = builder.typeOf(x);
  // A kernel that is stored as codes stays so: matmul takes it as it is.
  const kernel = builder.constant(weights.stored(layer.name, "kernel"), { name: "kernel" });
  const bias = optionalBias(context);
  const rows = shape.length === 1 ? reshaped(builder, x, [1, shape[0]]) : x;
  const y = builder.add("matmul", bias === undefined ? [rows, kernel] : [rows, kernel, bias], {
    transposeB: false,
    hasBias: bias !== undefined,
    result: { kind: "real" },
  });
  return activated(context, shape.length === 1 ? reshaped(builder, y, builder.typeOf(y).shape.slice(1)) : y);
}

/** (x - mean) * gamma / √(variance + epsilon) + beta as x * factor + shift, both made in double precision. */
function importBatchNormalization(context: LayerContext): ValueName {
  const { builder, fields, weights, layer } = context;
  const x = only(context);
  const rank = builder.typeOf(x).shape.length;
  const axes = Array.isArray(layer.config.axis) ? fields.numbers("axis") ?? [-1] : [fields.number("axis", -1)];
  const axis = axes.length === 1 ? (axes[0] + rank) % rank : -1;
  if (axis !== rank - 1) return unsupported(context, `normalizes axis ${axes}, wants the last`);
  const epsilon = fields.number("epsilon", 1e-3);
  const variance = Array.from(weights.plain(layer.name, "moving_variance").data, Number);
  const means = Array.from(weights.plain(layer.name, "moving_mean").data, Number);
  const gamma = fields.boolean("scale", true) ? Array.from(weights.plain(layer.name, "gamma").data, Number) : undefined;
  const beta = fields.boolean("center", true) ? Array.from(weights.plain(layer.name, "beta").data, Number) : undefined;
  const factor = variance.map((entry, index) => (gamma?.[index] ?? 1) / Math.sqrt(entry + epsilon));
  const shift = factor.map((entry, index) => (beta?.[index] ?? 0) - means[index] * entry);
  const operands = [x, ...[factor, shift].map((list) => builder.constant(floatTensor([list.length], list)))];
  return builder.map(add(mul(input(0), input(1)), input(2)), operands, { name: "batch_norm" });
}

function importLayerNormalization(context: LayerContext): ValueName {
  const { builder, fields, layer } = context;
  const x = only(context);
  const rank = builder.typeOf(x).shape.length;
  const axes = Array.isArray(layer.config.axis) ? fields.numbers("axis") ?? [-1] : [fields.number("axis", -1)];
  const first = Math.min(...axes.map((axis) => (axis + rank) % rank));
  if (rank - first !== axes.length) return unsupported(context, `normalizes axes ${axes}, wants the last ones`);
  const shape = builder.typeOf(x).shape.slice(first);
  if (!shape.every(isStatic)) return unsupported(context, "the normalized axes must be fixed");
  const ones = builder.constant(floatTensor(shape, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1)));
  const gain = fields.boolean("scale", true) ? plainWeight(context, "gamma") : ones;
  const bias = fields.boolean("center", true) ? [plainWeight(context, "beta")] : [];
  return builder.add("norm", [x, gain, ...bias], {
    kind: "layer",
    axis: first,
    epsilon: fields.number("epsilon", 1e-3),
  });
}

function poolLayer(kind: "max" | "average", spatial: number): LayerImporter {
  return (context) => {
    const size = perAxis(context, "pool_size", spatial, new Array<number>(spatial).fill(2));
    const strides = context.fields.has("strides") ? perAxis(context, "strides", spatial) : size;
    const window = { ...readWindow(context, spatial, { strides: "pool_size" }), strides };
    return pooled(context.builder, only(context), kind, size, window);
  };
}

function globalPoolLayer(kind: "max" | "average"): LayerImporter {
  return (context) => {
    const { builder, fields } = context;
    const x = only(context);
    const format = fields.string("data_format", "channels_last");
    if (format !== "channels_last") return unsupported(context, `data_format "${format}" is not supported`);
    const axes = spatialAxes("channelsLast", builder.typeOf(x).shape.length);
    const keepAxes = fields.boolean("keepdims", false);
    if (kind === "average") return mean(builder, x, axes, keepAxes);
    return builder.add("reduce", [x], { kind: "max", axes, keepAxes });
  };
}

function importFlatten(context: LayerContext): ValueName {
  const x = only(context);
  const { shape } = context.builder.typeOf(x);
  const size = product(context, shape.slice(1));
  return reshaped(context.builder, x, [shape[0], size]);
}

function product(context: LayerContext, extents: readonly Extent[]): Extent {
  return extents.reduce<Extent>(
    (size, extent) => multiplyExtents(size, extent) ?? unsupported(context, "merges two axes that are not fixed"),
    1,
  );
}

function importReshape(context: LayerContext): ValueName {
  const x = only(context);
  const { shape } = context.builder.typeOf(x);
  const target = context.fields.numbers("target_shape");
  if (target === undefined || !target.every(Number.isSafeInteger)) {
    return unsupported(context, "target_shape is missing");
  }
  const open = target.indexOf(-1);
  if (open < 0) return reshaped(context.builder, x, [shape[0], ...target]);
  const size = product(context, shape.slice(1));
  const known = target.reduce((sum, extent, index) => (index === open ? sum : sum * extent), 1);
  if (!isStatic(size) || known === 0 || size % known !== 0) {
    return unsupported(context, `target_shape [${target}] does not fit`);
  }
  return reshaped(context.builder, x, [
    shape[0],
    ...target.map((extent, axis) => (axis === open ? size / known : extent)),
  ]);
}

function importPermute(context: LayerContext): ValueName {
  const dims = context.fields.numbers("dims") ?? unsupported(context, "dims is missing");
  return transposed(context.builder, only(context), [0, ...dims]);
}

function merge(combine: (x: Expression, y: Expression) => Expression, average = false): LayerImporter {
  return ({ builder, inputs, layer }) => {
    if (inputs.length === 0) fail("Q0464", `${layer.className} "${layer.name}" has no operands`, { node: layer.name });
    const combined = inputs.map((_, index) => input(index)).reduce<Expression>(
      (sum, operand, index) => (index === 0 ? operand : combine(sum, operand)),
      input(0),
    );
    const expression = average ? div(combined, literal(inputs.length)) : combined;
    return builder.map(expression, inputs, { name: layer.className.toLowerCase() });
  };
}

function importConcatenate(context: LayerContext): ValueName {
  const { builder, inputs, fields } = context;
  if (inputs.length === 0) return unsupported(context, "has no operands");
  const rank = builder.typeOf(inputs[0]).shape.length;
  const axis = fields.number("axis", -1);
  return builder.add("concat", inputs, { axis: axis < 0 ? axis + rank : axis });
}

/** `padding` or `cropping` as begins and ends of the spatial axes: n, [n, n], or [[begin, end], [begin, end]]. */
function borders(context: LayerContext, key: string, spatial: number): readonly (readonly [number, number])[] {
  const value = context.layer.config[key];
  context.fields.has(key);
  const list: readonly unknown[] = Array.isArray(value) ? value : new Array<unknown>(spatial).fill(value);
  const pairs: readonly unknown[] = spatial === 1 && list.length === 2 ? [list] : list;
  const isCount = (entry: unknown): entry is number => Number.isSafeInteger(entry) && Number(entry) >= 0;
  const read = pairs.map((entry): readonly [number, number] | undefined => {
    if (isCount(entry)) return [entry, entry];
    if (!Array.isArray(entry) || entry.length !== 2) return undefined;
    const [begin, end] = entry;
    return isCount(begin) && isCount(end) ? [begin, end] : undefined;
  });
  const valid = read.filter((pair) => pair !== undefined);
  if (valid.length !== spatial || read.length !== spatial) return unsupported(context, `"${key}" is not understood`);
  return valid;
}

function borderLayer(key: "padding" | "cropping", spatial: number): LayerImporter {
  return (context) => {
    const sign = key === "padding" ? 1 : -1;
    const pairs = borders(context, key, spatial);
    return context.builder.add("pad", [only(context)], {
      before: [0, ...pairs.map(([begin]) => sign * begin), 0],
      after: [0, ...pairs.map(([, end]) => sign * end), 0],
      mode: "constant",
    });
  };
}

/** ReLU with a ceiling, a slope below the threshold, and the threshold itself. */
function importReLU(context: LayerContext): ValueName {
  const { fields, builder } = context;
  const ceiling = fields.has("max_value") ? fields.number("max_value", Infinity) : Infinity;
  const slope = fields.number("negative_slope", 0);
  const threshold = fields.number("threshold", 0);
  const x = input(0);
  if (threshold !== 0) return unsupported(context, "a threshold is not supported");
  const positive = slope === 0 ? max(x, literal(0)) : leaky(x, slope);
  return builder.map(ceiling === Infinity ? positive : min(positive, literal(ceiling)), [only(context)], {
    name: "relu",
  });
}

function leaky(x: Expression, slope: number): Expression {
  return select(compare("lt", x, literal(0)), mul(x, literal(Math.fround(slope))), x);
}

function importLeakyReLU(context: LayerContext): ValueName {
  const slope = context.fields.number(context.fields.has("negative_slope") ? "negative_slope" : "alpha", 0.3);
  return context.builder.map(leaky(input(0), slope), [only(context)], { name: "leaky_relu" });
}

function importPReLU(context: LayerContext): ValueName {
  const slopes = plainWeight(context, "alpha");
  const expression = select(compare("lt", input(0), literal(0)), mul(input(0), input(1)), input(0));
  return context.builder.map(expression, [only(context), slopes], { name: "prelu" });
}

function importElu(context: LayerContext): ValueName {
  if (context.fields.number("alpha", 1) !== 1) return unsupported(context, "alpha other than 1 is not supported");
  return withActivation(context, only(context), "elu");
}

function importSoftmax(context: LayerContext): ValueName {
  const x = only(context);
  const rank = context.builder.typeOf(x).shape.length;
  const axis = context.fields.number("axis", -1);
  return context.builder.add("softmax", [x], { axis: axis < 0 ? axis + rank : axis });
}

/** Nearest neighbours by repeating every row and column. */
function importUpSampling(context: LayerContext): ValueName {
  const { builder, fields } = context;
  const x = only(context);
  const interpolation = fields.string("interpolation", "nearest");
  if (interpolation !== "nearest") return unsupported(context, `interpolation "${interpolation}" is not supported`);
  const [vertical, horizontal] = perAxis(context, "size", 2, [2, 2]);
  const [batch, height, width, channels] = builder.typeOf(x).shape;
  const split = reshaped(builder, x, [batch, height, 1, width, 1, channels]);
  const repeated = builder.add("expand", [split], { shape: [batch, height, vertical, width, horizontal, channels] });
  const grown = [multiplyExtents(height, vertical), multiplyExtents(width, horizontal)];
  return reshaped(builder, repeated, [
    batch,
    ...grown.map((extent) => extent ?? unsupported(context, "extents")),
    channels,
  ]);
}

function importEmbedding(context: LayerContext): ValueName {
  const { builder, weights, layer } = context;
  const table = builder.constant(weights.stored(layer.name, "embeddings"), { name: "embeddings" });
  return builder.add("gather", [table, builder.cast(only(context), "i32")], { axis: 0 });
}

export const layerTable: Readonly<Record<string, LayerImporter>> = {
  Activation: (context) => activated(context, only(context)),
  ActivityRegularization: only,
  Add: merge(add),
  AlphaDropout: only,
  Average: merge(add, true),
  AveragePooling1D: poolLayer("average", 1),
  AveragePooling2D: poolLayer("average", 2),
  AveragePooling3D: poolLayer("average", 3),
  BatchNormalization: importBatchNormalization,
  Concatenate: importConcatenate,
  Conv1D: convolutionLayer(1),
  Conv2D: convolutionLayer(2),
  Conv3D: convolutionLayer(3),
  Cropping2D: borderLayer("cropping", 2),
  Dense: importDense,
  DepthwiseConv2D: importDepthwise,
  Dropout: only,
  ELU: importElu,
  Embedding: importEmbedding,
  Flatten: importFlatten,
  GaussianDropout: only,
  GaussianNoise: only,
  GlobalAveragePooling1D: globalPoolLayer("average"),
  GlobalAveragePooling2D: globalPoolLayer("average"),
  GlobalMaxPooling1D: globalPoolLayer("max"),
  GlobalMaxPooling2D: globalPoolLayer("max"),
  LayerNormalization: importLayerNormalization,
  LeakyReLU: importLeakyReLU,
  MaxPooling1D: poolLayer("max", 1),
  MaxPooling2D: poolLayer("max", 2),
  MaxPooling3D: poolLayer("max", 3),
  Maximum: merge(max),
  Minimum: merge(min),
  Multiply: merge(mul),
  PReLU: importPReLU,
  Permute: importPermute,
  ReLU: importReLU,
  Reshape: importReshape,
  SeparableConv2D: importSeparable,
  Softmax: importSoftmax,
  SpatialDropout1D: only,
  UpSampling2D: importUpSampling,
  ZeroPadding1D: borderLayer("padding", 1),
  ZeroPadding2D: borderLayer("padding", 2),
};
