/** What the evaluator of a node may look up beside its operands. */

import type { SymbolValues } from "../extent.ts";
import type { OpAttributes, OpName } from "../node.ts";
import type { PlainTensor, QuantizedTensor, Tensor } from "../tensor.ts";
import { InvariantError } from "../../diagnostics.ts";
import { StateMemory } from "./state_memory.ts";

export interface Environment {
  readonly constants: { get(hash: string): Tensor };
  /** Values of the symbols in this run, `past` and `total` among them. */
  readonly symbols: SymbolValues;
  readonly states: StateMemory;
}

/** Computes one op. Shapes agree with the op's type rule: the evaluator runs on verified graphs. */
export type Evaluate<Op extends OpName> = (
  inputs: readonly Tensor[],
  attributes: OpAttributes[Op],
  environment: Environment,
) => readonly Tensor[];

/** An environment for folding: constants, and no symbols or states. */
export function constantEnvironment(constants: { get(hash: string): Tensor }): Environment {
  return { constants, symbols: {}, states: new StateMemory([], {}) };
}

/** The i-th operand, which the type rule says is plain. */
export function plainInput(inputs: readonly Tensor[], index: number): PlainTensor {
  const tensor = inputs[index];
  if (tensor?.kind !== "plain") throw new InvariantError(`Operand ${index} is ${tensor?.kind ?? "absent"}, not plain`);
  return tensor;
}

/** The i-th operand, which the type rule says is quantized. */
export function quantizedInput(inputs: readonly Tensor[], index: number): QuantizedTensor {
  const tensor = inputs[index];
  if (tensor?.kind !== "quantized") {
    throw new InvariantError(`Operand ${index} is ${tensor?.kind ?? "absent"}, not quantized`);
  }
  return tensor;
}
