/** Convolutions, pools and normalizations of TensorFlow.js, whose tensors keep their channels last, as IR nodes. */

import {
  add,
  div,
  exp,
  max,
  min,
  mul,
  number,
  sigmoid,
  softplus,
  sub,
  whereNegative,
} from "../onnx/ops/expressions.ts";
import type { GraphBuilder } from "../../ir/build.ts";
import { type Expression, input, literal, unary } from "../../ir/expression.ts";
import { type Extent, isStatic, printExtent } from "../../ir/extent.ts";
import type { ChannelLayout, OpAttributes, ValueName } from "../../ir/node.ts";
import { TypeFault, windowExtent } from "../../ir/type_rules.ts";

/** `same`: as many outputs as inputs over strides, padding split with the odd one behind. Explicit: begins, then ends. */
export type Padding = "same" | "valid" | readonly number[];

export interface Window {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly padding: Padding;
  readonly layout: ChannelLayout;
}

/** Axes of a tensor of this rank that windows move along. */
export function spatialAxes(layout: ChannelLayout, rank: number): readonly number[] {
  return Array.from({ length: rank - 2 }, (_, index) => index + (layout === "channelsFirst" ? 2 : 1));
}

/** The value with its axes permuted; itself for the identity. */
export function transposed(builder: GraphBuilder, value: ValueName, permutation: readonly number[]): ValueName {
  if (permutation.every((axis, index) => axis === index)) return value;
  return builder.add("transpose", [value], { permutation });
}

export function reshaped(builder: GraphBuilder, value: ValueName, shape: readonly Extent[]): ValueName {
  return builder.add("reshape", [value], { shape });
}

/** x * weights[...kernel, C/groups, M] (+ bias[M]). */
export function convolution(
  builder: GraphBuilder,
  x: ValueName,
  weights: ValueName,
  bias: ValueName | undefined,
  window: Window,
  groups: number,
): ValueName {
  const rank = builder.typeOf(weights).shape.length;
  const kernelAxes = Array.from({ length: rank - 2 }, (_, axis) => axis);
  const permutation = window.layout === "channelsLast"
    ? [rank - 1, ...kernelAxes, rank - 2]
    : [rank - 1, rank - 2, ...kernelAxes];
  const ordered = transposed(builder, weights, permutation);
  return convolve(builder, x, ordered, bias, window, builder.typeOf(weights).shape.slice(0, -2), groups);
}

/** Every channel on its own: weights[...kernel, C, multiplier], output channel c * multiplier + m. */
export function depthwise(
  builder: GraphBuilder,
  x: ValueName,
  weights: ValueName,
  bias: ValueName | undefined,
  window: Window,
): ValueName {
  const { shape } = builder.typeOf(weights);
  const kernel = shape.slice(0, -2);
  const [channels, multiplier] = shape.slice(-2);
  if (!isStatic(channels) || !isStatic(multiplier)) throw new TypeFault("depthwise weights have a symbolic extent");
  const outputs = channels * multiplier;
  const flat = reshaped(builder, weights, [...kernel, outputs]);
  const rank = kernel.length + 1;
  const ordered = transposed(builder, flat, [rank - 1, ...kernel.map((_, axis) => axis)]);
  const shaped = reshaped(
    builder,
    ordered,
    window.layout === "channelsLast" ? [outputs, ...kernel, 1] : [outputs, 1, ...kernel],
  );
  return convolve(builder, x, shaped, bias, window, kernel, channels);
}

function convolve(
  builder: GraphBuilder,
  x: ValueName,
  weights: ValueName,
  bias: ValueName | undefined,
  window: Window,
  kernel: readonly Extent[],
  groups: number,
): ValueName {
  const extents = kernel.map((extent) => staticExtent(extent, "kernel extent"));
  return builder.add("conv", bias === undefined ? [x, weights] : [x, weights, bias], {
    ...windowAttributes(builder, x, window, extents),
    groups,
    hasBias: bias !== undefined,
    result: { kind: "real" },
  });
}

/** Maximum or average over windows; the average leaves padding out. */
export function pooled(
  builder: GraphBuilder,
  x: ValueName,
  kind: "max" | "average",
  kernel: readonly number[],
  window: Window,
): ValueName {
  const { shape } = builder.typeOf(x);
  const attributes = windowAttributes(builder, x, window, kernel);
  const { strides, dilations, pads } = attributes;
  const outputExtents = spatialAxes(window.layout, shape.length).map((axis, index) =>
    staticExtent(
      windowExtent(
        shape[axis],
        kernel[index],
        strides[index],
        dilations[index],
        pads[index],
        pads[index + kernel.length],
      ),
      "pooled extent",
    )
  );
  return builder.add("pool", [x], { ...attributes, kind, kernel, outputExtents, countPadding: false, norm: 2 });
}

