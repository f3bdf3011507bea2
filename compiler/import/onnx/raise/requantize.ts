/**
 * Quantizing what a contraction of codes yields, with limits in between, becomes the contraction's own result:
 *
 *   round((sa * sb * Σ + bias) / sy) = round((Σ + bias / (sa * sb)) * multiplier),  multiplier = sa * sb / sy
 *
 * Exact over the reals; applies where the bias is held in steps of sa * sb, so that no float is left but the multiplier.
 */

import { intRange } from "../../../numeric/number_format.ts";
import type { Node, ValueName } from "../../../ir/node.ts";
import { floatTensor, plainTensor } from "../../../ir/tensor.ts";
import { isStatic } from "../../../ir/extent.ts";
import type { FoldingBuilder } from "../folding_builder.ts";
import { accumulatorLimit, type Contraction, sumBounds } from "./contraction.ts";
import {
  type Bounds,
  bundled,
  clampBounds,
  codeBounds,
  type IntegerForm,
  integerForm,
  isSameForm,
} from "./integer_form.ts";
import { joinedOrigin, type RaisingRule, type Rebuilding } from "./rebuilding.ts";
import { outputMultiplier } from "../step_operands.ts";
import { isSameStep, plainNumbers, type StaticSteps, staticSteps } from "./static_steps.ts";

type Quantize = Extract<Node, { op: "quantize" }>;

/** How a quantize node encodes, with one step for all; undefined for any other. */
function targetForm(
  builder: FoldingBuilder,
  node: Quantize,
  inputs: readonly ValueName[],
): Omit<IntegerForm, "codes"> | undefined {
  const { scheme } = node.attributes;
  if (scheme.range !== "static" || scheme.format.kind !== "int") return undefined;
  const steps = plainNumbers(builder.constantOf(inputs[1]));
  const zeros = scheme.zeroPoint ? plainNumbers(builder.constantOf(inputs[2])) : [0];
  if (steps?.length !== 1 || zeros?.length !== 1) return undefined;
  const { element } = builder.typeOf(inputs[0]);
  return { format: scheme.format, step: steps[0], zero: zeros[0], hasZero: scheme.zeroPoint, element };
}

/** quantize(moves(decode(q))) with q's own step and zero point: the moves on the codes, exactly. */
export const raiseMoves: RaisingRule = (rebuilding, node, inputs) => {
  if (node.op !== "quantize") return undefined;
  const { builder } = rebuilding;
  const target = targetForm(builder, node, inputs);
  if (target === undefined) return undefined;
  const limited = limitedContraction(rebuilding, target, inputs[0]);
  if (limited !== undefined) return [limited];
  const form = integerForm(builder, inputs[0]);
  if (form === undefined || !isSameForm(form, target)) return undefined;
  return [bundled(builder, { ...form, hasZero: target.hasZero })];
};

/** The limits of a clamp right after a contraction with codes as its result move into the contraction. */
function limitedContraction(
  { builder, uses }: Rebuilding,
  target: Omit<IntegerForm, "codes">,
  value: ValueName,
): ValueName | undefined {
  const clamp = builder.producerOf(value);
  if (clamp?.op !== "map" || clamp.inputs.length !== 1 || uses(clamp.inputs[0]) !== 1) return undefined;
  const bounds = clampBounds(clamp.attributes.expression);
  const decode = builder.producerOf(clamp.inputs[0]);
  if (bounds === undefined || decode?.op !== "dequantize" || uses(decode.inputs[0]) !== 1) return undefined;
  const main = builder.producerOf(decode.inputs[0]);
  const known = staticSteps(builder, decode.inputs[0]);
  if ((main?.op !== "conv" && main?.op !== "matmul") || main.attributes.result.kind !== "quantized") return undefined;
  if (known?.steps.length !== 1 || known.steps[0] !== target.step || (known.zeros[0] ?? 0) !== target.zero) {
    return undefined;
  }
  const { scheme, low, high } = main.attributes.result;
  if (scheme.format.kind !== "int" || JSON.stringify(scheme.format) !== JSON.stringify(target.format)) return undefined;
  const limits = codeBounds(target, bounds);
  const result = {
    kind: "quantized" as const,
    scheme,
    low: Math.max(low, limits.low),
    high: Math.min(high, limits.high),
  };
  return addContraction(builder, main, main.inputs, main.attributes.hasBias, result);
}

function addContraction(
  builder: FoldingBuilder,
  node: Contraction,
  inputs: readonly ValueName[],
  hasBias: boolean,
  result: Contraction["attributes"]["result"],
): ValueName {
  const options = { origin: joinedOrigin(node, builder) };
  return node.op === "matmul"
    ? builder.add("matmul", inputs, { ...node.attributes, hasBias, result }, options)
    : builder.add("conv", inputs, { ...node.attributes, hasBias, result }, options);
}

