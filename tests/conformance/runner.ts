/** The ways of running a graph that conformance compares: one column of the table each. */

import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import type { WasmVariant } from "../../targets/wasm/kernel.ts";
import { runCompiled } from "../../targets/wasm/run_graph.ts";
import { runOnGpu } from "../../targets/wgsl/run_graph.ts";
import { gpuDevice } from "../../targets/wgsl/run_program.ts";

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

/** WebGPU on this process's adapter (Mesa's software rasterizer where there is no GPU). */
export const gpuRunner: Runner = { name: "wgsl", run: (graph, inputs) => runOnGpu(graph, inputs) };

/** Every runner that this machine has. */
export async function allRunners(): Promise<readonly Runner[]> {
  return await gpuDevice() === undefined ? runners : [...runners, gpuRunner];
}
