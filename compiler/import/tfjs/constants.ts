/** Weights as constants of a graph in progress. */

import { constantEnvironment, evaluateNode } from "../../ir/evaluate/mod.ts";
import { makeNode } from "../../ir/build.ts";
import type { ConstantStore } from "../../ir/constants.ts";
import type { Node } from "../../ir/node.ts";
import type { PlainTensor, Tensor } from "../../ir/tensor.ts";
import { InvariantError } from "../../diagnostics.ts";

/** Folds nodes of constants, for FoldingBuilder. */
export function evaluateConstants(
  node: Node,
  operands: readonly Tensor[],
  constants: ConstantStore,
): readonly Tensor[] {
  return evaluateNode(node, operands, constantEnvironment(constants));
}

/** The tensor with its codes decoded. */
export function decoded(tensor: Tensor, constants: ConstantStore): PlainTensor {
  if (tensor.kind === "plain") return tensor;
  const [plain] = evaluateConstants(makeNode("dequantize", ["q"], ["x"], {}, []), [tensor], constants);
  if (plain.kind !== "plain") throw new InvariantError("dequantize gave a quantized tensor");
  return plain;
}
