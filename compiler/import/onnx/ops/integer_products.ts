/** Matrix products and convolutions of codes: MatMulInteger, ConvInteger, QLinearMatMul, QLinearConv. */

import { intRange, type NumberFormat } from "../../../numeric/number_format.ts";
import { binary, cast, input } from "../../../ir/expression.ts";
import type { Extent } from "../../../ir/extent.ts";
import type { ContractionResult, ValueName } from "../../../ir/node.ts";
import { floatTensor } from "../../../ir/tensor.ts";
import { broadcastShapes } from "../../../ir/type_rules.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { kernelOf } from "./convolution.ts";
import { malformed } from "./faults.ts";
import { numbersOf, plainConstant, reshaped } from "./operands.ts";
import {
  bundle,
  codesOf,
  formatOfCodes,
  markCodes,
  type Quantization,
  quantizationOf,
  quantized,
} from "./quantization.ts";
import { outputMultiplier } from "../step_operands.ts";
import { windowOf } from "./window.ts";

/** Codes whose step does not matter, as a quantized value; the zero point is a scalar or one per index of `axis`. */
export function unitOperand(
  context: ImportContext,
  codes: ValueName,
  zeroPoint: ValueName | undefined,
  axis: number,
): ValueName {
  const made = context.producerOf(codes);
  const owner = zeroPoint === undefined ? undefined : context.zeroOwner(zeroPoint);
  if (owner !== undefined && made?.op === "toCodes" && made.inputs[0] === owner) return owner;
  const { shape } = context.typeOf(codes);
  const steps = zeroPoint === undefined ? [] : context.typeOf(zeroPoint).shape;
  const isOne = steps.every((extent) => extent === 1);
  const one = context.builder.scalar(1);
  const scale = isOne ? one : context.builder.add("expand", [one], { shape: steps });
  const granularity = { axis, block: 0 };
  const quantization = quantizationOf(context, shape, formatOfCodes(context, codes), scale, zeroPoint, granularity);
  return bundle(context, codes, quantization);
}

/** Makes operands of rank 2 or more of vectors, and takes the added axes off the product again. */
export function asMatrices(
  context: ImportContext,
  a: ValueName,
  b: ValueName,
  product: (rows: ValueName, columns: ValueName) => ValueName,
): ValueName {
  const [left, right] = [context.typeOf(a).shape, context.typeOf(b).shape];
  if (left.length === 0 || right.length === 0) return malformed(context, "the product of a scalar");
  const rows = left.length === 1 ? reshaped(context, a, [1, left[0]]) : a;
  const columns = right.length === 1 ? reshaped(context, b, [right[0], 1]) : b;
  const value = product(rows, columns);
  const { shape } = context.typeOf(value);
  const kept = shape.filter((_, axis) =>
    !(axis === shape.length - 2 && left.length === 1) && !(axis === shape.length - 1 && right.length === 1)
  );
  return reshaped(context, value, kept);
}

function importMatMulInteger(context: ImportContext): readonly ValueName[] {
  const product = asMatrices(context, context.input(0), context.input(1), (a, b) => {
    const left = unitOperand(context, a, context.optional(2), context.typeOf(a).shape.length - 2);
    const right = unitOperand(context, b, context.optional(3), context.typeOf(b).shape.length - 1);
    const attributes = { transposeB: false, hasBias: false, result: { kind: "accumulator" } } as const;
    return context.builder.add("matmul", [left, right], attributes);
  });
  return [product];
}

/** The attributes of a conv of these operands, without bias and result. */
function convAttributes(context: ImportContext, x: ValueName, weights: ValueName) {
  const { shape } = context.typeOf(x);
  const kernel = kernelOf(context, weights);
  if (kernel.length < 1 || shape.length !== kernel.length + 2) {
    return malformed(context, `input has rank ${shape.length}, weights have rank ${kernel.length + 2}`);
  }
  const { strides, dilations, pads } = windowOf(context, shape.slice(2), kernel, { dilates: true });
  const groups = context.node.attributes.int("group", 1);
  return { strides, dilations, pads, layout: "channelsFirst" as const, groups };
}

function importConvInteger(context: ImportContext): readonly ValueName[] {
  const [x, weights] = [context.input(0), context.input(1)];
  const attributes = convAttributes(context, x, weights);
  const left = unitOperand(context, x, context.optional(2), 1);
  const right = unitOperand(context, weights, context.optional(3), 0);
  return [
    context.builder.add("conv", [left, right], { ...attributes, hasBias: false, result: { kind: "accumulator" } }),
  ];
}

/** A product that yields codes directly: its result attribute and the operands that follow the bias. */
export interface CodesResult {
  readonly result: ContractionResult;
  readonly operands: readonly ValueName[];
}

/**
 * The result of a product of two static operands in the steps of `output`. Undefined where it has no such form: steps known only at run time, several for the rows of `a` or
 * along the inner axis, or formats that are not integers.
 */
