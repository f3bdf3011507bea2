/** Runs one op on the evaluator. */

import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { OpAttributes, OpName } from "../../compiler/ir/node.ts";
import { type Tensor, typeOfTensor } from "../../compiler/ir/tensor.ts";

/** The outputs of an op for these operands, type-checked as in a graph. */
export function runOp<Op extends OpName>(
  op: Op,
  operands: readonly Tensor[],
  attributes: OpAttributes[Op],
): readonly Tensor[] {
  const builder = new GraphBuilder(op);
  const values = operands.map((operand, index) => builder.input(`x${index}`, typeOfTensor(operand)));
  const results = builder.addAll(op, values, attributes);
  results.forEach((value, index) => builder.output(`y${index}`, value));
  const inputs = Object.fromEntries(operands.map((operand, index) => [`x${index}`, operand]));
  const { outputs } = evaluateGraph(builder.finish("quant"), inputs);
  return results.map((_, index) => outputs[`y${index}`]);
}
