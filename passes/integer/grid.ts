/** The step and zero point of values that are held as static integer codes, and the plain codes themselves. */

import { roundHalfEven } from "../../compiler/numeric/element.ts";
import { type IntFormat, intRange } from "../../compiler/numeric/number_format.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import type { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/** One step and zero point for all codes of a tensor. */
export interface CodeGrid {
  readonly format: IntFormat;
  readonly step: number;
  readonly zero: number;
}

/** A tensor of codes on one grid. */
export interface Coded {
  /** The quantized value. */
  readonly value: ValueName;
  readonly grid: CodeGrid;
}

/** The grid of a quantized value whose step and zero point are constants, one for the whole tensor. */
export function gridOfValue(value: ValueName, view: GraphView): CodeGrid | undefined {
  const { encoding } = view.typeOf(value);
  if (encoding.kind !== "quantized") return undefined;
  const { scheme } = encoding;
  if (scheme.format.kind !== "int" || scheme.block.some((entry) => entry !== "all") || scheme.offset || scheme.outer) {
    return undefined;
  }
  const operands = stepOperands(view.producer(value));
  if (operands === undefined) return undefined;
  const step = single(view.constantOf(operands.step));
  const zero = operands.zero === undefined ? 0 : single(view.constantOf(operands.zero));
  return step === undefined || zero === undefined ? undefined : { format: scheme.format, step, zero };
}

function stepOperands(node: Node | undefined): { readonly step: ValueName; readonly zero?: ValueName } | undefined {
  switch (node?.op) {
    case "quantize":
      return node.attributes.scheme.range === "static" ? { step: node.inputs[1], zero: node.inputs[2] } : undefined;
    case "fromCodes":
      return { step: node.inputs[1], zero: node.inputs[2] };
    case "conv":
    case "matmul": {
      if (node.attributes.result.kind !== "quantized") return undefined;
      const first = node.attributes.hasBias ? 4 : 3;
      return { step: node.inputs[first], zero: node.inputs[first + 1] };
    }
    default:
      return undefined;
  }
}

function single(tensor: Tensor | undefined): number | undefined {
  return tensor?.kind === "plain" && tensor.data.length === 1 ? Number(tensor.data[0]) : undefined;
}

/** The codes behind a value that decodes them. */
export function decodedCodes(value: ValueName, view: GraphView): Coded | undefined {
  const node = view.producer(value);
  if (node?.op !== "dequantize") return undefined;
  const grid = gridOfValue(node.inputs[0], view);
  return grid === undefined ? undefined : { value: node.inputs[0], grid };
}

/** The plain codes of a quantized value, without a node where they were bundled just before. */
export function plainCodes(patch: PatchBuilder, value: ValueName): ValueName {
  const node = patch.view.producer(value);
  return node?.op === "fromCodes" ? node.inputs[0] : patch.add("toCodes", [value], {}, { name: `${value}.codes` });
}

/** The code of a real number, as the quantize op finds it. */
export function codeOf(value: number, grid: CodeGrid): number {
  const { min, max } = intRange(grid.format);
  if (value === -Infinity) return min;
  if (value === Infinity) return max;
  return Math.min(max, Math.max(min, roundHalfEven(Math.fround(value / grid.step)) + grid.zero));
}
