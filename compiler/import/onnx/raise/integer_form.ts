/** Float values that are decoded codes, moved about: the codes themselves, moved the same way. */

import type { ElementType } from "../../../numeric/element.ts";
import { codeElement, type IntFormat, intRange } from "../../../numeric/number_format.ts";
import { perTensor } from "../../../numeric/scheme.ts";
import { binary, type Expression, input, literal } from "../../../ir/expression.ts";
import type { Node, OpName, ValueName } from "../../../ir/node.ts";
import { floatTensor, plainTensor } from "../../../ir/tensor.ts";
import { encodeQuotient } from "../../../ir/evaluate/codes.ts";
import type { FoldingBuilder } from "../folding_builder.ts";
import { joinedOrigin } from "./rebuilding.ts";
import { plainNumbers, staticSteps } from "./static_steps.ts";

/** Integer codes with one step and zero point for all. */
export interface IntegerForm {
  readonly codes: ValueName;
  readonly format: IntFormat;
  readonly step: number;
  readonly zero: number;
  /** Whether the scheme had a zero point, be it 0. */
  readonly hasZero: boolean;
  /** The real element that the codes stand for. */
  readonly element: ElementType;
}

/** Chains of moves are followed this far back. */
const chainLimit = 16;

/** The codes behind a float value: those that were decoded into it, after the same moves. */
export function integerForm(builder: FoldingBuilder, value: ValueName, depth = 0): IntegerForm | undefined {
  const node = builder.producerOf(value);
  if (node === undefined || depth > chainLimit) return undefined;
  if (node.op === "dequantize") return decodedForm(builder, node.inputs[0]);
  return movedForm(builder, node, depth + 1);
}

function decodedForm(builder: FoldingBuilder, quantized: ValueName): IntegerForm | undefined {
  const known = staticSteps(builder, quantized);
  if (known === undefined || known.steps.length !== 1 || known.scheme.format.kind !== "int") return undefined;
  return {
    codes: codesOf(builder, quantized),
    format: known.scheme.format,
    step: known.steps[0],
    zero: known.zeros[0] ?? 0,
    hasZero: known.scheme.zeroPoint,
    element: builder.typeOf(quantized).element,
  };
}

/** The plain codes of a quantized value, without a node where they were bundled just before. */
export function codesOf(builder: FoldingBuilder, quantized: ValueName): ValueName {
  const made = builder.producerOf(quantized);
  return made?.op === "fromCodes" ? made.inputs[0] : builder.add("toCodes", [quantized], {});
}

function movedForm(builder: FoldingBuilder, node: Node, depth: number): IntegerForm | undefined {
  switch (node.op) {
    case "transpose":
    case "reshape":
    case "slice":
    case "expand": {
      const form = integerForm(builder, node.inputs[0], depth);
      return form && { ...form, codes: moved(builder, node, [form.codes]) };
    }
    case "concat":
      return concatenatedForm(builder, node, depth);
    case "gather": {
      const form = integerForm(builder, node.inputs[0], depth);
      return form && { ...form, codes: moved(builder, node, [form.codes, node.inputs[1]]) };
    }
    case "pool":
    case "reduce": {
      if (node.attributes.kind !== "max" && !(node.op === "reduce" && node.attributes.kind === "min")) return undefined;
      const form = integerForm(builder, node.inputs[0], depth);
      return form && { ...form, codes: moved(builder, node, [form.codes]) };
    }
    case "pad":
      return paddedForm(builder, node, depth);
    case "map": {
      const bounds = node.inputs.length === 1 ? clampBounds(node.attributes.expression) : undefined;
      const form = bounds && integerForm(builder, node.inputs[0], depth);
      return form && { ...form, codes: clampedCodes(builder, form, codeBounds(form, bounds)) };
    }
    default:
      return undefined;
  }
}

function moved(builder: FoldingBuilder, node: Node, inputs: readonly ValueName[]): ValueName {
  return builder.add<OpName>(node.op, inputs, node.attributes, { origin: joinedOrigin(node, builder) });
}

