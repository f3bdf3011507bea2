/** Runs a lowered program in this process, through the runtime that artifacts ship. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import type { Model } from "../../runtime/api.ts";
import { createModel } from "../../runtime/wasm/model.ts";
import { noFiles } from "../plan/base_spec.ts";
import { gatherOutputs, portInputs } from "../plan/run_ports.ts";
import type { WasmVariant } from "./kernel.ts";
import { assemble, type MathLibrary, moduleText } from "./module.ts";
import type { WasmProgram } from "./program.ts";
import { modelSpec } from "./spec.ts";

/** A program in memory: call `run` again to go on from its states. */
export interface RunningProgram {
  readonly model: Model;
  readonly moduleBytes: number;
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
}

/** Assembles and instantiates a program. */
export async function startProgram(
  program: WasmProgram,
  variant: WasmVariant,
  math: MathLibrary,
): Promise<RunningProgram> {
  const bytes = assemble(moduleText(program, variant, math), variant);
  const noTest = () => Promise.reject(new InvariantError("A program in memory has no self test"));
  const model = await instantiate(program, bytes, variant, noTest);
  return {
    model,
    moduleBytes: bytes.byteLength,
    run: async (inputs) => gatherOutputs(program.graph, await model.run(portInputs(inputs))),
  };
}

/** Makes a model of assembled kernels in this process, with a copy of the weights. */
export async function instantiate(
  program: WasmProgram,
  bytes: Uint8Array<ArrayBuffer>,
  variant: WasmVariant,
  readSelfTest: () => Promise<Uint8Array>,
): Promise<Model> {
  const memory = new WebAssembly.Memory({ initial: program.memory.pages });
  for (const { offset, bytes: weights } of program.weights) {
    new Uint8Array(memory.buffer, program.memory.weightsBase + offset, weights.byteLength).set(weights);
  }
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  return createModel(modelSpec(program, noFiles), { exports: instance.exports, memory, variant, readSelfTest });
}
