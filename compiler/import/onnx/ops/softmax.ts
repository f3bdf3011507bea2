/** Softmax and its relatives. */

import { compare, unary } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { exp, sub } from "./expressions.ts";
import { iota, mapOf, productOf, reshaped, widened } from "./operands.ts";
import { reduced } from "./reduction.ts";

/**
 * Runs `body` along the axis of a softmax op. Up to opset 12 the axes from `axis` on count as one: they are merged,
 * and split again afterwards.
 */
function alongAxis(
  context: ImportContext,
  body: (value: ValueName, axis: number) => ValueName,
): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const merges = context.node.opset < 13;
  const axis = context.axis(context.node.attributes.int("axis", merges ? 1 : -1), shape.length);
  const merged = merges ? productOf(context, shape.slice(axis)) : shape[axis];
  if (!merges || merged === shape[axis]) return [body(x, axis)];
  const flat = reshaped(context, x, [...shape.slice(0, axis), merged]);
  return [reshaped(context, body(flat, axis), shape)];
}

/** x - max - log Σ exp(x - max) along `axis`. */
export function logSoftmax(context: ImportContext, value: ValueName, axis: number): ValueName {
  const { element } = context.typeOf(value);
  const wide = widened(context, value);
  const over = { axes: [axis], keepAxes: true };
  const highest = reduced(context, wide, "max", over);
  const shifted = mapOf(context, [wide, highest], ([x, peak]) => sub(x, peak));
  const sum = reduced(context, mapOf(context, [shifted], ([x]) => exp(x)), "sum", over);
  const result = mapOf(context, [shifted, sum], ([x, total]) => sub(x, unary("log", total)));
  return context.builder.cast(result, element);
}

/** 1 at the first maximum along `axis`, 0 elsewhere. */
function hardmax(context: ImportContext, value: ValueName, axis: number): ValueName {
  const { element, shape } = context.typeOf(value);
  const best = context.builder.add("argReduce", [value], { kind: "max", axis, keepAxes: true, last: false });
  const places = iota(context, shape[axis], axis, shape.length);
  const hot = mapOf(context, [places, best], ([place, index]) => compare("eq", place, index));
  return context.builder.cast(hot, element);
}

export const softmaxImporters: OpImporterTable = {
  Softmax: (context) =>
    alongAxis(context, (value, axis) => {
      const { element } = context.typeOf(value);
      const result = context.builder.add("softmax", [widened(context, value)], { axis });
      return context.builder.cast(result, element);
    }),
  LogSoftmax: (context) => alongAxis(context, (value, axis) => logSoftmax(context, value, axis)),
  Hardmax: (context) => alongAxis(context, (value, axis) => hardmax(context, value, axis)),
};
