/** The WebGPU target: compute shaders for browsers and Deno, with variants for what a device has. */

import type { Diagnostic } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { elementTypes } from "../../compiler/numeric/element.ts";
import { intFormat, nf4 } from "../../compiler/numeric/number_format.ts";
import { channelsLast } from "../legalize/channels_last.ts";
import { plainBorders } from "../legalize/plain_borders.ts";
import { transposedConvPhases } from "../legalize/transposed_conv.ts";
import { alignUp } from "../plan/memory.ts";
import { kernelStem } from "../plan/names.ts";
import { selfTestDiagnostics } from "../plan/self_test.ts";
import { supportsCodes } from "../code_width.ts";
import { regionOrigin, regionOutputs } from "../region.ts";
import type { EmitOptions, Emitted, KernelRow, MemoryReport, Target } from "../target.ts";
import { lowerWgsl, type WgslProgram, type WgslStep } from "./program.ts";
import { gpuDevice, startProgram } from "./run_program.ts";
import { wgslKernels } from "./select.ts";
import { gpuSpec, shaderFile } from "./spec.ts";

export const wgslTarget: Target = {
  name: "wgsl",
  summary: "WebGPU compute shaders for browsers and Deno",
  capabilities: {
    formats: [
      ...Array.from({ length: 8 }, (_, index) => intFormat(index + 1, true)),
      ...Array.from({ length: 8 }, (_, index) => intFormat(index + 1, false)),
      nf4,
    ],
    elements: elementTypes,
    dot: [{ feature: "packed_4x8_integer_dot_product", lhs: "i8", rhs: "i8", accumulator: "i32" }],
    variants: ["webgpu"],
    memoryBytes: 2 ** 31,
  },
  legalize: [plainBorders, transposedConvPhases, channelsLast],
  supports: supportsCodes,
  weights: (graph) => lowerWgsl(graph, wgslKernels).weights,
  emit,
};

async function emit(graph: Graph, { onProgress, shared }: EmitOptions = {}): Promise<Emitted> {
  onProgress?.({ stage: "plan shaders", fraction: 0 });
  // Printing holds the thread; this lets progress be drawn.
  await new Promise((resolve) => setTimeout(resolve, 0));
  const program = lowerWgsl(graph, wgslKernels, shared);
  const path = `${kernelStem(graph.name)}.wgsl`;
  return {
    graph: program.graph,
    kernels: [{ path, chunks: [new TextEncoder().encode(shaderFile(program))] }],
    code: [path],
    weights: program.weights,
    inputs: program.inputs,
    outputs: program.outputs,
    rows: program.steps.map((step) => rowOf(step, program)),
    memory: memoryReport(program),
    runtime: (files) => ({
      entry: new URL("../../runtime/wgsl/load.ts", import.meta.url),
      spec: gpuSpec(program, files, path),
    }),
    check: (selfTest) => check(program, selfTest),
  };
}

/** Runs the self test on this process's GPU, where it has one: software would take minutes for a large model. */
async function check(program: WgslProgram, selfTest: Uint8Array): Promise<readonly Diagnostic[]> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter || adapter.info.isFallbackAdapter || await gpuDevice() === undefined) return [];
  const { model } = await startProgram(program, () => Promise.resolve(selfTest));
  const result = await model.selfTest();
  model.dispose();
  return selfTestDiagnostics("The WebGPU kernels", result);
}

function rowOf({ region, kernel, shader, windows, starts }: WgslStep, { weights }: WgslProgram): KernelRow {
  const begins = new Set(windows.flatMap(({ offset }) => starts.map((start) => offset + 4 * start)));
  return {
    origin: regionOrigin(region),
    ops: [region.main, ...region.epilogue?.nodes ?? []].map(({ op }) => op),
    outputs: regionOutputs(region),
    kernel: kernel.id,
    functionName: shader.name,
    weightBytes: weights.reduce((sum, { offset, bytes }) => sum + (begins.has(offset) ? bytes.byteLength : 0), 0),
  };
}

function memoryReport({ plan, lifetimes, weightsBytes, statesBytes }: WgslProgram): MemoryReport {
  return {
    weightsBytes,
    statesBytes,
    arenaBytes: plan.bytes,
    peakBytes: plan.peakBytes,
    unsharedBytes: lifetimes.reduce((sum, { bytes }) => sum + alignUp(bytes, 16), 0),
    totalBytes: weightsBytes + statesBytes + plan.bytes,
    buffers: lifetimes.map((lifetime) => ({ ...lifetime, address: plan.offsets.get(lifetime.id) ?? 0 })),
  };
}
