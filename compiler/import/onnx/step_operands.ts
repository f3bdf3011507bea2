/** Where the steps of a quantized value come from. */

import type { Node, ValueName } from "../../ir/node.ts";

/** The operands that give a node's quantized result its static steps and zero points; undefined where it has none. */
export function stepOperands(
  node: Node,
): { readonly step: ValueName; readonly zero: ValueName | undefined } | undefined {
  switch (node.op) {
    case "quantize":
    case "fromCodes":
      return { step: node.inputs[1], zero: node.attributes.scheme.zeroPoint ? node.inputs[2] : undefined };
    case "conv":
    case "matmul": {
      if (node.attributes.result.kind !== "quantized") return undefined;
      const first = node.attributes.hasBias ? 4 : 3;
      const hasZero = node.attributes.result.scheme.zeroPoint;
      return { step: node.inputs[first], zero: hasZero ? node.inputs[first + 1] : undefined };
    }
    default:
      return undefined;
  }
}

/** f32(f32(product) / step) with product = stepA * stepB: rounded as onnxruntime's integer kernels do it. */
export function outputMultiplier(product: number, step: number): number {
  return Math.fround(Math.fround(product) / step);
}
