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

/** Sees one value of all samples; the tensors that it returns take their place. */
export type Revise = (node: Node, value: ValueName, read: () => readonly Tensor[]) => readonly Tensor[] | undefined;

export interface ReferenceRun {
  readonly observe?: Observe;
  /** Changed by the run; fresh zero states when absent. */
  readonly states?: StateMemory;
}

/** One sample on its way through the graph. */
interface RunState {
  readonly values: Map<ValueName, Held>;
  readonly environment: Environment;
  readonly positions: number;
  /** State updates, made when the run ends. */
  readonly writes: (() => void)[];
}

/**
 * A graph made ready to run many times: constants stay on the device until `dispose`. Quantized values are computed as
 * the real numbers that their codes stand for.
 */
export class FloatReference {
  readonly #constants = new Map<string, Held>();
  readonly #resident = new Set<Held>();
  readonly #last: ReadonlyMap<ValueName, number>;
  /** Quantized values whose codes are read as integers: they are computed exactly, on the host. */
  readonly #coded: ReadonlySet<ValueName>;

  private constructor(readonly graph: Graph) {
    this.#last = lastReaders(graph);
    this.#coded = codedValues(graph);
  }

  static async create(graph: Graph): Promise<FloatReference> {
    await startBackend();
    return new FloatReference(graph);
  }

  /** Outputs by source name. Throws DiagnosticError when the inputs do not fit the graph. */
  run(inputs: TensorRecord, { observe, states }: ReferenceRun = {}): TensorRecord {
    const run = this.#begin(inputs, states);
    for (const { value } of this.graph.inputs) observe?.(value, () => heldValue(run.values, value).host());
    this.graph.nodes.forEach((node, index) => {
      this.#step(run, node);
      if (node.op !== "constant") {
        for (const value of node.outputs) observe?.(value, () => heldValue(run.values, value).host());
      }
      this.#release(run, node, index);
    });
    return this.#end(run);
  }

  /**
   * Runs many samples side by side, node by node: every sample's value is there before the next node runs. `revise` sees
   * one output of all samples and may put other tensors in its place. Nodes whose one output is `supplied` are not
   * computed: `revise` makes them, without reading. Memory grows with the number of samples.
   */
  runTogether(
    samples: readonly TensorRecord[],
    revise: Revise,
    supplied: (value: ValueName) => boolean = () => false,
  ): readonly TensorRecord[] {
    const runs = samples.map((inputs) => this.#begin(inputs, undefined));
    this.graph.nodes.forEach((node, index) => {
      if (!supplied(node.outputs[0])) { for (const run of runs) this.#step(run, node); }
      if (node.op !== "constant") {
        for (const value of node.outputs) {
          const revised = revise(node, value, () => runs.map((run) => heldValue(run.values, value).host()));
          revised?.forEach((tensor, sample) => {
            runs[sample].values.get(value)?.dispose();
            runs[sample].values.set(value, Held.onHost(tensor));
          });
        }
      }
      for (const run of runs) this.#release(run, node, index);
    });
    return runs.map((run) => this.#end(run));
  }

  #begin(inputs: TensorRecord, states: StateMemory | undefined): RunState {
    const memory = states ?? new StateMemory(this.graph.states, this.graph.symbols);
    const { symbols, positions } = solveSymbols(this.graph, inputs, {}, memory.past);
    const values = new Map(this.graph.inputs.map(({ name, value }) => [value, Held.onHost(inputs[name])]));
    const environment: Environment = { constants: this.graph.constants, symbols, states: memory };
    return { values, environment, positions, writes: [] };
  }

  #step(run: RunState, node: Node): void {
    if (node.op === "constant") {
      run.values.set(node.outputs[0], this.#constant(node.attributes.hash));
      return;
    }
    const operands = node.inputs.map((value) => heldValue(run.values, value));
    const results = compute(node, operands, run.environment, this.#coded.has(node.outputs[0]));
    node.outputs.forEach((value, output) => run.values.set(value, results[output]));
    if (node.op === "writeState") {
      const { state } = node.attributes;
      run.writes.push(() => run.environment.states.set(state, results[0].host()));
    }
  }

  #end(run: RunState): TensorRecord {
    for (const write of run.writes) write();
    run.environment.states.advance(run.positions);
    const outputs = this.graph.outputs.map(({ name, value }) => [name, heldValue(run.values, value).host()]);
    for (const held of run.values.values()) if (!this.#resident.has(held)) held.dispose();
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

  #release(run: RunState, node: Node, index: number): void {
    for (const value of new Set([...node.inputs, ...node.outputs])) {
      if ((this.#last.get(value) ?? -1) > index) continue;
      const held = run.values.get(value);
      run.values.delete(value);
      if (held !== undefined && !this.#resident.has(held)) held.dispose();
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

function compute(
  node: Node,
  operands: readonly Held[],
  environment: Environment,
  readsCodes: boolean,
): readonly Held[] {
  const stays = hostOperands[node.op] ?? [];
  const fits = operands.every((operand, index) => stays.includes(index) || operand.isReal);
  if (fits && !readsCodes && operands.length > 0) {
    const context = { symbols: environment.symbols, past: environment.states.past };
    const results = onDevice(node, operands, context);
    if (results !== undefined) return results.map((tensor) => Held.onDevice(tensor));
  }
  return evaluateNode(node, operands.map((operand) => operand.host()), environment)
    .map((tensor) => Held.onHost(tensor));
}

/** Outputs of quantize nodes that are read by other ops than decodings and contractions with a real result. */
function codedValues(graph: Graph): ReadonlySet<ValueName> {
  const coded = new Set<ValueName>();
  const quantized = new Set(graph.nodes.filter((node) => node.op === "quantize").map((node) => node.outputs[0]));
  for (const node of graph.nodes) {
    const real = node.op === "dequantize" ||
      ((node.op === "conv" || node.op === "matmul") && node.attributes.result.kind === "real");
    if (!real) { for (const value of node.inputs) if (quantized.has(value)) coded.add(value); }
  }
  for (const { value } of graph.outputs) if (quantized.has(value)) coded.add(value);
  return coded;
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
