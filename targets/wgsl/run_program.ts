/** Runs a lowered program on this process's GPU, through the runtime that artifacts ship. */

import type { Tensor } from "../../compiler/ir/tensor.ts";
import type { Model } from "../../runtime/api.ts";
import { openDevice } from "../../runtime/wgsl/device.ts";
import { uploadWeights } from "../../runtime/wgsl/load.ts";
import { createGpuModel } from "../../runtime/wgsl/model.ts";
import { createProgram, type PipelineCache } from "../../runtime/wgsl/program.ts";
import { chooseShaders, variantName } from "../../runtime/wgsl/variants.ts";
import { noFiles } from "../plan/base_spec.ts";
import { gatherOutputs, portInputs } from "../plan/run_ports.ts";
import type { WgslProgram } from "./program.ts";
import { gpuSpec } from "./spec.ts";

/** A program on the GPU: call `run` again to go on from its states. */
export interface RunningProgram {
  readonly program: WgslProgram;
  readonly model: Model;
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  dispose(): void;
}

/** One device for all graphs of a process; pipelines of equal text are made once. */
let opened: Promise<GPUDevice | undefined> | undefined;
const pipelines: PipelineCache = new Map();

/** The GPU of this process; undefined where there is none. */
export function gpuDevice(): Promise<GPUDevice | undefined> {
  opened ??= openDevice("test", true).catch(() => undefined);
  return opened;
}

/** Makes a program ready on `gpuDevice()`. */
export async function startProgram(
  program: WgslProgram,
  readSelfTest: () => Promise<Uint8Array>,
): Promise<RunningProgram> {
  const device = await gpuDevice();
  if (device === undefined) throw new Error("There is no WebGPU adapter");
  const spec = gpuSpec(program, noFiles);
  const bytes = new Uint8Array(Math.ceil(program.weightsBytes / 4) * 4);
  for (const { offset, bytes: part } of program.weights) bytes.set(part, offset);
  const weights = await uploadWeights(device, program.graph.name, bytes);
  const texts = new Map(
    program.shaders.flatMap(({ name, variants }) =>
      variants.map(({ needs, text }) => [variantName(name, needs), text])
    ),
  );
  const chosen = chooseShaders(spec, device, (name) => texts.get(name));
  const running = await createProgram(device, spec, weights, chosen, pipelines);
  const model = createGpuModel(spec, {
    program: running,
    readSelfTest,
    lost: () => undefined,
    dispose: () => {
      running.dispose();
      weights.destroy();
    },
  });
  return {
    program,
    model,
    run: async (inputs) => gatherOutputs(program.graph, await model.run(portInputs(inputs))),
    dispose: () => model.dispose(),
  };
}
