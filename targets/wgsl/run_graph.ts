/** Compiles a graph in memory and runs it on the GPU: what tests compare with the evaluator. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import { openDevice } from "../../runtime/wgsl/device.ts";
import { uploadWeights } from "../../runtime/wgsl/load.ts";
import { createGpuModel } from "../../runtime/wgsl/model.ts";
import { createProgram, type PipelineCache } from "../../runtime/wgsl/program.ts";
import { featuresOf, variantFor } from "../../runtime/wgsl/variants.ts";
import { gatherOutputs, portInputs } from "../wasm/run_program.ts";
import { type KernelChoice, lowerWgsl, type WgslProgram } from "./program.ts";
import { gpuSpec } from "./spec.ts";
import { wgslKernels } from "./select.ts";

/** A program on the GPU: call `run` again to go on from its states. */
export interface RunningGpuProgram {
  readonly program: WgslProgram;
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  dispose(): void;
}

/** One device for all graphs of a process; pipelines of equal text are made once. */
let opened: Promise<GPUDevice | undefined> | undefined;
const pipelines: PipelineCache = new Map();

/** The GPU of this process; undefined where there is none. */
export function gpuDevice(): Promise<GPUDevice | undefined> {
  opened ??= openDevice("test").catch(() => undefined);
  return opened;
}

/** Compiles a graph for `gpuDevice()`. */
export async function startOnGpu(graph: Graph, choice: KernelChoice = wgslKernels): Promise<RunningGpuProgram> {
  const device = await gpuDevice();
  if (device === undefined) throw new Error("There is no WebGPU adapter");
  const program = lowerWgsl(graph, choice);
  const spec = gpuSpec(program, { weights: "", weightsSha256: "", shaders: "", selfTest: "" });
  const bytes = new Uint8Array(Math.ceil(program.weightsBytes / 4) * 4);
  for (const { offset, bytes: part } of program.weights) bytes.set(part, offset);
  const weights = await uploadWeights(device, graph.name, bytes);
  const features = featuresOf(device);
  const chosen = program.shaders.map(({ variants }, index) => {
    const variant = variantFor(spec.kernels[index], features);
    return { variant, text: variants[variant].text };
  });
  const running = await createProgram(device, spec, weights, chosen, pipelines);
  const dispose = () => {
    running.dispose();
    weights.destroy();
  };
  const model = createGpuModel(spec, {
    program: running,
    readSelfTest: () => Promise.reject(new InvariantError("A program in memory has no self test")),
    lost: () => undefined,
    dispose,
  });
  return {
    program,
    run: async (inputs) => gatherOutputs(program.graph, await model.run(portInputs(inputs))),
    dispose,
  };
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
