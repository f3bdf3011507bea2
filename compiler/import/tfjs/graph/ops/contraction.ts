/** Matrix products, convolutions, pools and normalizations of TensorFlow graphs. */

import type { ValueName } from "../../../../ir/node.ts";
import { add, mul, whereNegative } from "../../../onnx/ops/expressions.ts";
import { input, literal } from "../../../../ir/expression.ts";
import { floatTensor } from "../../../../ir/tensor.ts";
import type { ChannelLayout } from "../../../../ir/node.ts";
import {
  activationExpression,
  convolution,
  depthwise,
  type Padding,
  pooled,
  spatialAxes,
  transposed,
  type Window,
} from "../../kernels.ts";
import { isStatic } from "../../../../ir/extent.ts";
import type { TfContext, TfImporterTable } from "../context.ts";
import { tensorValue, type TfValue } from "../value.ts";

/** What follows a fused contraction: bias, then an activation. Operands of both stand behind the first two inputs. */
interface Epilogue {
  readonly bias: ValueName | undefined;
  readonly apply: (value: ValueName) => ValueName;
}

function readEpilogue(context: TfContext): Epilogue {
  const fused = context.attributes.texts("fused_ops");
  const [first, second, ...more] = fused;
  if (fused.length === 0) return { bias: undefined, apply: (value) => value };
  if (first !== "BiasAdd" || more.length > 0) return context.fail(`fused ops ${fused.join(", ")} are not supported`);
  return {
    bias: context.tensor(2),
    apply: (value) => (second === undefined ? value : fusedActivation(context, second, value)),
  };
}

function fusedActivation(context: TfContext, name: string, value: ValueName): ValueName {
  if (name === "Prelu") {
    const expression = whereNegative(input(0), "f32", mul(input(0), input(1)));
    return context.builder.map(expression, [value, context.tensor(3)], { name: "prelu" });
  }
  if (name === "LeakyRelu") {
    const slope = Math.fround(context.attributes.float("leakyrelu_alpha", 0.2));
    return context.builder.map(whereNegative(input(0), "f32", mul(input(0), literal(slope))), [value], {
      name: "leaky_relu",
    });
  }
  const expression = activationExpression(name, input(0)) ?? context.fail(`fused op ${name} is not supported`);
  return context.builder.map(expression, [value], { name: name.toLowerCase() });
}

function layoutOf(context: TfContext): ChannelLayout {
  const format = context.attributes.text("data_format", "NHWC");
  if (format === "NHWC" || format === "NDHWC") return "channelsLast";
  return format === "NCHW" ? "channelsFirst" : context.fail(`data_format ${format} is not supported`);
}

/** The spatial entries of a list with one entry per axis of the input. */
function spatial(context: TfContext, name: string, layout: ChannelLayout, rank: number): readonly number[] {
  const list = context.attributes.ints(name);
  const full = list.length === 0 ? new Array<number>(rank).fill(1) : list;
  if (full.length !== rank) return context.fail(`${name} has ${list.length} entries, wants ${rank}`);
  return spatialAxes(layout, rank).map((axis) => full[axis]);
}

function windowOf(context: TfContext, rank: number): Window {
  const layout = layoutOf(context);
  return {
    layout,
    strides: spatial(context, "strides", layout, rank),
    dilations: spatial(context, "dilations", layout, rank),
    padding: paddingOf(context, layout, rank),
  };
}

function paddingOf(context: TfContext, layout: ChannelLayout, rank: number): Padding {
  const name = context.attributes.text("padding", "VALID");
  if (name === "SAME") return "same";
  if (name === "VALID") return "valid";
  const pairs = context.attributes.ints("explicit_paddings");
  if (name !== "EXPLICIT" || pairs.length !== 2 * rank) return context.fail(`padding ${name} is not supported`);
  const axes = spatialAxes(layout, rank);
  return [...axes.map((axis) => pairs[2 * axis]), ...axes.map((axis) => pairs[2 * axis + 1])];
}

