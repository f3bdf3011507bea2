/** Arithmetic, comparison, logic and selection, element by element. */

import { elementBytes, type ElementType, isFloat, isInteger } from "../../../numeric/element.ts";
import {
  binary,
  type BinaryOperator,
  cast,
  compare,
  type ComparisonOperator,
  type Expression,
  select,
  unary,
  type UnaryOperator,
} from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporter, OpImporterTable } from "../op_importer.ts";
import { add, div, max, min, mul, number } from "./expressions.ts";
import { malformed, unsupported } from "./faults.ts";
import { entryOf, floatMap, mapOf, plainConstant } from "./operands.ts";

/** An op that is one operator of one operand. */
function unaryOp(operator: UnaryOperator): OpImporter {
  return (context) => [mapOf(context, [context.input(0)], ([x]) => unary(operator, x))];
}

/** An op that is one operator of two operands of one element. */
function binaryOp(operator: BinaryOperator): OpImporter {
  return (context) => [mapOf(context, [context.input(0), context.input(1)], ([x, y]) => binary(operator, x, y))];
}

function comparisonOp(operator: ComparisonOperator): OpImporter {
  return (context) => [mapOf(context, [context.input(0), context.input(1)], ([x, y]) => compare(operator, x, y))];
}

/** An op over any number of operands, combined from left to right in one map. */
function variadicOp(combine: (x: Expression, y: Expression) => Expression): OpImporter {
  return (context) => {
    const values = context.node.inputs.map((_, index) => context.input(index));
    if (values.length === 0) return malformed(context, `${context.node.opType} has no inputs`);
    if (values.length === 1) return values;
    return [mapOf(context, values, (operands) => operands.reduce(combine))];
  };
}

function importSum(context: ImportContext): readonly ValueName[] {
  const values = context.node.inputs.map((_, index) => context.input(index));
  if (values.length === 0) return malformed(context, "Sum has no inputs");
  if (values.length === 1) return values;
  return [floatMap(context, values, (operands) => operands.reduce(add))];
}

function importMean(context: ImportContext): readonly ValueName[] {
  const values = context.node.inputs.map((_, index) => context.input(index));
  if (values.length === 0) return malformed(context, "Mean has no inputs");
  return [floatMap(context, values, (operands, element) => div(operands.reduce(add), number(element, values.length)))];
}

/** Mod: the sign of the divisor, or that of the dividend with `fmod`. */
function importMod(context: ImportContext): readonly ValueName[] {
  const operator = context.node.attributes.int("fmod", 0) === 1 ? "rem" : "mod";
  return [mapOf(context, [context.input(0), context.input(1)], ([x, y]) => binary(operator, x, y))];
}

function importBitShift(context: ImportContext): readonly ValueName[] {
  const direction = context.node.attributes.string("direction");
  if (direction !== "LEFT" && direction !== "RIGHT") return malformed(context, `BitShift direction is "${direction}"`);
  const values = [context.input(0), context.input(1)];
  const { element } = context.typeOf(values[0]);
  if (direction === "LEFT") return [mapOf(context, values, ([x, y]) => binary("shl", x, y))];
  if (!isSigned(element)) return [mapOf(context, values, ([x, y]) => binary("shr", x, y))];
  return [mapOf(context, values, ([x, y]) => binary("shr", x, signShift(y, element)))];
}

function isSigned(element: ElementType): boolean {
  return element === "i8" || element === "i16" || element === "i32" || element === "i64";
}

/** Amounts outside the width (negative ones too) shift in the sign bit alone, as a shift by width - 1 does. */
function signShift(amount: Expression, element: ElementType): Expression {
  const widest = number(element, 8 * elementBytes(element) - 1);
  const outside = binary(
    "or",
    compare("lt", amount, number(element, 0)),
    compare("gt", amount, widest),
  );
  return select(outside, widest, amount);
}

function importReciprocal(context: ImportContext): readonly ValueName[] {
  return [floatMap(context, [context.input(0)], ([x], element) => div(number(element, 1), x))];
}

/**
 * Pow. The result has the element of the base. A float on either side makes the power a float one; a constant
 * exponent of 2 is a product, which is rounded once.
 */
function importPow(context: ImportContext): readonly ValueName[] {
  const [base, exponent] = [context.input(0), context.input(1)];
  const [x, y] = [context.typeOf(base).element, context.typeOf(exponent).element];
  const known = plainConstant(context, exponent);
  const rank = context.typeOf(base).shape.length;
  if (known !== undefined && known.data.length === 1 && known.shape.length <= rank) {
    if (Number(entryOf(known, 0)) === 2) return [mapOf(context, [base], ([b]) => mul(b, b))];
  }
  const work = powElement(x, y);
  return [
    mapOf(
      context,
      [base, exponent],
      ([b, e]) => converted(x, work, binary("pow", converted(work, x, b), converted(work, y, e))),
    ),
  ];
}

function powElement(base: ElementType, exponent: ElementType): ElementType {
  if (base === "f64" || (exponent === "f64" && !isFloat(base))) return "f64";
  if (isFloat(base)) return "f32";
  if (isFloat(exponent)) return base === "i32" || base === "i64" ? "f64" : "f32";
  return base;
}

