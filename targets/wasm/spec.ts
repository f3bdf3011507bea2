/** What the runtime is told of a program. */

import type { ModelSpec } from "../../runtime/wasm/spec.ts";
import { baseSpec, borderSpec } from "../plan/base_spec.ts";
import type { RuntimeFiles } from "../target.ts";
import type { WasmVariant } from "./kernel.ts";
import type { Port, WasmProgram } from "./program.ts";

/** `kernels` names the module of each variant. */
export function modelSpec(
  { graph, memory, inputs, outputs }: WasmProgram,
  files: RuntimeFiles,
  kernels: Readonly<Record<WasmVariant, string>> = { simd128: "", relaxed: "" },
): ModelSpec {
  const port = (entry: Port) => ({ ...borderSpec(entry), address: entry.address });
  return {
    ...baseSpec(graph, files),
    inputs: inputs.map(port),
    outputs: outputs.map(port),
    states: { address: memory.statesBase, bytes: memory.statesBytes },
    pages: memory.pages,
    weightsAddress: memory.weightsBase,
    kernels,
  };
}
