/** Elementwise ops of TensorFlow graphs. */

import { isFloat, isInteger } from "../../../../numeric/element.ts";
import { binary, cast, compare, type Expression, input, literal, select, unary } from "../../../../ir/expression.ts";
import type { BinaryOperator, ComparisonOperator, UnaryOperator } from "../../../../ir/expression.ts";
import { add, div, exp, max, min, mul, number, sub, whereNegative } from "../../../onnx/ops/expressions.ts";
import { activationExpression } from "../../kernels.ts";
import { elementOf, type TfContext, type TfImporter, type TfImporterTable } from "../context.ts";
import { tensorValue } from "../value.ts";

type UnaryFormula = (x: Expression, context: TfContext) => Expression;
type BinaryFormula = (x: Expression, y: Expression, context: TfContext) => Expression;

function unaryOp(formula: UnaryFormula): TfImporter {
  return (context) => {
    const x = context.tensor(0);
    return [tensorValue(context.builder.map(formula(input(0), context), [x], { name: context.node.op.toLowerCase() }))];
  };
}

/** Operands broadcast; integers meet floats as floats, as TensorFlow.js upcasts them. */
function binaryOp(formula: BinaryFormula): TfImporter {
  return (context) => {
    const values = [context.tensor(0), context.tensor(1)];
    const elements = values.map((value) => context.typeOf(value).element);
    const mixed = elements[0] !== elements[1];
    const operands = mixed ? values.map((value) => context.builder.cast(value, "f32")) : values;
    const expression = formula(input(0), input(1), context);
    return [tensorValue(context.builder.map(expression, operands, { name: context.node.op.toLowerCase() }))];
  };
}

function operator(name: UnaryOperator): TfImporter {
  return unaryOp((x) => unary(name, x));
}

function arithmetic(name: BinaryOperator): TfImporter {
  return binaryOp((x, y) => binary(name, x, y));
}

function comparison(name: ComparisonOperator): TfImporter {
  return binaryOp((x, y) => compare(name, x, y));
}

function activation(name: string): TfImporter {
  return unaryOp((x, context) =>
    activationExpression(name, x) ?? context.fail(`activation "${name}" is not supported`)
  );
}

/** Sum of any number of operands, left to right. */
function importAddN(context: TfContext) {
  const values = context.inputs.map((_, index) => context.tensor(index));
  if (values.length === 0) return context.fail("has no operands");
  const sum = values.slice(1).reduce<Expression>((total, _, index) => add(total, input(index + 1)), input(0));
  return [tensorValue(context.builder.map(sum, values))];
}

/** Floor of the quotient for integers and floats alike. */
function importFloorDiv(context: TfContext) {
  const [x, y] = [context.tensor(0), context.tensor(1)];
  const { element } = context.typeOf(x);
  const quotient = isFloat(element)
    ? unary("floor", div(input(0), input(1)))
    : div(sub(input(0), binary("mod", input(0), input(1))), input(1));
  return [tensorValue(context.builder.map(quotient, [x, y]))];
}

/** Quotient; of integers, a float as in TensorFlow.js. */
function importRealDiv(context: TfContext) {
  const values = [context.tensor(0), context.tensor(1)].map((value) => context.builder.cast(value, "f32"));
  return [tensorValue(context.builder.map(div(input(0), input(1)), values, { name: "div" }))];
}

function importCast(context: TfContext) {
  const value = context.inputs[0];
  const type = context.attributes.type("DstT", "DT_FLOAT");
  const element = elementOf(type);
  if (element === undefined) return context.fail(`casts to ${type}, which is not supported`);
  if (value?.kind === "sequence" || value?.kind === "coordinates") return [value];
  if (value?.kind === "tensor" && value.least !== undefined && element === "i32") return [value];
  return [tensorValue(context.builder.cast(context.tensor(0), element))];
}

function importLeakyRelu(context: TfContext) {
  const slope = Math.fround(context.attributes.float("alpha", 0.2));
  const expression = whereNegative(input(0), "f32", mul(input(0), literal(slope)));
  return [tensorValue(context.builder.map(expression, [context.tensor(0)], { name: "leaky_relu" }))];
}

function importPrelu(context: TfContext) {
  const expression = whereNegative(input(0), "f32", mul(input(0), input(1)));
  return [tensorValue(context.builder.map(expression, [context.tensor(0), context.tensor(1)], { name: "prelu" }))];
}

function importClip(context: TfContext) {
  const values = [context.tensor(0), context.tensor(1), context.tensor(2)];
  return [tensorValue(context.builder.map(min(max(input(0), input(1)), input(2)), values, { name: "clip" }))];
}