export const raiseRequantize: RaisingRule = (rebuilding, node, inputs) => {
  if (node.op !== "quantize") return undefined;
  const { builder } = rebuilding;
  const target = targetForm(builder, node, inputs);
  const found = target === undefined ? undefined : soleContraction(rebuilding, inputs[0]);
  if (target === undefined || found === undefined) return undefined;
  const { main, bounds: limits } = found;
  const [a, b, bias] = main.inputs;
  const left = staticSteps(builder, a);
  const right = staticSteps(builder, b);
  if (left?.steps.length !== 1 || right === undefined || left.scheme.format.kind !== "int") return undefined;
  const columns = channelSteps(builder, main, b, right);
  if (columns === undefined) return undefined;
  const products = columns.map((step) => left.steps[0] * step);
  const codes = bias === undefined ? [] : biasCodes(builder, bias, products);
  if (codes === undefined) return undefined;
  const bounds = sumBounds(builder, main, a, b);
  const totals = codes.length === 0
    ? bounds
    : codes.map((code, index) => Math.abs(code) + bounds[bounds.length === 1 ? 0 : index]);
  if (!totals.every((total) => total < accumulatorLimit)) return undefined;
  const biasOperand = bias === undefined
    ? []
    : [builder.constant(plainTensor("i32", [codes.length], Int32Array.from(codes)))];
  const shape = products.length === 1 ? [] : [products.length];
  const multiplier = builder.constant(
    floatTensor(shape, products.map((product) => outputMultiplier(product, target.step))),
  );
  const { low, high } = codeBounds(target, limits);
  return [addContraction(builder, main, [a, b, ...biasOperand, multiplier, ...inputs.slice(1)], bias !== undefined, {
    kind: "quantized",
    scheme: node.attributes.scheme,
    low,
    high,
  })];
};

/** The contraction of codes that only this value's clamps read. */
function soleContraction(
  { builder, uses }: Rebuilding,
  value: ValueName,
): { readonly main: Contraction; readonly bounds: Bounds } | undefined {
  let bounds: Bounds = { low: -Infinity, high: Infinity };
  let at = value;
  for (;;) {
    const node = builder.producerOf(at);
    if (node === undefined || uses(at) !== 1) return undefined;
    if (node.op === "conv" || node.op === "matmul") {
      const isInteger = [0, 1].every((index) => builder.typeOf(node.inputs[index]).encoding.kind === "quantized");
      return isInteger && node.attributes.result.kind === "real" ? { main: node, bounds } : undefined;
    }
    if (node.op !== "map" || node.inputs.length !== 1) return undefined;
    const inner = clampBounds(node.attributes.expression);
    if (inner === undefined) return undefined;
    bounds = composed(inner, bounds);
    at = node.inputs[0];
  }
}

/** Limits of clamping to `first`, then to `second`. */
function composed(first: Bounds, second: Bounds): Bounds {
  const clamp = (value: number) => Math.min(second.high, Math.max(second.low, value));
  return { low: clamp(first.low), high: clamp(first.high) };
}

/** One step for all of `b`, or one for each output channel; undefined for any other layout or format. */
function channelSteps(
  builder: FoldingBuilder,
  node: Contraction,
  b: ValueName,
  { scheme, steps }: StaticSteps,
): readonly number[] | undefined {
  if (scheme.format.kind !== "int" || intRange(scheme.format).max >= 2 ** 31 - 1) return undefined;
  if (steps.length === 1) return steps;
  const { shape } = builder.typeOf(b);
  const axis = node.op === "conv" ? 0 : node.attributes.transposeB ? shape.length - 2 : shape.length - 1;
  const isPerChannel = isStatic(shape[axis]) && steps.length === shape[axis] && scheme.block[axis] === 1;
  return isPerChannel ? steps : undefined;
}

/** The bias as codes of the steps `products`; undefined where it is not held so. */
function biasCodes(
  builder: FoldingBuilder,
  bias: ValueName,
  products: readonly number[],
): readonly number[] | undefined {
  const held = heldBias(builder, bias);
  if (held === undefined) return undefined;
  const isSame = held.codes.every((_, index) =>
    isSameStep(held.steps[held.steps.length === 1 ? 0 : index], products[products.length === 1 ? 0 : index])
  );
  return isSame ? held.codes : undefined;
}

/** Integer codes and steps of a bias that is the decoding of a constant. */
function heldBias(
  builder: FoldingBuilder,
  bias: ValueName,
): { readonly codes: readonly number[]; readonly steps: readonly number[] } | undefined {
  const node = builder.producerOf(bias);
  if (node?.op === "reshape") return heldBias(builder, node.inputs[0]);
  const tensor = node?.op === "dequantize" ? builder.constantOf(node.inputs[0]) : undefined;
  if (tensor?.kind !== "quantized" || tensor.scheme.format.kind !== "int" || tensor.offsets !== undefined) {
    return undefined;
  }
  const steps = Array.from(tensor.steps.data);
  if (steps.length !== 1 && steps.length !== tensor.codes.data.length) return undefined;
  const zeros = tensor.zeros === undefined ? undefined : Array.from(tensor.zeros.data);
  const codes = Array.from<number | bigint, number>(tensor.codes.data, Number).map((code, index) =>
    code - (zeros === undefined ? 0 : zeros[zeros.length === 1 ? 0 : index])
  );
  return { codes, steps };
}
