/** The float reference: runs graphs on tfjs in f32. What tfjs cannot hold (integers, f64, codes) runs on the evaluator. */

import * as tf from "@tensorflow/tfjs-core";
import { type Environment, evaluateNode, StateMemory } from "../ir/evaluate/mod.ts";
import { solveSymbols } from "../ir/evaluate/evaluate_graph.ts";
import type { Graph } from "../ir/graph.ts";
import type { Node, NodeOf, OpName, ValueName } from "../ir/node.ts";
import type { Tensor } from "../ir/tensor.ts";
import { InvariantError } from "../diagnostics.ts";
import { startBackend } from "./backend.ts";
import { Held } from "./held.ts";
import { type ReferenceContext, type ReferenceOp, referenceOps } from "./ops.ts";

export type TensorRecord = Readonly<Record<string, Tensor>>;

/** Sees a value as soon as it is computed; `read` fetches it. */
export type Observe = (value: ValueName, read: () => Tensor) => void;

export interface ReferenceRun {
  readonly observe?: Observe;
  /** Changed by the run; fresh zero states when absent. */
  readonly states?: StateMemory;
}

/**
 * A graph made ready to run many times: constants stay on the device until `dispose`. Quantized values are computed as
 * the real numbers that their codes stand for.
 */
export class FloatReference {
  readonly #constants = new Map<string, Held>();
  readonly #resident = new Set<Held>();
  readonly #last: ReadonlyMap<ValueName, number>;

  private constructor(readonly graph: Graph) {
    this.#last = lastReaders(graph);
  }

  static async create(graph: Graph): Promise<FloatReference> {
    await startBackend();
    return new FloatReference(graph);
  }

  /** Outputs by source name. Throws DiagnosticError when the inputs do not fit the graph. */
  run(inputs: TensorRecord, { observe, states }: ReferenceRun = {}): TensorRecord {
    const memory = states ?? new StateMemory(this.graph.states, this.graph.symbols);
    const { symbols, positions } = solveSymbols(this.graph, inputs, {}, memory.past);
    const environment: Environment = { constants: this.graph.constants, symbols, states: memory };
    const values = new Map<ValueName, Held>();
    const hold = (value: ValueName, held: Held) => {
      values.set(value, held);
      observe?.(value, () => held.host());
    };
    for (const { name, value } of this.graph.inputs) hold(value, Held.onHost(inputs[name]));
    const writes: (() => void)[] = [];
    this.graph.nodes.forEach((node, index) => {
      if (node.op === "constant") {
        values.set(node.outputs[0], this.#constant(node.attributes.hash));
        return;
      }
      const results = compute(node, node.inputs.map((value) => heldValue(values, value)), environment);
      node.outputs.forEach((value, output) => hold(value, results[output]));
      if (node.op === "writeState") writes.push(() => memory.set(node.attributes.state, results[0].host()));
      this.#release(node, index, values);
    });
    for (const write of writes) write();
    memory.advance(positions);
    const outputs = this.graph.outputs.map(({ name, value }) => [name, heldValue(values, value).host()]);
    for (const held of values.values()) if (!this.#isConstant(held)) held.dispose();
    return Object.fromEntries(outputs);
  }

  dispose(): void {
    for (const held of this.#constants.values()) held.dispose();
    this.#constants.clear();
    this.#resident.clear();
  }

  #constant(hash: string): Held {
    const known = this.#constants.get(hash);
    if (known !== undefined) return known;
    const held = Held.onHost(this.graph.constants.get(hash));
    this.#constants.set(hash, held);
    this.#resident.add(held);
    return held;
  }

  #isConstant(held: Held): boolean {
    return this.#resident.has(held);
  }

  #release(node: Node, index: number, values: Map<ValueName, Held>): void {
    for (const value of new Set([...node.inputs, ...node.outputs])) {
      if ((this.#last.get(value) ?? -1) > index) continue;
      const held = values.get(value);
      values.delete(value);
      if (held !== undefined && !this.#isConstant(held)) held.dispose();
    }
  }
}

/** Runs a graph once on tfjs. Outputs by source name. */
export async function runFloat(
  graph: Graph,
  inputs: TensorRecord,
  observe?: Observe,
): Promise<TensorRecord> {
  const reference = await FloatReference.create(graph);
  try {
    return reference.run(inputs, observe === undefined ? {} : { observe });
  } finally {
    reference.dispose();
  }
}

function heldValue(values: ReadonlyMap<ValueName, Held>, value: ValueName): Held {
  const held = values.get(value);
  if (held === undefined) throw new InvariantError(`Value %${value} has not been computed`);
  return held;
}

function lastReaders(graph: Graph): ReadonlyMap<ValueName, number> {
  const last = new Map<ValueName, number>();
  graph.nodes.forEach((node, index) => node.inputs.forEach((value) => last.set(value, index)));
  for (const { value } of graph.outputs) last.set(value, Infinity);
  return last;
}

/** Operands that carry integers whatever the op computes: they stay on the host. */
const hostOperands: { readonly [Op in OpName]?: readonly number[] } = {
  gather: [1],
  resample: [1],
  attention: [3],
  quantize: [2],
  pad: [1],
};

function compute(node: Node, operands: readonly Held[], environment: Environment): readonly Held[] {
  const context = { symbols: environment.symbols, past: environment.states.past };
  const exact = () => evaluateNode(node, operands.map((operand) => operand.host()), environment);
  if (
    operands.every((operand, index) => hostOperands[node.op]?.includes(index) || operand.isReal) && operands.length > 0
  ) {
    const results = onDevice(node, operands, context);
    if (results !== undefined) {
      return results.map((tensor, index) =>
        node.op === "quantize" ? Held.onDevice(tensor, () => exact()[index]) : Held.onDevice(tensor)
      );
    }
  }
  return exact().map((tensor) => Held.onHost(tensor));
}

function onDevice(node: Node, operands: readonly Held[], context: ReferenceContext): readonly tf.Tensor[] | undefined {
  let results: readonly tf.Tensor[] | undefined;
  tf.tidy(() => {
    const own = new Set(operands.map((operand) => (operand.isReal ? operand.device() : undefined)));
    results = composed(node, operands, context)?.map((tensor) => (own.has(tensor) ? tf.clone(tensor) : tensor));
    return results === undefined ? [] : [...results];
  });
  return results;
}

function composed<Op extends OpName>(
  node: NodeOf<Op>,
  operands: readonly Held[],
  context: ReferenceContext,
): readonly tf.Tensor[] | undefined {
  const op: ReferenceOp<Op> | undefined = referenceOps[node.op];
  return op?.(node, operands, context);
}
