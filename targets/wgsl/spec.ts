/** What the runtime is told of a program. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Count, GpuPort, GpuSpec } from "../../runtime/wgsl/spec.ts";
import type { Index } from "../loops/program.ts";
import { capacityOf, positionsPerRun } from "../wasm/spec.ts";
import type { WgslPort, WgslProgram } from "./program.ts";

/** Names and digests of the files that stand beside mod.js. */
export interface SpecFiles {
  readonly weights: string;
  readonly weightsSha256: string;
  readonly shaders: string;
  readonly selfTest: string;
}

export function gpuSpec(program: WgslProgram, files: SpecFiles): GpuSpec {
  const { graph, kernels } = program;
  const indexOf = new Map(kernels.map((kernel, index) => [kernel, index]));
  return {
    name: graph.name,
    symbols: graph.symbols,
    inputs: program.inputs.map(portSpec),
    outputs: program.outputs.map(portSpec),
    arenaBytes: program.plan.bytes,
    statesBytes: program.statesBytes,
    advance: positionsPerRun(graph),
    capacity: capacityOf(graph),
    uncut: graph.states.find(({ axis }) => axis < 0)?.name ?? null,
    kernels: kernels.map(({ name, memories, usesSymbols }) => ({
      name,
      uses: Number(memories.includes("arena")) + 2 * Number(memories.includes("states")) + 4 * Number(usesSymbols),
    })),
    steps: program.steps.map(({ kernel, starts, windows, threads }) => ({
      kernel: indexOf.get(kernel) ?? unknownKernel(kernel.name),
      starts,
      windows: windows.map(({ offset, bytes }) => [offset, bytes] as const),
      threads: threads.map((extents) => extents.map(countOf)),
    })),
    weights: { file: files.weights, bytes: program.weightsBytes, sha256: files.weightsSha256 },
    shaders: files.shaders,
    selfTest: files.selfTest,
  };
}

/** Text of all kernels, each after a line with its name. */
export function shaderFile(program: WgslProgram): string {
  return [
    `// Kernels of ${program.graph.name.replace(/\s+/g, " ")}: one shader module each.`,
    ...program.kernels.map(({ name, text }) => `// kernel: ${name}\n${text}`),
  ].join("\n");
}

function portSpec({ name, element, shape, bounds, memory, address }: WgslPort): GpuPort {
  return { name, element, shape, bounds, memory, address };
}

function countOf(index: Index): Count {
  if (typeof index === "number") return index;
  switch (index.kind) {
    case "symbol":
      return index.name;
    case "variable":
    case "scalar":
      throw new InvariantError("A dispatch depends on a variable");
    default:
      return [index.kind, countOf(index.x), countOf(index.y)];
  }
}

function unknownKernel(name: string): never {
  throw new InvariantError(`Kernel ${name} is in no list`);
}