/** Adds a bias along the channels. */
function importBiasAdd(context: TfContext) {
  const [x, bias] = [context.tensor(0), context.tensor(1)];
  const rank = context.typeOf(x).shape.length;
  const isFirst = context.attributes.text("data_format", "NHWC") === "NCHW" && rank > 2;
  const { shape } = context.typeOf(bias);
  const shaped = isFirst
    ? context.builder.add("reshape", [bias], { shape: [...shape, ...new Array<number>(rank - 2).fill(1)] })
    : bias;
  return [tensorValue(context.builder.map(add(input(0), input(1)), [x, shaped], { name: "bias" }))];
}

/** `Select` takes a condition of the operands' shape or of their first axis; `SelectV2` broadcasts. */
function importSelect(context: TfContext) {
  const [condition, x, y] = [context.tensor(0), context.tensor(1), context.tensor(2)];
  const known = context.constant(0);
  if (known !== undefined && context.node.op === "Select") {
    const entries = Array.from<number | bigint, number>(known.data, Number);
    if (entries.every((entry) => entry === 0)) return [tensorValue(y)];
    if (entries.every((entry) => entry !== 0)) return [tensorValue(x)];
  }
  const rank = context.typeOf(x).shape.length;
  const { shape } = context.typeOf(condition);
  const leading = context.node.op === "Select" && shape.length === 1 && rank > 1;
  const shaped = leading
    ? context.builder.add("reshape", [condition], { shape: [...shape, ...new Array<number>(rank - 1).fill(1)] })
    : condition;
  return [tensorValue(context.builder.map(select(input(0), input(1), input(2)), [shaped, x, y], { name: "select" }))];
}

/** The operand's shape and element, filled with one number. */
function like(value: number): TfImporter {
  return unaryOp((_, context) => cast(context.typeOf(context.tensor(0)).element, literal(value)));
}

export const elementwiseOps: TfImporterTable = {
  Abs: operator("abs"),
  Acos: operator("acos"),
  Acosh: operator("acosh"),
  Add: arithmetic("add"),
  AddN: importAddN,
  AddV2: arithmetic("add"),
  Asin: operator("asin"),
  Asinh: operator("asinh"),
  Atan: operator("atan"),
  Atanh: operator("atanh"),
  BiasAdd: importBiasAdd,
  BiasAddV1: importBiasAdd,
  Cast: importCast,
  Ceil: operator("ceil"),
  ClipByValue: importClip,
  Cos: operator("cos"),
  Cosh: operator("cosh"),
  Div: importRealDiv,
  DivNoNan: binaryOp((x, y) => select(compare("eq", y, literal(0)), literal(0), div(x, y))),
  Elu: activation("elu"),
  Equal: comparison("eq"),
  Erf: operator("erf"),
  Exp: operator("exp"),
  Expm1: unaryOp((x) => sub(exp(x), literal(1))),
  Floor: operator("floor"),
  FloorDiv: importFloorDiv,
  FloorMod: arithmetic("mod"),
  Greater: comparison("gt"),
  GreaterEqual: comparison("ge"),
  IsInf: operator("isInf"),
  IsNan: operator("isNaN"),
  LeakyRelu: importLeakyRelu,
  Less: comparison("lt"),
  LessEqual: comparison("le"),
  Log: operator("log"),
  Log1p: unaryOp((x) => unary("log", add(literal(1), x))),
  LogicalAnd: arithmetic("and"),
  LogicalNot: operator("not"),
  LogicalOr: arithmetic("or"),
  Maximum: arithmetic("max"),
  Minimum: arithmetic("min"),
  Mod: arithmetic("mod"),
  Mul: arithmetic("mul"),
  Neg: operator("neg"),
  NotEqual: comparison("ne"),
  OnesLike: like(1),
  Pow: arithmetic("pow"),
  Prelu: importPrelu,
  RealDiv: importRealDiv,
  Reciprocal: unaryOp((x) => div(literal(1), x)),
  Relu: unaryOp((x, context) => max(x, number(context.typeOf(context.tensor(0)).element, 0))),
  Relu6: activation("relu6"),
  Round: operator("round"),
  Rsqrt: unaryOp((x) => div(literal(1), unary("sqrt", x))),
  Select: importSelect,
  SelectV2: importSelect,
  Selu: activation("selu"),
  Sigmoid: activation("sigmoid"),
  Sign: operator("sign"),
  Sin: operator("sin"),
  Sinh: operator("sinh"),
  Softplus: activation("softplus"),
  Softsign: activation("softsign"),
  Sqrt: operator("sqrt"),
  Square: unaryOp((x) => mul(x, x)),
  SquaredDifference: binaryOp((x, y) => mul(sub(x, y), sub(x, y))),
  Sub: arithmetic("sub"),
  Tan: operator("tan"),
  Tanh: operator("tanh"),
  TruncatedDiv: binaryOp((x, y, context) =>
    isInteger(context.typeOf(context.tensor(0)).element) ? div(x, y) : unary("trunc", div(x, y))
  ),
  ZerosLike: like(0),
};