function windowAttributes(
  builder: GraphBuilder,
  x: ValueName,
  window: Window,
  kernel: readonly number[],
): Pick<OpAttributes["pool"], "strides" | "dilations" | "pads" | "layout"> {
  const { shape } = builder.typeOf(x);
  const { strides, dilations, padding, layout } = window;
  const axes = spatialAxes(layout, shape.length);
  if (kernel.length !== axes.length || strides.length !== axes.length || dilations.length !== axes.length) {
    throw new TypeFault(`kernel, strides and dilations must have ${axes.length} entries`);
  }
  const positive = [...kernel, ...strides, ...dilations].every((entry) => Number.isSafeInteger(entry) && entry > 0);
  if (!positive) {
    throw new TypeFault(`kernel [${kernel}], strides [${strides}] and dilations [${dilations}] must be positive`);
  }
  return { strides, dilations, layout, pads: padsOf(shape, axes, kernel, window, padding) };
}

function padsOf(
  shape: readonly Extent[],
  axes: readonly number[],
  kernel: readonly number[],
  window: Window,
  padding: Padding,
): readonly number[] {
  if (padding === "valid") return new Array<number>(2 * axes.length).fill(0);
  if (padding !== "same") {
    if (padding.length !== 2 * axes.length) throw new TypeFault(`padding has ${padding.length} entries`);
    return padding;
  }
  const totals = axes.map((axis, index) =>
    samePadding(shape[axis], kernel[index], window.strides[index], window.dilations[index])
  );
  return [...totals.map((total) => Math.floor(total / 2)), ...totals.map((total) => Math.ceil(total / 2))];
}

/** Padding in all so that ceil(extent / stride) windows fit. */
function samePadding(extent: Extent, kernel: number, stride: number, dilation: number): number {
  const reach = dilation * (kernel - 1) + 1;
  if (!isStatic(extent)) {
    if (stride === 1) return reach - 1;
    throw new TypeFault(`strided windows with "same" padding need a fixed extent, got ${printExtent(extent)}`);
  }
  return Math.max(0, (Math.ceil(extent / stride) - 1) * stride + reach - extent);
}

export function staticExtent(extent: Extent, what: string): number {
  if (isStatic(extent)) return extent;
  throw new TypeFault(`${what} must be fixed, got ${printExtent(extent)}`);
}

/** Σ x / count over axes; the count must be known. */
export function mean(builder: GraphBuilder, x: ValueName, axes: readonly number[], keepAxes: boolean): ValueName {
  const { shape } = builder.typeOf(x);
  const count = axes.reduce((size, axis) => size * staticExtent(shape[axis], "averaged extent"), 1);
  const sum = builder.add("reduce", [x], { kind: "sum", axes, keepAxes });
  return builder.map(div(input(0), literal(count)), [sum], { name: "mean" });
}

/** x - max - log Σ exp(x - max) along one axis. */
export function logSoftmax(builder: GraphBuilder, x: ValueName, axis: number): ValueName {
  const largest = builder.add("reduce", [x], { kind: "max", axes: [axis], keepAxes: true });
  const shifted = builder.map(sub(input(0), input(1)), [x, largest]);
  const sum = builder.add("reduce", [builder.map(exp(input(0)), [shifted])], {
    kind: "sum",
    axes: [axis],
    keepAxes: true,
  });
  return builder.map(sub(input(0), unary("log", input(1))), [shifted, sum], { name: "log_softmax" });
}

/** Activations by the names that Keras and the fused ops use; undefined for an unknown one. */
export function activationExpression(name: string, x: Expression): Expression | undefined {
  switch (name.toLowerCase().replace(/_/g, "")) {
    case "relu":
      return max(x, literal(0));
    case "relu6":
      return min(max(x, literal(0)), literal(6));
    case "sigmoid":
      return sigmoid(x, "f32");
    case "tanh":
      return unary("tanh", x);
    case "elu":
      return whereNegative(x, "f32", add(exp(x), literal(-1)));
    case "selu":
      return selu(x);
    case "softplus":
      return softplus(x, "f32");
    case "softsign":
      return div(x, add(literal(1), unary("abs", x)));
    case "swish":
    case "silu":
      return mul(x, sigmoid(x, "f32"));
    case "mish":
      return mul(x, unary("tanh", softplus(x, "f32")));
    case "hardsigmoid":
      return min(max(add(mul(x, number("f32", 0.2)), literal(0.5)), literal(0)), literal(1));
    case "exponential":
      return exp(x);
    default:
      return undefined;
  }
}

/** Klambauer et al. 2017: scale * (x or alpha (exp x - 1)). */
function selu(x: Expression): Expression {
  const alpha = number("f32", 1.6732632423543772);
  const scale = number("f32", 1.0507009873554805);
  return mul(scale, whereNegative(x, "f32", mul(alpha, add(exp(x), literal(-1)))));
}