function importConv(context: TfContext): readonly TfValue[] {
  const [x, weights] = [context.tensor(0), context.tensor(1)];
  const { shape } = context.typeOf(x);
  const window = windowOf(context, shape.length);
  const { bias, apply } = readEpilogue(context);
  const channels = shape[window.layout === "channelsLast" ? shape.length - 1 : 1];
  const perGroup = context.typeOf(weights).shape.at(-2);
  const groups = isStatic(channels) && typeof perGroup === "number" && perGroup > 0 ? channels / perGroup : NaN;
  if (!Number.isInteger(groups)) return context.fail("input channels are not a multiple of the weights' channels");
  return [tensorValue(apply(convolution(context.builder, x, weights, bias, window, groups)))];
}

function importDepthwise(context: TfContext): readonly TfValue[] {
  const [x, weights] = [context.tensor(0), context.tensor(1)];
  const window = windowOf(context, context.typeOf(x).shape.length);
  const { bias, apply } = readEpilogue(context);
  return [tensorValue(apply(depthwise(context.builder, x, weights, bias, window)))];
}

function importPool(kind: "max" | "average") {
  return (context: TfContext): readonly TfValue[] => {
    const x = context.tensor(0);
    const rank = context.typeOf(x).shape.length;
    const window = windowOf(context, rank);
    const kernel = spatial(context, "ksize", window.layout, rank);
    return [tensorValue(pooled(context.builder, x, kind, kernel, window))];
  };
}

/** x * w, with either operand transposed first; stored codes of w are kept. */
function product(context: TfContext, transposeA: boolean, transposeB: boolean): ValueName {
  const { builder } = context;
  const a = context.tensor(0);
  const rank = context.typeOf(a).shape.length;
  const swap = [...Array.from({ length: rank - 2 }, (_, axis) => axis), rank - 1, rank - 2];
  const left = transposeA ? transposed(builder, a, swap) : a;
  const { bias, apply } = readEpilogue(context);
  const operands = [left, context.stored(1), ...(bias === undefined ? [] : [bias])];
  return apply(builder.add("matmul", operands, { transposeB, hasBias: bias !== undefined, result: { kind: "real" } }));
}

function importMatMul(context: TfContext): readonly TfValue[] {
  const { attributes } = context;
  return [
    tensorValue(product(context, attributes.boolean("transpose_a", false), attributes.boolean("transpose_b", false))),
  ];
}

function importBatchMatMul(context: TfContext): readonly TfValue[] {
  const { attributes } = context;
  return [tensorValue(product(context, attributes.boolean("adj_x", false), attributes.boolean("adj_y", false)))];
}

/** Inference form: (x - mean) * scale / √(variance + epsilon) + offset as x * factor + shift, made in double precision. */
function importBatchNorm(context: TfContext): readonly TfValue[] {
  const { builder, attributes } = context;
  const x = context.tensor(0);
  const [scale, offset, mean, variance] = [1, 2, 3, 4].map((index) =>
    Array.from(context.constant(index)?.data ?? context.fail(`input ${index} must be a constant`), Number)
  );
  if (attributes.boolean("is_training", false)) return context.fail("training mode is not supported");
  const epsilon = attributes.float("epsilon", 1e-3);
  const factor = variance.map((entry, index) => scale[index] / Math.sqrt(entry + epsilon));
  const shift = factor.map((entry, index) => offset[index] - mean[index] * entry);
  const rank = context.typeOf(x).shape.length;
  const tail = layoutOf(context) === "channelsFirst" ? new Array<number>(rank - 2).fill(1) : [];
  const constants = [factor, shift].map((list) => builder.constant(floatTensor([list.length, ...tail], list)));
  return [tensorValue(builder.map(add(mul(input(0), input(1)), input(2)), [x, ...constants], { name: "batch_norm" }))];
}

export const contractionOps: TfImporterTable = {
  AvgPool: importPool("average"),
  BatchMatMul: importBatchMatMul,
  BatchMatMulV2: importBatchMatMul,
  Conv2D: importConv,
  DepthwiseConv2d: importDepthwise,
  DepthwiseConv2dNative: importDepthwise,
  FusedBatchNorm: importBatchNorm,
  FusedBatchNormV2: importBatchNorm,
  FusedBatchNormV3: importBatchNorm,
  FusedDepthwiseConv2dNative: importDepthwise,
  MatMul: importMatMul,
  MaxPool: importPool("max"),
  _FusedConv2D: importConv,
  _FusedMatMul: importMatMul,
};
