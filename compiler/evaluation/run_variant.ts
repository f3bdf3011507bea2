/** Runs a graph in this process as one of the variants that artifacts have. */

import type { Variant } from "../../runtime/api.ts";
import { runCompiled } from "../../targets/wasm/run_graph.ts";
import { runOnGpu } from "../../targets/wgsl/run_graph.ts";
import type { RunGraph } from "./compare_codes.ts";

/** Every variant, the one that runs everywhere first. */
export const variants: readonly Variant[] = ["simd128", "relaxed", "webgpu"];

export function runVariant(variant: Variant): RunGraph {
  if (variant === "webgpu") return runOnGpu;
  return (graph, inputs) => runCompiled(graph, inputs, { variant });
}
