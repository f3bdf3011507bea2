/** onnxruntime's ops on codes (com.microsoft): decode, compute in f32, encode with static steps; products stay integers. */

import { binary, input } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporter, OpImporterTable } from "../op_importer.ts";
import { add, mul, number, sigmoid, whereNegative } from "./expressions.ts";
import { malformed } from "./faults.ts";
import { codesResult } from "./integer_products.ts";
import { mapOf, productOf, reshaped, transposed } from "./operands.ts";
import { bundle, codesOf, formatOfCodes, type Quantization, quantizationOf, quantized } from "./quantization.ts";
import { dynamicScheme } from "./quantized.ts";
import { meanOf } from "./reduction.ts";
import { equalShapes } from "../../../ir/extent.ts";

/** Steps that lie along `axis` where there are several. */
function along(axis: number) {
  return { axis, block: 0 };
}

/** The codes, scale and zero point at these inputs as one value, with its quantization. */
function operandAt(context: ImportContext, codesIndex: number, scaleIndex: number, zeroIndex: number, axis = 0) {
  const codes = context.input(codesIndex);
  const format = formatOfCodes(context, codes);
  const { shape } = context.typeOf(codes);
  const scale = context.input(scaleIndex);
  const quantization = quantizationOf(context, shape, format, scale, context.optional(zeroIndex), along(axis));
  return { value: bundle(context, codes, quantization), quantization };
}

function decodedAt(context: ImportContext, codesIndex: number): ValueName {
  const { value } = operandAt(context, codesIndex, codesIndex + 1, codesIndex + 2);
  return context.builder.add("dequantize", [value], {});
}

/** Encodes a float result by the scale and zero point at these inputs; codes like `like` where there is no zero point. */
function encoded(
  context: ImportContext,
  value: ValueName,
  scaleIndex: number,
  like: ValueName = context.input(0),
): ValueName {
  const { format, quantization } = outputAt(context, value, scaleIndex, like);
  return codesOf(context, quantized(context, value, quantization), format);
}

function outputAt(context: ImportContext, shapedLike: ValueName, scaleIndex: number, like: ValueName) {
  const zero = context.optional(scaleIndex + 1);
  const format = formatOfCodes(context, zero ?? like);
  const { shape } = context.typeOf(shapedLike);
  const quantization = quantizationOf(context, shape, format, context.input(scaleIndex), zero, along(0));
  return { format, quantization };
}

/** (A, scale, zero, B, scale, zero, scale, zero) -> codes. */
function binaryOp(operator: "add" | "mul"): OpImporter {
  return (context) => {
    const operands = [decodedAt(context, 0), decodedAt(context, 3)];
    const value = mapOf(context, operands, ([x, y]) => (operator === "add" ? add(x, y) : mul(x, y)));
    return [encoded(context, value, 6)];
  };
}

/** (X, scale, zero, scale, zero) -> codes. */
function unaryOp(body: (context: ImportContext, x: ValueName) => ValueName): OpImporter {
  return (context) => [encoded(context, body(context, decodedAt(context, 0)), 3)];
}

function globalAverage(context: ImportContext, x: ValueName): ValueName {
  const rank = context.typeOf(x).shape.length;
  const channelsLast = context.node.attributes.int("channels_last", 0) !== 0;
  const axes = Array.from({ length: Math.max(0, rank - 2) }, (_, index) => index + (channelsLast ? 1 : 2));
  return meanOf(context, x, { axes, keepAxes: true });
}

/** Softmax along an axis; with an `opset` below 13 the axes from there on count as one. */
function softmax(context: ImportContext, x: ValueName): ValueName {
  const { attributes } = context.node;
  const { shape } = context.typeOf(x);
  const axis = context.axis(attributes.int("axis", -1), shape.length);
  if (attributes.int("opset", 13) >= 13) return context.builder.add("softmax", [x], { axis });
  const flat = reshaped(context, x, [...shape.slice(0, axis), productOf(context, shape.slice(axis))]);
  return reshaped(context, context.builder.add("softmax", [flat], { axis }), shape);
}

/** (Y scale, Y zero, then triples of codes, scale and zero) -> codes. */
function importConcat(context: ImportContext): readonly ValueName[] {
  const count = Math.floor((context.node.inputs.length - 2) / 3);
  if (count < 1) return malformed(context, "there is nothing to join");
  const parts = Array.from({ length: count }, (_, index) => decodedAt(context, 2 + 3 * index));
  const axis = context.axis(context.node.attributes.int("axis"), context.typeOf(parts[0]).shape.length);
  const joined = parts.length === 1 ? parts[0] : context.builder.add("concat", parts, { axis });
  return [encoded(context, joined, 0, context.input(2))];
}

/** A bias of one entry per column, as a vector; undefined when it varies along the rows. */
function columnBias(context: ImportContext, bias: ValueName, columns: ValueName): ValueName | undefined {
  const { shape } = context.typeOf(bias);
  const width = context.typeOf(columns).shape.at(-1) ?? 1;
  const row = shape.length === 2 && shape[0] === 1 ? shape.slice(1) : shape;
  return equalShapes(row, [width]) ? reshaped(context, bias, [width]) : undefined;
}

/**
 * QGemm: alpha * A' * B' + C with C in steps of alpha * stepA * stepB; codes where an output scale is given, else f32.
 * alpha goes into the step of A.
 */
