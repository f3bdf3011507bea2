/** onnxruntime's fused float ops (com.microsoft), taken apart again. */

import { type Extent, printExtent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, gelu, geluTanh, mul, number, sigmoid } from "./expressions.ts";
import { malformed, unsupported } from "./faults.ts";
import { matmul } from "./linear.ts";
import { normNode } from "./normalization.ts";
import { floatMap, iota, mapOf, reshaped, staticExtent, staticShape, transposed } from "./operands.ts";
import { rotaryEmbedding } from "./rotary.ts";
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

/**
 * (x, positions, cos, sin): the tables' rows are those of `positions` [B, T], or of T positions from the one entry on.
 * Without `num_heads` a head is as wide as the tables rotate.
 */
function importRotaryEmbedding(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  if (attributes.int("is_packed_batching", 0) !== 0) unsupported(context, "RotaryEmbedding of packed batches");
  if (attributes.float("scale", 1) !== 1) unsupported(context, "RotaryEmbedding with a scale");
  const { shape } = context.typeOf(context.input(0));
  if (shape.length !== 3 && shape.length !== 4) malformed(context, `input has rank ${shape.length}`);
  const half = staticShape(context, context.input(2), "the table").at(-1) ?? 0;
  const heads = attributes.int("num_heads", 0);
  const width = shape.length === 3 && heads === 0 ? staticExtent(context, shape[2], "the hidden axis") / (2 * half) : 0;
  const rows = rotaryRows(context, shape[shape.length === 4 ? 2 : 1]);
  const [cos, sin] = [2, 3].map((index) => context.builder.add("gather", [context.input(index), rows], { axis: 0 }));
  return [rotaryEmbedding(context, cos, sin, heads === 0 ? width : heads)];
}

/** Table rows [B or 1, T] of the positions at input 1. */
function rotaryRows(context: ImportContext, time: Extent): ValueName {
  const positions = context.input(1);
  const { shape } = context.typeOf(positions);
  if (shape.length === 2) return positions;
  if (shape.length !== 1 || shape[0] !== 1) {
    malformed(context, `the positions have the shape [${shape.map(printExtent)}]`);
  }
  const steps = iota(context, time, 1, 2);
  const start = context.builder.cast(reshaped(context, positions, [1, 1]), "i64");
  return mapOf(context, [start, steps], ([first, step]) => add(first, step));
}

export const contribImporters: OpImporterTable = {
  "com.microsoft:FusedMatMul": importFusedMatMul,
  "com.microsoft:Gelu": (context) => [floatMap(context, [context.input(0)], ([x], element) => gelu(x, element))],
  "com.microsoft:FastGelu": importFastGelu,
  "com.microsoft:BiasGelu": importBiasGelu,
  "com.microsoft:QuickGelu": importQuickGelu,
  "com.microsoft:RotaryEmbedding": importRotaryEmbedding,
  "com.microsoft:SkipLayerNormalization": importSkipNorm("layer"),
  "com.microsoft:SkipSimplifiedLayerNormalization": importSkipNorm("rms"),
};