export function codesResult(
  context: ImportContext,
  a: Quantization,
  b: Quantization,
  output: Quantization,
  columns: Extent,
): CodesResult | undefined {
  const formats: readonly NumberFormat[] = [a.scheme.format, b.scheme.format, output.scheme.format];
  const format = output.scheme.format;
  if (format.kind !== "int" || formats.some(({ kind }) => kind !== "int")) return undefined;
  const steps = [a.step, b.step, output.step].map((value) => plainConstant(context, value)?.data);
  const [stepA, stepB, stepY] = steps.map((data) => (data === undefined ? [] : Array.from(data, Number)));
  if (stepA.length !== 1 || stepY.length !== 1 || (stepB.length !== 1 && stepB.length !== columns)) return undefined;
  const multipliers = stepB.map((step) => outputMultiplier(stepA[0] * step, stepY[0]));
  const shape = multipliers.length === 1 ? [] : [multipliers.length];
  const { min, max } = intRange(format);
  const multiplier = context.builder.constant(floatTensor(shape, multipliers));
  return {
    result: { kind: "quantized", scheme: output.scheme, low: min, high: max },
    operands: [multiplier, output.step, ...(output.zero === undefined ? [] : [output.zero])],
  };
}

function importQLinearMatMul(context: ImportContext): readonly ValueName[] {
  const format = formatOfCodes(context, context.input(7));
  const product = asMatrices(context, context.input(0), context.input(3), (a, b) => {
    const [left, right] = [context.typeOf(a).shape, context.typeOf(b).shape];
    const rows = { axis: left.length - 2, block: 0 };
    const columns = { axis: right.length - 1, block: 0 };
    const stepsA = quantizationOf(context, left, formatOfCodes(context, a), context.input(1), context.input(2), rows);
    const stepsB = quantizationOf(
      context,
      right,
      formatOfCodes(context, b),
      context.input(4),
      context.input(5),
      columns,
    );
    const batch = broadcastShapes(left.slice(0, -2), right.slice(0, -2));
    const shape = [...batch, left[left.length - 2], right[right.length - 1]];
    const output = quantizationOf(context, shape, format, context.input(6), context.input(7), {
      axis: shape.length - 2,
      block: 0,
    });
    const operands = [bundle(context, a, stepsA), bundle(context, b, stepsB)];
    const codes = codesResult(context, stepsA, stepsB, output, right[right.length - 1]);
    const attributes = { transposeB: false, hasBias: false, result: codes?.result ?? { kind: "real" as const } };
    const value = context.builder.add("matmul", [...operands, ...codes?.operands ?? []], attributes);
    return codesOf(context, codes === undefined ? quantized(context, value, output) : value, format);
  });
  return [markCodes(context, product, format)];
}

function importQLinearConv(context: ImportContext): readonly ValueName[] {
  const [x, weights, bias] = [context.input(0), context.input(3), context.optional(8)];
  const format = formatOfCodes(context, context.input(7));
  const attributes = convAttributes(context, x, weights);
  const [left, right] = [context.typeOf(x).shape, context.typeOf(weights).shape];
  const whole = { axis: 1, block: 0 };
  const stepsX = quantizationOf(context, left, formatOfCodes(context, x), context.input(1), context.input(2), whole);
  const stepsW = quantizationOf(context, right, formatOfCodes(context, weights), context.input(4), context.input(5), {
    axis: 0,
    block: 0,
  });
  const output = quantizationOf(context, left, format, context.input(6), context.input(7), whole);
  const operands = [bundle(context, x, stepsX), bundle(context, weights, stepsW)];
  const codes = codesResult(context, stepsX, stepsW, output, right[0]);
  const hasBias = bias !== undefined;
  if (codes !== undefined) {
    const inputs = [...operands, ...(bias === undefined ? [] : [bias]), ...codes.operands];
    const value = context.builder.add("conv", inputs, { ...attributes, hasBias, result: codes.result });
    return [codesOf(context, value, format)];
  }
  const real = bias === undefined ? [] : [realBias(context, bias, stepsX.step, stepsW.step)];
  const sum = context.builder.add("conv", [...operands, ...real], { ...attributes, hasBias, result: { kind: "real" } });
  return [codesOf(context, quantized(context, sum, output), format)];
}

/** A bias in steps of stepX * stepW as f32. */
function realBias(context: ImportContext, bias: ValueName, stepX: ValueName, stepW: ValueName): ValueName {
  const channels = context.typeOf(bias).shape;
  const flat = [stepX, stepW].map((step) => {
    const size = numbersOf(plainConstant(context, step) ?? malformed(context, "scales must be constants")).length;
    return reshaped(context, step, size === 1 ? [] : channels);
  });
  const product = binary("mul", input(1), input(2));
  return context.builder.map(binary("mul", cast("f32", input(0)), product), [bias, ...flat]);
}

export const integerProductImporters: OpImporterTable = {
  MatMulInteger: importMatMulInteger,
  ConvInteger: importConvInteger,
  QLinearMatMul: importQLinearMatMul,
  QLinearConv: importQLinearConv,
};
