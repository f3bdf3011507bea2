/** Compiles a graph in memory and runs it: what tests compare with the evaluator. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import type { WasmVariant } from "./kernel.ts";
import { mathLibrary } from "./math/library.ts";
import { lowerWasm } from "./program.ts";
import { type RunningProgram, startProgram } from "./run_program.ts";
import { wasmKernels } from "./target.ts";

export interface RunOptions {
  readonly variant: WasmVariant;
}

/** Compiles a graph; `run` may be called again and goes on from the states. */
export function compileGraph(graph: Graph, { variant }: RunOptions): Promise<RunningProgram> {
  return startProgram(lowerWasm(graph, wasmKernels), variant, mathLibrary);
}

/** Runs a graph once, from clear states. Inputs and outputs go by the source model's names. */
export async function runCompiled(
  graph: Graph,
  inputs: Readonly<Record<string, Tensor>>,
  options: RunOptions,
): Promise<Record<string, Tensor>> {
  return await (await compileGraph(graph, options)).run(inputs);
}
