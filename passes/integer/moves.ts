/** Moves of decoded codes that are quantized again: the same moves on the codes. */

import { codeElement } from "../../compiler/numeric/number_format.ts";
import { allocate } from "../../compiler/numeric/element.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { isPlain, plainTensor } from "../../compiler/ir/tensor.ts";
import type { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { linearCodes } from "./code_map.ts";
import { type Coded, type CodeGrid, codeOf, decodedCodes, plainCodes } from "./grid.ts";

/** The codes of a move's result on the grid `target`, or why there are none; undefined when the node moves no codes. */
export function movedCodes(
  node: Node,
  target: CodeGrid,
  patch: PatchBuilder,
): { readonly codes: ValueName } | { readonly declined: string } | undefined {
  const { view } = patch;
  if (node.op === "concat") return joinedCodes(node, target, patch);
  const coded = decodedCodes(node.inputs[0], view);
  if (coded === undefined) return undefined;
  if (!isMoving(node)) return undefined;
  if (!sameGrid(coded.grid, target)) return { declined: "the result has another step than the operand" };
  if (node.op === "pad") return paddedCodes(node, coded, patch);
  const inputs = [plainCodes(patch, coded.value), ...node.inputs.slice(1)];
  return {
    codes: patch.add(node.op, inputs, node.attributes, { name: `${node.outputs[0]}.codes`, origin: node.origin }),
  };
}

type Move = Extract<
  Node,
  { readonly op: "reshape" | "transpose" | "slice" | "expand" | "gather" | "pool" | "reduce" | "pad" }
>;

function isMoving(node: Node): node is Move {
  switch (node.op) {
    case "reshape":
    case "transpose":
    case "slice":
    case "expand":
    case "gather":
    case "pad":
      return true;
    case "pool":
      return node.attributes.kind === "max";
    case "reduce":
      return node.attributes.kind === "max" || node.attributes.kind === "min";
    default:
      return false;
  }
}

function sameGrid(a: CodeGrid, b: CodeGrid): boolean {
  return a.step === b.step && a.zero === b.zero && a.format.bits === b.format.bits &&
    a.format.signed === b.format.signed;
}

/** Zeros are padded as the zero point. */
function paddedCodes(
  node: Extract<Node, { readonly op: "pad" }>,
  coded: Coded,
  patch: PatchBuilder,
): { readonly codes: ValueName } | { readonly declined: string } {
  const codes = plainCodes(patch, coded.value);
  const options = { name: `${node.outputs[0]}.codes`, origin: node.origin };
  if (node.attributes.mode !== "constant") return { codes: patch.add("pad", [codes], node.attributes, options) };
  const value = node.inputs[1] === undefined ? 0 : numberOf(patch.view, node.inputs[1]);
  if (value !== 0) return { declined: "the padding is not zeros" };
  const element = codeElement(coded.grid.format);
  const entry = allocate(element, 1);
  if (entry instanceof BigInt64Array || entry instanceof BigUint64Array) return { declined: "the codes are wide" };
  entry[0] = coded.grid.zero;
  const zero = patch.constant(plainTensor(element, [], entry), { name: "zero" });
  return { codes: patch.add("pad", [codes, zero], node.attributes, options) };
}

function numberOf(view: GraphView, value: ValueName): number | undefined {
  const tensor = view.constantOf(value);
  return tensor?.kind === "plain" && tensor.data.length === 1 ? Number(tensor.data[0]) : undefined;
}

/** Each operand is brought to the result's grid first, where it has another. */
function joinedCodes(
  node: Extract<Node, { readonly op: "concat" }>,
  target: CodeGrid,
  patch: PatchBuilder,
): { readonly codes: ValueName } | { readonly declined: string } | undefined {
  const { view } = patch;
  const operands = node.inputs.map((value) => decodedCodes(value, view));
  if (operands.every((coded) => coded === undefined)) return undefined;
  const parts: ValueName[] = [];
  for (const [index, coded] of operands.entries()) {
    if (coded === undefined) {
      const constant = constantCodes(patch, node.inputs[index], target);
      if (constant === undefined) return { declined: "an operand is not held as codes" };
      parts.push(constant);
      continue;
    }
    const codes = sameGrid(coded.grid, target)
      ? plainCodes(patch, coded.value)
      : regridded(patch, node.inputs[index], coded, target);
    if (codes === undefined) return { declined: "an operand's step is too far from the result's" };
    parts.push(codes);
  }
  return {
    codes: patch.add("concat", parts, node.attributes, { name: `${node.outputs[0]}.codes`, origin: node.origin }),
  };
}

/** A constant operand, coded on the result's grid. */
function constantCodes(patch: PatchBuilder, value: ValueName, target: CodeGrid): ValueName | undefined {
  const tensor = patch.view.constantOf(value);
  if (tensor === undefined || !isPlain(tensor, "f32")) return undefined;
  const element = codeElement(target.format);
  const codes = allocate(element, tensor.data.length);
  if (codes instanceof BigInt64Array || codes instanceof BigUint64Array) return undefined;
  tensor.data.forEach((entry, index) => codes[index] = codeOf(entry, target));
  return patch.constant(plainTensor(element, tensor.shape, codes), { name: `${value}.codes` });
}

function regridded(patch: PatchBuilder, value: ValueName, coded: Coded, target: CodeGrid): ValueName | undefined {
  const form = {
    factors: new Map([[value, Float64Array.of(1)]]),
    shift: Float64Array.of(0),
    low: -Infinity,
    high: Infinity,
  };
  const rank = patch.view.typeOf(value).shape.length;
  const map = linearCodes(patch, form, new Map([[value, { kind: "codes", value, coded }]]), target, { rank, axis: 0 });
  return map === undefined ? undefined : patch.map(map.expression, map.inputs, { name: `${value}.codes` });
}
