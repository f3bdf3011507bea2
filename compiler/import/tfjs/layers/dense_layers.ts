/** Dense layers, embeddings and normalizations. */

import { isStatic } from "../../../ir/extent.ts";
import { input } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import { floatTensor } from "../../../ir/tensor.ts";
import { add, mul } from "../../onnx/ops/expressions.ts";
import { reshaped } from "../kernels.ts";
import {
  activated,
  type LayerContext,
  type LayerImporterTable,
  only,
  optionalBias,
  plainWeight,
  unsupported,
} from "./layer_context.ts";

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

function importEmbedding(context: LayerContext): ValueName {
  const { builder, weights, layer } = context;
  const table = builder.constant(weights.stored(layer.name, "embeddings"), { name: "embeddings" });
  return builder.add("gather", [table, builder.cast(only(context), "i32")], { axis: 0 });
}

export const denseLayers: LayerImporterTable = {
  BatchNormalization: importBatchNormalization,
  Dense: importDense,
  Embedding: importEmbedding,
  LayerNormalization: importLayerNormalization,
};