function concatenatedForm(
  builder: FoldingBuilder,
  node: Extract<Node, { op: "concat" }>,
  depth: number,
): IntegerForm | undefined {
  const forms: IntegerForm[] = [];
  for (const value of node.inputs) {
    const form = integerForm(builder, value, depth);
    if (form === undefined || (forms.length > 0 && !isSameForm(form, forms[0]))) return undefined;
    forms.push(form);
  }
  return { ...forms[0], codes: moved(builder, node, forms.map(({ codes }) => codes)) };
}

/** Padding with 0 is padding with the zero point. */
function paddedForm(
  builder: FoldingBuilder,
  node: Extract<Node, { op: "pad" }>,
  depth: number,
): IntegerForm | undefined {
  const [x, value] = node.inputs;
  const filler = value === undefined ? [0] : plainNumbers(builder.constantOf(value));
  if (node.attributes.mode === "constant" && filler?.[0] !== 0) return undefined;
  const form = integerForm(builder, x, depth);
  if (form === undefined) return undefined;
  const inputs = node.attributes.mode === "constant" ? [form.codes, codeConstant(builder, form)] : [form.codes];
  return { ...form, codes: moved(builder, node, inputs) };
}

function codeConstant(builder: FoldingBuilder, { zero, format }: IntegerForm): ValueName {
  const element = codeElement(format);
  return builder.cast(builder.constant(plainTensor("i32", [], Int32Array.of(zero))), element);
}

export function isSameForm(a: IntegerForm, b: Omit<IntegerForm, "codes">): boolean {
  return a.format.bits === b.format.bits && a.format.signed === b.format.signed && a.step === b.step &&
    a.zero === b.zero && a.element === b.element;
}

/** Limits of a value. */
export interface Bounds {
  readonly low: number;
  readonly high: number;
}

/** The range that an expression of mins and maxes clamps its one input to; undefined for any other expression. */
export function clampBounds(expression: Expression): Bounds | undefined {
  if (expression.kind === "input") return { low: -Infinity, high: Infinity };
  if (expression.kind !== "binary" || (expression.operator !== "max" && expression.operator !== "min")) {
    return undefined;
  }
  const { operator, x, y } = expression;
  const [inner, limit] = y.kind === "literal" ? [x, y] : [y, x];
  if (limit.kind !== "literal" || typeof limit.value !== "number" || Number.isNaN(limit.value)) return undefined;
  const bounds = clampBounds(inner);
  if (bounds === undefined) return undefined;
  const pick = operator === "max" ? Math.max : Math.min;
  return { low: pick(bounds.low, limit.value), high: pick(bounds.high, limit.value) };
}

/**
 * The codes that bounds of the real value encode to. Encoding is monotone, so that encoding a clamped value clamps its
 * code to these.
 */
export function codeBounds(form: Omit<IntegerForm, "codes">, bounds: Bounds): Bounds {
  const { min, max } = intRange(form.format);
  const encode = (value: number) => encodeQuotient(form.format, Math.fround(value / form.step), form.zero);
  return {
    low: bounds.low === -Infinity ? min : encode(bounds.low),
    high: bounds.high === Infinity ? max : encode(bounds.high),
  };
}

function clampedCodes(builder: FoldingBuilder, form: IntegerForm, { low, high }: Bounds): ValueName {
  const { min, max } = intRange(form.format);
  const element = codeElement(form.format);
  const raised = low > min ? binary("max", input(0), literal(low, element)) : input(0);
  const body = high < max ? binary("min", raised, literal(high, element)) : raised;
  return body.kind === "input" ? form.codes : builder.map(body, [form.codes], { name: "clamp" });
}

/** The form's codes as a quantized value. */
export function bundled(builder: FoldingBuilder, form: IntegerForm): ValueName {
  const { shape } = builder.typeOf(form.codes);
  const ones = shape.map(() => 1);
  const scheme = {
    format: form.format,
    block: perTensor(shape.length),
    step: "f32" as const,
    zeroPoint: form.hasZero,
    range: "static" as const,
  };
  const step = builder.constant(floatTensor(ones, [form.step]));
  const zeros = form.hasZero ? [builder.constant(plainTensor("i32", ones, Int32Array.of(form.zero)))] : [];
  return builder.add("fromCodes", [form.codes, step, ...zeros], { scheme, element: form.element });
}
