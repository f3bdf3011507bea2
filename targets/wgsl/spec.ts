/** What the runtime is told of a program. */

import { InvariantError, present } from "../../compiler/diagnostics.ts";
import type { Count, GpuPort, GpuSpec } from "../../runtime/wgsl/spec.ts";
import { variantName } from "../../runtime/wgsl/variants.ts";
import type { Index } from "../loops/program.ts";
import { baseSpec, borderSpec } from "../plan/base_spec.ts";
import type { RuntimeFiles } from "../target.ts";
import type { WgslPort, WgslProgram } from "./program.ts";

/** `shadersFile` names the file of all shaders. */
export function gpuSpec(program: WgslProgram, files: RuntimeFiles, shadersFile = ""): GpuSpec {
  const { graph, shaders } = program;
  const indexOf = new Map(shaders.map((shader, index) => [shader, index]));
  return {
    ...baseSpec(graph, files),
    inputs: program.inputs.map(portSpec),
    outputs: program.outputs.map(portSpec),
    arenaBytes: program.plan.bytes,
    statesBytes: program.statesBytes,
    kernels: shaders.map(({ name, memories, usesSymbols, variants }) => ({
      name,
      uses: Number(usesSymbols) + 2 * Number(memories.includes("arena")) + 4 * Number(memories.includes("states")),
      variants: variants.map(({ needs }) => needs),
    })),
    steps: program.steps.map(({ shader, starts, windows, workgroups }) => ({
      kernel: present(indexOf.get(shader), `shader ${shader.name}`),
      starts,
      windows: windows.map(({ offset, bytes }) => [offset, bytes] as const),
      workgroups: workgroups.map((extents) => extents.map(countOf)),
    })),
    shaders: shadersFile,
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

function portSpec(port: WgslPort): GpuPort {
  return { ...borderSpec(port), memory: port.memory, address: port.address };
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
