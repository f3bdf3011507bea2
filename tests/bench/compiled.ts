/** Models through the whole compile path, in this process. */

import { formatDiagnostic, type Outcome } from "../../compiler/diagnostics.ts";
import { prepareImported, prepareModel, type PrepareOptions } from "../../compiler/driver.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { importOnnxBytes } from "../../compiler/import/onnx/import_onnx.ts";
import type { InputTensor, Model, OutputTensor } from "../../runtime/api.ts";
import { createModel } from "../../runtime/wasm/model.ts";
import { noFiles } from "../../targets/plan/base_spec.ts";
import type { WasmVariant } from "../../targets/wasm/kernel.ts";
import { mathLibrary } from "../../targets/wasm/math/library.ts";
import { assemble, moduleText } from "../../targets/wasm/module.ts";
import { type KernelChoice, lowerWasm } from "../../targets/wasm/program.ts";
import { modelSpec } from "../../targets/wasm/spec.ts";
import { wasmKernels } from "../../targets/wasm/target.ts";

export interface CompiledModel {
  readonly model: Model;
  /** Runs the kernels alone, over the inputs of the last run. */
  readonly kernels: () => void;
  /** Ids of the kernels in the order of their calls. */
  readonly kernelIds: readonly string[];
  readonly weightBytes: number;
}

export type RecipeOptions = Pick<PrepareOptions, "recipe" | "overrides" | "calibration">;

function valueOf<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Error(outcome.diagnostics.map(formatDiagnostic).join("\n"));
  return outcome.value;
}

/** Compiles an ONNX model given by its bytes. */
export async function compileBytes(
  bytes: Uint8Array,
  options: RecipeOptions,
  variant: WasmVariant = "relaxed",
): Promise<CompiledModel> {
  const imported = valueOf(importOnnxBytes(bytes, { bind: {} }));
  return await openGraph(valueOf(await prepareImported(imported, options)).graph, variant);
}

/** Compiles a model file. */
export async function compileFile(options: PrepareOptions, variant: WasmVariant = "relaxed"): Promise<CompiledModel> {
  return await openGraph(valueOf(await prepareModel(options)).graph, variant);
}

/** A graph as it is, by the kernels that `choice` picks. */
export async function openGraph(
  graph: Graph,
  variant: WasmVariant,
  choice: KernelChoice = wasmKernels,
): Promise<CompiledModel> {
  const program = lowerWasm(graph, choice);
  const memory = new WebAssembly.Memory({ initial: program.memory.pages });
  for (const { offset, bytes } of program.weights) {
    new Uint8Array(memory.buffer, program.memory.weightsBase + offset, bytes.byteLength).set(bytes);
  }
  const bytes = assemble(moduleText(program, variant, mathLibrary), variant);
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  const { run } = instance.exports;
  if (typeof run !== "function") throw new Error("The module exports no run");
  const model = createModel(modelSpec(program, noFiles), {
    exports: instance.exports,
    memory,
    variant,
    readSelfTest: () => Promise.reject(new Error("A model in memory has no self test")),
  });
  return {
    model,
    kernels: () => void run(),
    kernelIds: program.steps.map(({ kernel }) => kernel.id),
    weightBytes: program.memory.weightsBytes,
  };
}

/** A run of the model on fixed inputs. */
export function runOf(
  { model }: CompiledModel,
  inputs: Readonly<Record<string, InputTensor>>,
): () => Promise<Readonly<Record<string, OutputTensor>>> {
  return () => model.run(inputs);
}
