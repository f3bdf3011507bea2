/** The ways of running a graph that conformance compares: one column of the table each. */

import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";

/** Tensors by the names of the graph's inputs in, by those of its outputs out. */
export interface Runner {
  readonly name: string;
  run(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, Tensor>>>;
}

const evaluator: Runner = {
  name: "evaluator",
  run: (graph, inputs) => Promise.resolve().then(() => evaluateGraph(graph, inputs).outputs),
};

export const runners: readonly Runner[] = [evaluator];
