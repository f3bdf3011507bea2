/** What the importer of a layer may look at, and reads that many layers share. */

import { fail } from "../../../diagnostics.ts";
import { input } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { Fields } from "../../fields.ts";
import type { FoldingBuilder } from "../../onnx/folding_builder.ts";
import { activationExpression, logSoftmax } from "../kernels.ts";
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

export type LayerImporterTable = Readonly<Record<string, LayerImporter>>;

export function unsupported(context: LayerContext, message: string): never {
  return fail("Q0464", `${context.layer.className} "${context.layer.name}": ${message}`, { node: context.layer.name });
}

export function only(context: LayerContext): ValueName {
  if (context.inputs.length !== 1) return unsupported(context, `takes 1 operand, got ${context.inputs.length}`);
  return context.inputs[0];
}

export function plainWeight(context: LayerContext, parameter: string): ValueName {
  return context.builder.constant(context.weights.plain(context.layer.name, parameter), { name: parameter });
}

export function optionalBias(context: LayerContext): ValueName | undefined {
  return context.fields.boolean("use_bias", true) ? plainWeight(context, "bias") : undefined;
}

export function activated(context: LayerContext, value: ValueName, key = "activation"): ValueName {
  return withActivation(context, value, context.fields.string(key, "linear"));
}

export function withActivation(context: LayerContext, value: ValueName, name: string): ValueName {
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

/** A number or a list of `count` numbers. */
export function perAxis(
  context: LayerContext,
  key: string,
  count: number,
  fallback?: readonly number[],
): readonly number[] {
  const value = context.layer.config[key];
  if (typeof value === "number") return new Array<number>(count).fill(context.fields.int(key, undefined, 1));
  const list = context.fields.numbers(key) ?? fallback;
  if (list === undefined || list.length !== count) return unsupported(context, `"${key}" wants ${count} numbers`);
  return list;
}
