/** onnxruntime's fused float ops (com.microsoft), taken apart again. */

import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, gelu, geluTanh, mul, number, sigmoid } from "./expressions.ts";
import { unsupported } from "./faults.ts";
import { matmul } from "./linear.ts";
import { normNode } from "./normalization.ts";
import { floatMap, mapOf, transposed } from "./operands.ts";
import { asMatrices } from "./integer_products.ts";

/** The value with its last two axes swapped. */
function swapped(context: ImportContext, value: ValueName): ValueName {
  const rank = context.typeOf(value).shape.length;
  if (rank < 2) return value;
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  return transposed(context, value, [...axes.slice(0, rank - 2), rank - 1, rank - 2]);
}

/** alpha * A' * B'. */
function importFusedMatMul(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const alpha = attributes.float("alpha", 1);
  const [transposeA, transposeB] = ["transA", "transB"].map((name) => attributes.int(name, 0) !== 0);
  if (["transBatchA", "transBatchB"].some((name) => attributes.int(name, 0) !== 0)) {
    unsupported(context, "FusedMatMul with transposed batches");
  }
  const a = transposeA ? swapped(context, context.input(0)) : context.input(0);
  const product = asMatrices(
    context,
    a,
    context.input(1),
    (rows, columns) =>
      matmul(context, rows, columns, { transposeB: transposeB && context.typeOf(context.input(1)).shape.length > 1 }),
  );
  if (alpha === 1) return [product];
  return [floatMap(context, [product], ([x], element) => mul(x, number(element, alpha)))];
}

function importFastGelu(context: ImportContext): readonly ValueName[] {
  const bias = context.optional(1);
  const values = bias === undefined ? [context.input(0)] : [context.input(0), bias];
  return [
    floatMap(context, values, ([x, offset], element) => geluTanh(offset === undefined ? x : add(x, offset), element)),
  ];
}

function importBiasGelu(context: ImportContext): readonly ValueName[] {
  const values = [context.input(0), context.input(1)];
  return [floatMap(context, values, ([x, offset], element) => gelu(add(x, offset), element))];
}

/** x * sigmoid(alpha * x). */
function importQuickGelu(context: ImportContext): readonly ValueName[] {
  const alpha = context.node.attributes.float("alpha", 1.702);
  return [
    floatMap(context, [context.input(0)], ([x], element) => mul(x, sigmoid(mul(number(element, alpha), x), element))),
  ];
}

/** (input, skip, gain, bias?, offset?): the norm of the sum; output 3 is the sum itself. */
function importSkipNorm(kind: "layer" | "rms") {
  return (context: ImportContext): readonly ValueName[] => {
    const { attributes, outputUsed } = context.node;
    if (outputUsed[1] === true || outputUsed[2] === true) unsupported(context, "the mean and variance as outputs");
    const offset = context.optional(kind === "layer" ? 4 : 3);
    const values = [context.input(0), context.input(1), ...(offset === undefined ? [] : [offset])];
    const sum = mapOf(context, values, ([x, ...rest]) => rest.reduce(add, x));
    const epsilon = attributes.float("epsilon", kind === "layer" ? 1e-12 : 1e-5);
    const axis = context.typeOf(sum).shape.length - 1;
    const bias = kind === "layer" ? context.optional(3) : undefined;
    const y = normNode(context, kind, sum, axis, epsilon, context.input(2), bias);
    return [y, y, y, sum].slice(0, Math.max(1, outputUsed.length));
  };
}

export const contribImporters: OpImporterTable = {
  "com.microsoft:FusedMatMul": importFusedMatMul,
  "com.microsoft:Gelu": (context) => [floatMap(context, [context.input(0)], ([x], element) => gelu(x, element))],
  "com.microsoft:FastGelu": importFastGelu,
  "com.microsoft:BiasGelu": importBiasGelu,
  "com.microsoft:QuickGelu": importQuickGelu,
  "com.microsoft:SkipLayerNormalization": importSkipNorm("layer"),
  "com.microsoft:SkipSimplifiedLayerNormalization": importSkipNorm("rms"),
};