/** A cast from one element to another, left out between equal ones. */
function converted(to: ElementType, from: ElementType, x: Expression): Expression {
  return to === from ? x : cast(to, x);
}

/** Clip: bounds are attributes up to opset 10 and optional inputs from 11 on. An upper bound below the lower one wins. */
function importClip(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { element } = context.typeOf(x);
  if (context.node.opset < 11) {
    const { attributes } = context.node;
    const low = attributes.has("min") ? attributes.float("min") : undefined;
    const high = attributes.has("max") ? attributes.float("max") : undefined;
    return [mapOf(context, [x], ([value]) => {
      const raised = low === undefined ? value : max(value, number(element, low));
      return high === undefined ? raised : min(raised, number(element, high));
    })];
  }
  const low = context.optional(1);
  const high = context.optional(2);
  const values = [x, ...[low, high].filter((value) => value !== undefined)];
  if (values.length === 1) return [x];
  return [mapOf(context, values, ([value, ...bounds]) => {
    const raised = low === undefined ? value : max(value, bounds[0]);
    return high === undefined ? raised : min(raised, bounds[bounds.length - 1]);
  })];
}

function importWhere(context: ImportContext): readonly ValueName[] {
  const values = [context.input(0), context.input(1), context.input(2)];
  return [mapOf(context, values, ([condition, x, y]) => select(condition, x, y))];
}

function importIsInf(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const positive = attributes.int("detect_positive", 1) !== 0;
  const negative = attributes.int("detect_negative", 1) !== 0;
  const x = context.input(0);
  const { element } = context.typeOf(x);
  return [mapOf(context, [x], ([value]) => {
    if (positive && negative) return unary("isInf", value);
    const infinite = unary("isInf", value);
    if (!positive && !negative) return binary("and", infinite, unary("not", infinite));
    return binary("and", infinite, compare(positive ? "gt" : "lt", value, number(element, 0)));
  })];
}

/** Not is logical on bool; BitwiseNot is the same operator on integers. */
function importNot(wanted: (element: ElementType) => boolean): OpImporter {
  return (context) => {
    const x = context.input(0);
    const { element } = context.typeOf(x);
    if (!wanted(element)) return malformed(context, `${context.node.opType} of ${element}`);
    return [mapOf(context, [x], ([value]) => unary("not", value))];
  };
}

/** Neg, Abs and Sign of unsigned integers and of bool keep to integer arithmetic; Round, Floor and Ceil want floats. */
function importSign(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { element } = context.typeOf(x);
  if (!isFloat(element) && !isInteger(element)) return malformed(context, `Sign of ${element}`);
  return [mapOf(context, [x], ([value]) => unary("sign", value))];
}

/** PRelu: the slope broadcasts to x alone. */
function importPRelu(context: ImportContext): readonly ValueName[] {
  const [x, slope] = [context.input(0), context.input(1)];
  const { element, shape } = context.typeOf(x);
  if (context.typeOf(slope).shape.length > shape.length) return unsupported(context, "slope has a higher rank than x");
  return [mapOf(
    context,
    [x, slope],
    ([value, factor]) => select(compare("lt", value, number(element, 0)), mul(factor, value), value),
  )];
}

const unaryOps: Readonly<Record<string, UnaryOperator>> = {
  Abs: "abs",
  Neg: "neg",
  Floor: "floor",
  Ceil: "ceil",
  Round: "round",
  Sqrt: "sqrt",
  Exp: "exp",
  Log: "log",
  Sin: "sin",
  Cos: "cos",
  Tan: "tan",
  Asin: "asin",
  Acos: "acos",
  Atan: "atan",
  Sinh: "sinh",
  Cosh: "cosh",
  Asinh: "asinh",
  Acosh: "acosh",
  Atanh: "atanh",
  Erf: "erf",
  Tanh: "tanh",
  IsNaN: "isNaN",
};

const binaryOps: Readonly<Record<string, BinaryOperator>> = {
  Add: "add",
  Sub: "sub",
  Mul: "mul",
  Div: "div",
  And: "and",
  Or: "or",
  Xor: "xor",
  BitwiseAnd: "and",
  BitwiseOr: "or",
  BitwiseXor: "xor",
};

const comparisonOps: Readonly<Record<string, ComparisonOperator>> = {
  Equal: "eq",
  Greater: "gt",
  GreaterOrEqual: "ge",
  Less: "lt",
  LessOrEqual: "le",
};

function tableOf<T extends string>(ops: Readonly<Record<string, T>>, make: (operator: T) => OpImporter) {
  return Object.fromEntries(Object.entries(ops).map(([name, operator]) => [name, make(operator)]));
}

export const elementwiseImporters: OpImporterTable = {
  ...tableOf(unaryOps, unaryOp),
  ...tableOf(binaryOps, binaryOp),
  ...tableOf(comparisonOps, comparisonOp),
  Max: variadicOp(max),
  Min: variadicOp(min),
  Sum: importSum,
  Mean: importMean,
  Mod: importMod,
  BitShift: importBitShift,
  Reciprocal: importReciprocal,
  Pow: importPow,
  Clip: importClip,
  Where: importWhere,
  IsInf: importIsInf,
  Sign: importSign,
  Not: importNot((element) => element === "bool"),
  BitwiseNot: importNot(isInteger),
  PRelu: importPRelu,
};
