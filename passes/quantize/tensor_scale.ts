/**
 * Two-level steps (NVFP4): block steps in e4m3fn under one power-of-two scale for the whole tensor.
 *
 *   x = scale · (code · step),  y = x · Wᵀ = scale · Σ_blocks step Σ code · b
 *
 * The scale leaves the contraction by linearity: the scheme holds the block steps alone, and the result (with a bias that
 * is divided beforehand) is multiplied once per entry. A power of two makes every such product exact, and costs less than
 * one bit of the 17 that e4m3fn's range has.
 */

import { binary, input, literal } from "../../compiler/ir/expression.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { isPlain, type PlainTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import { formatMax, type NumberFormat } from "../../compiler/numeric/number_format.ts";
import type { StepFormat } from "../../compiler/numeric/scheme.ts";
import type { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/** Largest value of e4m3fn. */
const topStep = 448;

/** The least power of two under which no step of a tensor with this largest magnitude passes 448; 1 for other step formats. */
export function tensorScale(format: NumberFormat, step: StepFormat, largest: number): number {
  if (step !== "e4m3fn" || !(largest > 0) || !Number.isFinite(largest)) return 1;
  const exponent = Math.ceil(Math.log2(largest / (formatMax(format) * topStep)));
  return 2 ** Math.min(126, Math.max(-126, exponent));
}

export function largestMagnitude(values: ArrayLike<number>): number {
  let largest = 0;
  for (let index = 0; index < values.length; index++) largest = Math.max(largest, Math.abs(values[index]));
  return largest;
}

/** Every entry divided by the scale. */
export function divided(tensor: PlainTensor<"f32">, scale: number): PlainTensor<"f32"> {
  return scale === 1 ? tensor : plainTensor("f32", tensor.shape, tensor.data.map((value) => value / scale));
}

export type Weighted = Extract<Node, { readonly op: "conv" | "matmul" }>;

/** Whether a scale can leave the contraction: its bias, if any, is constant. */
export function scaleCanLeave(node: Weighted, view: GraphView): boolean {
  if (!node.attributes.hasBias) return true;
  const bias = view.constantOf(node.inputs[2]);
  return bias !== undefined && isPlain(bias, "f32");
}

/** Adds `node` with its operands divided by `scale` in all, and the product that makes its result what it was. */
export function addScaled(patch: PatchBuilder, view: GraphView, node: Weighted, scale: number): void {
  if (scale === 1) {
    if (node.op === "conv") patch.addAs(node.outputs, "conv", node.inputs, node.attributes);
    else patch.addAs(node.outputs, "matmul", node.inputs, node.attributes);
    return;
  }
  const inputs = dividedBias(patch, view, node, scale);
  const options = { name: `${node.outputs[0]}.scaled` };
  const product = node.op === "conv"
    ? patch.add("conv", inputs, node.attributes, options)
    : patch.add("matmul", inputs, node.attributes, options);
  patch.addAs(node.outputs, "map", [product], { expression: binary("mul", input(0), literal(scale)) });
}

function dividedBias(patch: PatchBuilder, view: GraphView, node: Weighted, scale: number): readonly ValueName[] {
  const bias = node.attributes.hasBias ? view.constantOf(node.inputs[2]) : undefined;
  if (bias === undefined || !isPlain(bias, "f32")) return node.inputs;
  return [...node.inputs.slice(0, 2), patch.constant(divided(bias, scale), { name: "bias" })];
}
