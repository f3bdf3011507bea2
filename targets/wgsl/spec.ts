/** What the runtime is told of a program. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Count, GpuPort, GpuSpec } from "../../runtime/wgsl/spec.ts";
import { variantName } from "../../runtime/wgsl/variants.ts";
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
  const { graph, shaders } = program;
  const indexOf = new Map(shaders.map((shader, index) => [shader, index]));
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
    kernels: shaders.map(({ name, memories, usesSymbols, variants }) => ({
      name,
      uses: Number(memories.includes("arena")) + 2 * Number(memories.includes("states")) + 4 * Number(usesSymbols),
      variants: variants.map(({ needs }) => needs),
    })),
    steps: program.steps.map(({ shader, starts, windows, workgroups }) => ({
      kernel: indexOf.get(shader) ?? unknownKernel(shader.name),
      starts,
      windows: windows.map(({ offset, bytes }) => [offset, bytes] as const),
      workgroups: workgroups.map((extents) => extents.map(countOf)),
    })),
    weights: { file: files.weights, bytes: program.weightsBytes, sha256: files.weightsSha256 },
    shaders: files.shaders,
    selfTest: files.selfTest,
  };
}

/** Text of all kernels in all variants, each after a line with its name and what it needs. */
export function shaderFile({ graph, shaders }: WgslProgram): string {
  return [
    `// Kernels of ${graph.name.replace(/\s+/g, " ")}: one shader module each.`,
    ...shaders.flatMap(({ name, variants }) =>
      variants.map(({ needs, text }) => `// kernel: ${variantName(name, needs)}\n${text}`)
    ),
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
