/** The ways of running a graph that conformance compares: one column of the table each. */

import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import type { WasmVariant } from "../../targets/wasm/kernel.ts";
import { runCompiled } from "../../targets/wasm/run_graph.ts";

/** Tensors by the names of the graph's inputs in, by those of its outputs out. */
export interface Runner {
  readonly name: string;
  run(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, Tensor>>>;
}

const evaluator: Runner = {
  name: "evaluator",
  run: (graph, inputs) => Promise.resolve().then(() => evaluateGraph(graph, inputs).outputs),
};

function wasm(name: string, variant: WasmVariant): Runner {
  return { name, run: (graph, inputs) => runCompiled(graph, inputs, { variant }) };
}

export const runners: readonly Runner[] = [
  evaluator,
  wasm("wasm simd128", "simd128"),
  wasm("wasm relaxed", "relaxed"),
];
