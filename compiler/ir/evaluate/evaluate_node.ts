/** Evaluates one node. */

import type { Node, OpAttributes, OpName } from "../node.ts";
import type { Tensor } from "../tensor.ts";
import type { Environment } from "./environment.ts";
import { evaluators } from "./table.ts";

/** The outputs of a node for concrete inputs, in order. Inputs agree with the node's type rule. */
export function evaluateNode(node: Node, inputs: readonly Tensor[], environment: Environment): readonly Tensor[] {
  return evaluateOp(node.op, inputs, node.attributes, environment);
}

function evaluateOp<Op extends OpName>(
  op: Op,
  inputs: readonly Tensor[],
  attributes: OpAttributes[Op],
  environment: Environment,
): readonly Tensor[] {
  return evaluators[op](inputs, attributes, environment);
}
