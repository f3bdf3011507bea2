/** Activation functions, each one map. */

import { compare, type Expression, select, unary } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { AttributeReader, ImportContext, OpImporter, OpImporterTable } from "../op_importer.ts";
import {
  add,
  div,
  exp,
  gelu,
  geluTanh,
  max,
  min,
  mul,
  number,
  sigmoid,
  softplus,
  sub,
  whereNegative,
} from "./expressions.ts";
import { malformed } from "./faults.ts";
import { expanded, floatMap, mapOf, plainConstant, type WorkElement } from "./operands.ts";
import { boolConstant, floatConstant, numbersOf } from "./operands.ts";

/** An activation: the formula over x, its attributes and the element that it computes in. */
function activation(
  formula: (x: Expression, element: WorkElement, attributes: AttributeReader) => Expression,
): OpImporter {
  return (context) => [
    floatMap(context, [context.input(0)], ([x], element) => formula(x, element, context.node.attributes)),
  ];
}

/** Relu is defined on integers too. */
function importRelu(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { element } = context.typeOf(x);
  return [mapOf(context, [x], ([value]) => max(value, number(element, 0)))];
}

/** alpha * (exp(x) - 1) below zero. */
function elu(x: Expression, element: WorkElement, alpha: number): Expression {
  const grown = sub(exp(x), number(element, 1));
  return whereNegative(x, element, alpha === 1 ? grown : mul(number(element, alpha), grown));
}

function selu(x: Expression, element: WorkElement, attributes: AttributeReader): Expression {
  const alpha = attributes.float("alpha", 1.67326319217681884765625);
  const gamma = attributes.float("gamma", 1.05070102214813232421875);
  return mul(number(element, gamma), elu(x, element, alpha));
}

/** alpha * (exp(x / alpha) - 1) below zero. */
function celu(x: Expression, element: WorkElement, attributes: AttributeReader): Expression {
  const alpha = number(element, attributes.float("alpha", 1));
  return whereNegative(x, element, mul(alpha, sub(exp(div(x, alpha)), number(element, 1))));
}

/** max(0, min(1, alpha * x + beta)). */
function hardSigmoid(x: Expression, element: WorkElement, alpha: number, beta: number): Expression {
  const line = add(mul(number(element, alpha), x), number(element, beta));
  return max(number(element, 0), min(number(element, 1), line));
}

/** Zero within `lambd` of zero, moved towards zero by `bias` outside. */
function shrink(x: Expression, element: WorkElement, attributes: AttributeReader): Expression {
  const lambd = attributes.float("lambd", 0.5);
  const bias = number(element, attributes.float("bias", 0));
  const above = select(compare("gt", x, number(element, lambd)), sub(x, bias), number(element, 0));
  return select(compare("lt", x, number(element, -lambd)), add(x, bias), above);
}

function importGelu(context: ImportContext): readonly ValueName[] {
  const approximate = context.node.attributes.string("approximate", "none");
  if (approximate !== "none" && approximate !== "tanh") {
    return malformed(context, `Gelu's "approximate" is "${approximate}", it must be "none" or "tanh"`);
  }
  const formula = approximate === "tanh" ? geluTanh : gelu;
  return [floatMap(context, [context.input(0)], ([x], element) => formula(x, element))];
}

/** Dropout of inference is the identity with a mask of ones. */
function importDropout(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  if (context.node.opset >= 12) checkInference(context);
  else context.node.attributes.float("ratio", 0.5);
  context.node.attributes.int("seed", 0);
  if (context.node.outputUsed[1] !== true) return [x];
  const { element, shape } = context.typeOf(x);
  const ones = context.node.opset < 10 ? floatConstant(context, element, [], [1]) : boolConstant(context, [], [true]);
  return [x, expanded(context, ones, shape)];
}

function checkInference(context: ImportContext): void {
  const training = context.optional(2);
  if (training === undefined) return;
  const flag = plainConstant(context, training);
  if (flag !== undefined && numbersOf(flag).every((entry) => entry === 0)) return;
  const ratio = plainConstant(context, context.optional(1));
  if (ratio !== undefined && numbersOf(ratio).every((entry) => entry === 0)) return;
  context.fail(
    "Q1060",
    "Dropout in training mode draws random numbers",
    "Export the model in evaluation mode, or set training_mode to false",
  );
}

export const activationImporters: OpImporterTable = {
  Relu: importRelu,
  LeakyRelu: activation((x, element, attributes) =>
    whereNegative(x, element, mul(number(element, attributes.float("alpha", 0.01)), x))
  ),
  Elu: activation((x, element, attributes) => elu(x, element, attributes.float("alpha", 1))),
  Selu: activation(selu),
  Celu: activation(celu),
  Sigmoid: activation((x, element) => sigmoid(x, element)),
  HardSigmoid: activation((x, element, attributes) =>
    hardSigmoid(x, element, attributes.float("alpha", 0.2), attributes.float("beta", 0.5))
  ),
  HardSwish: activation((x, element) => mul(x, hardSigmoid(x, element, 1 / 6, 0.5))),
  Gelu: importGelu,
  Mish: activation((x, element) => mul(x, unary("tanh", softplus(x, element)))),
  Swish: activation((x, element, attributes) => {
    const alpha = attributes.float("alpha", 1);
    return mul(x, sigmoid(alpha === 1 ? x : mul(number(element, alpha), x), element));
  }),
  Softplus: activation((x, element) => softplus(x, element)),
  Softsign: activation((x, element) => div(x, add(number(element, 1), unary("abs", x)))),
  ThresholdedRelu: activation((x, element, attributes) =>
    select(compare("gt", x, number(element, attributes.float("alpha", 1))), x, number(element, 0))
  ),
  Shrink: activation(shrink),
  Dropout: importDropout,
};
