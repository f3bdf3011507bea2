/** Losses over class scores. */

import { compare, select, unary } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ElementType } from "../../../numeric/element.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { div, mul, number } from "./expressions.ts";
import { malformed } from "./faults.ts";
import { expanded, mapOf, reshaped, widened } from "./operands.ts";
import { meanOf, reduced } from "./reduction.ts";
import { logSoftmax } from "./softmax.ts";

type Reduction = "none" | "sum" | "mean";

function reductionOf(context: ImportContext): Reduction {
  const reduction = context.node.attributes.string("reduction", "mean");
  if (reduction === "none" || reduction === "sum" || reduction === "mean") return reduction;
  return malformed(context, `reduction is "${reduction}"`);
}

/**
 * -weight[target] * scores[n, target, ...], 0 where the target is `ignore_index`; the mean divides by the sum of the
 * weights that count.
 */
function negativeLogLikelihood(
  context: ImportContext,
  scores: ValueName,
  target: ValueName,
  weight: ValueName | undefined,
): ValueName {
  const { attributes } = context.node;
  const reduction = reductionOf(context);
  const ignored = attributes.has("ignore_index") ? attributes.int("ignore_index") : undefined;
  const { shape, element } = context.typeOf(target);
  if (shape.length < 1) return malformed(context, "the target is a scalar");
  const { element: work } = context.typeOf(scores);
  const counted = ignored === undefined
    ? undefined
    : mapOf(context, [target], ([index]) => compare("ne", index, number(element, ignored)));
  const classes = counted === undefined
    ? target
    : mapOf(context, [counted, target], ([keep, index]) => select(keep, index, number(element, 0)));
  const picked = context.builder.add(
    "gatherElements",
    [scores, reshaped(context, classes, [shape[0], 1, ...shape.slice(1)])],
    { axis: 1 },
  );
  const chosen = reshaped(context, picked, shape);
  const rawWeights = weight === undefined
    ? undefined
    : context.builder.add("gather", [context.builder.cast(weight, work), classes], { axis: 0 });
  const weights = weightsOf(context, rawWeights, counted, work);
  const losses = mapOf(
    context,
    weights === undefined ? [chosen] : [chosen, weights],
    ([score, factor]) => factor === undefined ? unary("neg", score) : unary("neg", mul(score, factor)),
  );
  const over = { axes: shape.map((_, axis) => axis), keepAxes: false };
  if (reduction === "none") return losses;
  if (reduction === "mean" && weights === undefined) return meanOf(context, losses, over);
  const sum = reduced(context, losses, "sum", over);
  if (reduction === "sum" || weights === undefined) return sum;
  const total = reduced(context, expanded(context, weights, shape), "sum", over);
  return mapOf(context, [sum, total], ([loss, count]) => div(loss, count));
}

/** The weight of every target, 0 where it is ignored; undefined when all are 1. */
function weightsOf(
  context: ImportContext,
  weights: ValueName | undefined,
  counted: ValueName | undefined,
  element: ElementType,
): ValueName | undefined {
  if (counted === undefined) return weights;
  if (weights === undefined) return context.builder.cast(counted, element);
  return mapOf(context, [counted, weights], ([keep, factor]) => select(keep, factor, number(element, 0)));
}

function importNegativeLogLikelihoodLoss(context: ImportContext): readonly ValueName[] {
  const scores = context.input(0);
  const loss = negativeLogLikelihood(context, widened(context, scores), context.input(1), context.optional(2));
  return [context.builder.cast(loss, context.typeOf(scores).element)];
}

/** The likelihood loss of the log softmax over classes; the second output is the log softmax itself. */
function importSoftmaxCrossEntropyLoss(context: ImportContext): readonly ValueName[] {
  const scores = context.input(0);
  const { element } = context.typeOf(scores);
  const logProbabilities = logSoftmax(context, widened(context, scores), 1);
  const loss = negativeLogLikelihood(context, logProbabilities, context.input(1), context.optional(2));
  return [loss, logProbabilities].map((value) => context.builder.cast(value, element));
}

export const lossImporters: OpImporterTable = {
  NegativeLogLikelihoodLoss: importNegativeLogLikelihoodLoss,
  SoftmaxCrossEntropyLoss: importSoftmaxCrossEntropyLoss,
};
