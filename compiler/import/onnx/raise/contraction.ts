/**
 * Contractions of decoded operands become contractions of the codes:
 *
 *   Σ ((a - za) * sa) ((b - zb) * sb) = sa * sb * Σ (a - za)(b - zb)
 *
 * Exact over the reals; the sum of products is exact where the float form rounds at every step.
 */

import { decodeCode, formatBits, type NumberFormat } from "../../../numeric/number_format.ts";
import { isFloat } from "../../../numeric/element.ts";
import { isStatic } from "../../../ir/extent.ts";
import type { NodeOf, ValueName } from "../../../ir/node.ts";
import { type QuantizedTensor, sizeOf } from "../../../ir/tensor.ts";
import { centredValues } from "../../../ir/evaluate/codes.ts";
import type { FoldingBuilder } from "../folding_builder.ts";
import { bundled, integerForm } from "./integer_form.ts";
import type { RaisingRule } from "./rebuilding.ts";
import { staticSteps } from "./static_steps.ts";

export type Contraction = NodeOf<"matmul"> | NodeOf<"conv">;

/** Sums must stay below this: accumulators are i32. */
export const accumulatorLimit = 2 ** 31;

export const raiseContraction: RaisingRule = ({ builder }, node, inputs) => {
  if (node.op !== "matmul" && node.op !== "conv") return undefined;
  if (node.attributes.result.kind !== "real") return undefined;
  const [a, b, bias] = inputs;
  const { element } = builder.typeOf(a);
  if (!isFloat(element) || builder.typeOf(a).encoding.kind !== "plain") return undefined;
  const right = quantizedOperand(builder, b);
  if (right === undefined) return undefined;
  const left = quantizedOperand(builder, a);
  const fits = left !== undefined && sumBounds(builder, node, left, right).every((bound) => bound < accumulatorLimit);
  if (!fits && left !== undefined && builder.constantOf(right) === undefined) return undefined;
  const operands = [fits ? left : builder.cast(a, "f32"), right];
  if (bias !== undefined) operands.push(builder.cast(bias, "f32"));
  const sum = node.op === "matmul"
    ? builder.add("matmul", operands, node.attributes)
    : builder.add("conv", operands, node.attributes);
  return [builder.cast(sum, element)];
};

/** The quantized value that a float operand is the decoding of, moves included. */
function quantizedOperand(builder: FoldingBuilder, value: ValueName): ValueName | undefined {
  const node = builder.producerOf(value);
  if (node?.op === "dequantize") return node.inputs[0];
  if (node?.op === "transpose") {
    const source = builder.producerOf(node.inputs[0]);
    const held = source?.op === "dequantize" ? builder.constantOf(source.inputs[0]) : undefined;
    if (held?.kind === "quantized") return transposedConstant(builder, held, node.attributes.permutation);
  }
  const form = integerForm(builder, value);
  return form && bundled(builder, form);
}

/** A quantized constant with its axes permuted: codes, steps, zero points and the scheme's blocks alike. */
function transposedConstant(
  builder: FoldingBuilder,
  tensor: QuantizedTensor,
  permutation: readonly number[],
): ValueName | undefined {
  if (tensor.offsets !== undefined) return undefined;
  const scheme = { ...tensor.scheme, block: permutation.map((axis) => tensor.scheme.block[axis]) };
  const parts = [tensor.codes, tensor.steps, ...(tensor.zeros === undefined ? [] : [tensor.zeros])];
  const operands = parts.map((part) => builder.add("transpose", [builder.constant(part)], { permutation }));
  return builder.add("fromCodes", operands, { scheme, element: tensor.element });
}

/**
 * Bounds of |Σ (a - za)(b - zb)| over all codes of `a`: one for each output channel where `b` is a constant, else one in
 * all. Infinity where none is known.
 */
export function sumBounds(
  builder: FoldingBuilder,
  node: Contraction,
  a: ValueName,
  b: ValueName,
): readonly number[] {
  const left = largestEntry(builder, a);
  const right = builder.constantOf(b);
  const depth = innerSize(builder, node, b);
  if (left === undefined || depth === undefined) return [Infinity];
  if (right?.kind === "quantized" && (node.op === "conv" || right.shape.length === 2)) {
    return channelSums(node, right).map((sum) => sum * left);
  }
  const most = largestEntry(builder, b);
  return [most === undefined ? Infinity : left * most * depth];
}

/** Σ |b - zb| of each output channel. */
function channelSums(node: Contraction, tensor: QuantizedTensor): readonly number[] {
  const { shape } = tensor;
  const isLast = node.op === "matmul" && !node.attributes.transposeB;
  const channels = shape[isLast ? 1 : 0];
  const rest = sizeOf(shape) / Math.max(1, channels);
  const values = centredValues(tensor);
  const sums = new Array<number>(channels).fill(0);
  for (let index = 0; index < values.length; index++) {
    sums[isLast ? index % channels : Math.floor(index / rest)] += Math.abs(values[index]);
  }
  return sums;
}

/** Products that one output sums. */
function innerSize(builder: FoldingBuilder, node: Contraction, b: ValueName): number | undefined {
  const { shape } = builder.typeOf(b);
  const inner = node.op === "conv"
    ? shape.slice(1)
    : [shape[node.attributes.transposeB ? shape.length - 1 : shape.length - 2]];
  return inner.every(isStatic) ? sizeOf(inner) : undefined;
}

/** The largest |value(code) - zero| of any code; undefined where zero points are computed over a wide format. */
function largestEntry(builder: FoldingBuilder, value: ValueName): number | undefined {
  const { encoding } = builder.typeOf(value);
  if (encoding.kind !== "quantized") return undefined;
  const { scheme } = encoding;
  const [low, high] = codeRange(scheme.format);
  if (!scheme.zeroPoint) return Math.max(Math.abs(low), Math.abs(high));
  const zeros = staticSteps(builder, value)?.zeros ?? [low, high];
  return Math.max(...zeros.map((zero) => Math.max(high - zero, zero - low)));
}

function codeRange(format: NumberFormat): readonly [number, number] {
  if (format.kind !== "int") {
    const values = Array.from({ length: 2 ** formatBits(format) }, (_, code) => decodeCode(format, code))
      .filter(Number.isFinite);
    return [Math.min(...values), Math.max(...values)];
  }
  return format.signed ? [-(2 ** (format.bits - 1)), 2 ** (format.bits - 1) - 1] : [0, 2 ** format.bits - 1];
}