function importQGemm(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const alpha = attributes.float("alpha", 1);
  const transposeA = attributes.int("transA", 0) !== 0;
  const transposeB = attributes.int("transB", 0) !== 0;
  const a = transposeA ? transposed(context, context.input(0), [1, 0]) : context.input(0);
  const b = transposeB ? transposed(context, context.input(3), [1, 0]) : context.input(3);
  const scaleA = mapOf(context, [context.input(1)], ([step]) => mul(step, number("f32", alpha)));
  const typeA = context.typeOf(a);
  const stepsA = quantizationOf(
    context,
    typeA.shape,
    formatOfCodes(context, a),
    scaleA,
    context.optional(2),
    along(0),
  );
  const typeB = context.typeOf(b);
  const stepsB = quantizationOf(
    context,
    typeB.shape,
    formatOfCodes(context, b),
    context.input(4),
    context.optional(5),
    along(1),
  );
  const operands = [bundle(context, a, stepsA), bundle(context, b, stepsB)];
  const given = context.optional(6);
  const bias = given === undefined ? undefined : columnBias(context, given, b);
  const isSimple = given === undefined || bias !== undefined;
  const wantsCodes = context.optional(7) !== undefined;
  const sums = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;
  if (wantsCodes && isSimple) {
    const output = outputAt(context, a, 7, a);
    const codes = codesResult(context, stepsA, stepsB, output.quantization, typeB.shape[1]);
    if (codes !== undefined) {
      const inputs = [...operands, ...(bias === undefined ? [] : [bias]), ...codes.operands];
      const value = context.builder.add("matmul", inputs, {
        transposeB: false,
        hasBias: bias !== undefined,
        result: codes.result,
      });
      return [codesOf(context, value, output.format)];
    }
  }
  const product = context.builder.add("matmul", operands, sums);
  const sum = given === undefined ? product : addScaled(context, product, given, stepsA, stepsB);
  return [wantsCodes ? encoded(context, sum, 7) : sum];
}

/** product + bias * (stepA * stepB). */
function addScaled(
  context: ImportContext,
  product: ValueName,
  bias: ValueName,
  a: Quantization,
  b: Quantization,
): ValueName {
  const { builder } = context;
  const steps = builder.map(binary("mul", input(0), input(1)), [a.step, b.step]);
  const offset = mapOf(context, [builder.cast(bias, "f32"), steps], ([code, step]) => mul(code, step));
  return mapOf(context, [product, offset], ([x, y]) => add(x, y));
}

/** f32 product of codes with their steps, plus a float bias at `biasIndex`. */
function realProduct(context: ImportContext, a: ValueName, b: ValueName, biasIndex: number): ValueName {
  const bias = context.optional(biasIndex);
  const vector = bias === undefined ? undefined : columnBias(context, bias, b);
  const operands = vector === undefined ? [a, b] : [a, b, vector];
  const attributes = { transposeB: false, hasBias: vector !== undefined, result: { kind: "real" } } as const;
  const product = context.builder.add("matmul", operands, attributes);
  return bias === undefined || vector !== undefined ? product : mapOf(context, [product, bias], ([x, y]) => add(x, y));
}

/** (A, B codes, B scale, B zero, bias): A is quantized dynamically to uint8. */
function importDynamicQuantizeMatMul(context: ImportContext): readonly ValueName[] {
  const a = context.input(0);
  const scheme = dynamicScheme(context.typeOf(a).shape.length);
  const left = context.builder.add("quantize", [a], { scheme });
  const columns = context.typeOf(context.input(1)).shape.length - 1;
  return [realProduct(context, left, operandAt(context, 1, 2, 3, columns).value, 4)];
}

/** (A codes, B codes, A scale, B scale, A zero, B zero, bias). */
function importMatMulIntegerToFloat(context: ImportContext): readonly ValueName[] {
  const codes = context.input(0);
  const zero = context.optional(4);
  const owner = zero === undefined ? undefined : context.zeroOwner(zero);
  const made = context.producerOf(codes);
  const isOwn = owner !== undefined && made?.op === "toCodes" && made.inputs[0] === owner;
  const rows = context.typeOf(codes).shape.length - 2;
  const left = isOwn ? owner : operandAt(context, 0, 2, 4, rows).value;
  const columns = context.typeOf(context.input(1)).shape.length - 1;
  return [realProduct(context, left, operandAt(context, 1, 3, 5, columns).value, 6)];
}

/** (condition, X, scale, zero, Y, scale, zero, scale, zero) -> codes. */
function importWhere(context: ImportContext): readonly ValueName[] {
  const operands = [context.input(0), decodedAt(context, 1), decodedAt(context, 4)];
  const value = context.builder.map(
    { kind: "select", condition: input(0), x: input(1), y: input(2) },
    operands,
    { name: "where" },
  );
  return [encoded(context, value, 7, context.input(1))];
}

export const qlinearImporters: OpImporterTable = {
  "com.microsoft:QLinearAdd": binaryOp("add"),
  "com.microsoft:QLinearMul": binaryOp("mul"),
  "com.microsoft:QLinearGlobalAveragePool": unaryOp(globalAverage),
  "com.microsoft:QLinearSigmoid": unaryOp((context, x) => mapOf(context, [x], ([value]) => sigmoid(value, "f32"))),
  "com.microsoft:QLinearLeakyRelu": unaryOp((context, x) => {
    const alpha = number("f32", context.node.attributes.float("alpha", 0.01));
    return mapOf(context, [x], ([value]) => whereNegative(value, "f32", mul(alpha, value)));
  }),
  "com.microsoft:QLinearSoftmax": unaryOp(softmax),
  "com.microsoft:QLinearConcat": importConcat,
  "com.microsoft:QLinearWhere": importWhere,
  "com.microsoft:QGemm": importQGemm,
  "com.microsoft:DynamicQuantizeMatMul": importDynamicQuantizeMatMul,
  "com.microsoft:MatMulIntegerToFloat": importMatMulIntegerToFloat,
};
