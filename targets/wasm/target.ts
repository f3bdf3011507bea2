/** The WebAssembly target: SIMD everywhere, relaxed SIMD where the engine has it, one artifact for both. */

import type { Diagnostic } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { elementTypes } from "../../compiler/numeric/element.ts";
import { intFormat, nf4 } from "../../compiler/numeric/number_format.ts";
import { kernelStem } from "../plan/names.ts";
import { selfTestDiagnostics } from "../plan/self_test.ts";
import { supportsCodes } from "../code_width.ts";
import { regionOrigin, regionOutputs } from "../region.ts";
import type { ArtifactFile, EmitOptions, Emitted, KernelRow, Target } from "../target.ts";
import { type WasmVariant, wasmVariants } from "./kernel.ts";
import { channelsLast } from "../legalize/channels_last.ts";
import { denseTransform } from "../legalize/dense_transform.ts";
import { transposedConvPhases } from "../legalize/transposed_conv.ts";
import { mathLibrary } from "./math/library.ts";
import { assemble, moduleText } from "./module.ts";
import { type KernelChoice, lowerWasm, type WasmProgram, type WasmStep } from "./program.ts";
import { canFuseEpilogue, selectKernel } from "./select.ts";
import { plainBorders } from "../legalize/plain_borders.ts";
import { instantiate } from "./run_program.ts";
import { modelSpec } from "./spec.ts";

/** The kernels that artifacts are made of. */
export const wasmKernels: KernelChoice = { canFuseEpilogue, selectKernel };

export const wasmTarget: Target = {
  name: "wasm",
  summary: "WebAssembly SIMD for browsers, Node and Deno",
  capabilities: {
    formats: [
      ...Array.from({ length: 8 }, (_, index) => intFormat(index + 1, true)),
      ...Array.from({ length: 8 }, (_, index) => intFormat(index + 1, false)),
      nf4,
    ],
    elements: elementTypes,
    dot: [
      { feature: "simd128", lhs: "i16", rhs: "i16", accumulator: "i32" },
      { feature: "relaxed-simd", lhs: "i8", rhs: "u7", accumulator: "i32" },
    ],
    variants: wasmVariants,
    memoryBytes: 2 ** 32,
  },
  legalize: [plainBorders, transposedConvPhases, denseTransform, channelsLast],
  supports: supportsCodes,
  weights: (graph) => lowerWasm(graph, wasmKernels).weights,
  emit,
};

async function emit(graph: Graph, { onProgress, shared }: EmitOptions = {}): Promise<Emitted> {
  const report = (stage: string, fraction: number) => {
    onProgress?.({ stage, fraction });
    // Assembling holds the thread; this lets progress be drawn.
    return new Promise((resolve) => setTimeout(resolve, 0));
  };
  await report("plan kernels", 0);
  const program = lowerWasm(graph, wasmKernels, shared);
  const stem = kernelStem(graph.name);
  const kernels: ArtifactFile[] = [];
  const modules: AssembledVariant[] = [];
  for (const [index, variant] of wasmVariants.entries()) {
    await report(`assemble ${variant}`, (index + 1) / (wasmVariants.length + 1));
    const text = moduleText(program, variant, mathLibrary);
    const bytes = assemble(text, variant);
    modules.push({ variant, bytes });
    kernels.push({ path: modulePath(stem, variant), chunks: [bytes] });
    kernels.push({ path: `${stem}.${variant}.wat`, chunks: [new TextEncoder().encode(text)] });
  }
  return emitted(program, kernels, modules, stem);
}

interface AssembledVariant {
  readonly variant: WasmVariant;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

function emitted(
  program: WasmProgram,
  kernels: readonly ArtifactFile[],
  modules: readonly AssembledVariant[],
  stem: string,
): Emitted {
  const { memory } = program;
  return {
    graph: program.graph,
    kernels,
    code: wasmVariants.map((variant) => modulePath(stem, variant)),
    weights: program.weights,
    inputs: program.inputs,
    outputs: program.outputs,
    rows: program.steps.map((step) => rowOf(step, program)),
    memory: {
      weightsBytes: memory.weightsBytes,
      statesBytes: memory.statesBytes,
      arenaBytes: memory.arenaBytes,
      peakBytes: memory.peakBytes,
      unsharedBytes: memory.unsharedBytes,
      totalBytes: memory.pages * 65536,
      buffers: memory.lifetimes,
    },
    runtime: (files) => ({
      entry: new URL("../../runtime/wasm/load.ts", import.meta.url),
      spec: modelSpec(program, files, {
        simd128: modulePath(stem, "simd128"),
        relaxed: modulePath(stem, "relaxed"),
      }),
    }),
    check: (selfTest) => checkVariants(program, modules, selfTest),
  };
}

async function checkVariants(
  program: WasmProgram,
  modules: readonly AssembledVariant[],
  selfTest: Uint8Array,
): Promise<readonly Diagnostic[]> {
  const diagnostics: Diagnostic[] = [];
  for (const { variant, bytes } of modules) {
    if (!WebAssembly.validate(bytes)) continue;
    const model = await instantiate(program, bytes, variant, () => Promise.resolve(selfTest));
    const result = await model.selfTest();
    model.dispose();
    diagnostics.push(...selfTestDiagnostics(`The ${variant} kernels`, result));
  }
  return diagnostics;
}

function rowOf({ region, kernel, functionName, addresses }: WasmStep, { weights, memory }: WasmProgram): KernelRow {
  const read = new Set(addresses);
  return {
    origin: regionOrigin(region),
    ops: [region.main, ...region.epilogue?.nodes ?? []].map(({ op }) => op),
    outputs: regionOutputs(region),
    kernel: kernel.id,
    functionName,
    weightBytes: weights.reduce(
      (sum, { offset, bytes }) => sum + (read.has(memory.weightsBase + offset) ? bytes.byteLength : 0),
      0,
    ),
  };
}

function modulePath(stem: string, variant: WasmVariant): string {
  return `${stem}.${variant}.wasm`;
}
