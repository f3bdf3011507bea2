/** Compiles a graph in memory and runs it on the GPU: what tests compare with the evaluator. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import { type KernelChoice, lowerWgsl } from "./program.ts";
import { type RunningProgram, startProgram } from "./run_program.ts";
import { wgslKernels } from "./select.ts";

/** Compiles a graph for the GPU of this process. */
export function startOnGpu(graph: Graph, choice: KernelChoice = wgslKernels): Promise<RunningProgram> {
  return startProgram(
    lowerWgsl(graph, choice),
    () => Promise.reject(new InvariantError("A program in memory has no self test")),
  );
}

/** Runs a graph once, from clear states. Inputs and outputs go by the source model's names. */
export async function runOnGpu(
  graph: Graph,
  inputs: Readonly<Record<string, Tensor>>,
  choice: KernelChoice = wgslKernels,
): Promise<Record<string, Tensor>> {
  const running = await startOnGpu(graph, choice);
  try {
    return await running.run(inputs);
  } finally {
    running.dispose();
  }
}
