/** What the runtime is told of a program. */

import { evaluateExtent, type Extent, isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ModelSpec, PortSpec } from "../../runtime/wasm/spec.ts";
import type { Port, WasmProgram } from "./program.ts";

/** Names and digests of the files that stand beside mod.js. */
export interface SpecFiles {
  readonly weights: string;
  readonly weightsSha256: string;
  readonly simd128: string;
  readonly relaxed: string;
  readonly selfTest: string;
}

export function modelSpec(program: WasmProgram, files: SpecFiles): ModelSpec {
  const { graph, memory } = program;
  return {
    name: graph.name,
    symbols: graph.symbols,
    inputs: program.inputs.map(portSpec),
    outputs: program.outputs.map(portSpec),
    states: { address: memory.statesBase, bytes: memory.statesBytes },
    advance: positionsPerRun(graph),
    capacity: capacityOf(graph),
    uncut: graph.states.find(({ axis }) => axis < 0)?.name ?? null,
    pages: memory.pages,
    weights: {
      file: files.weights,
      address: memory.weightsBase,
      bytes: memory.weightsBytes,
      sha256: files.weightsSha256,
    },
    kernels: { simd128: files.simd128, relaxed: files.relaxed },
    selfTest: files.selfTest,
  };
}

function portSpec({ name, element, shape, bounds, address }: Port): PortSpec {
  return { name, element, shape, bounds, address };
}

/** Positions that one run appends to the growing states. */
export function positionsPerRun(graph: Graph): Extent {
  for (const node of graph.nodes) {
    if (node.op === "append") return typeOf(graph, node.inputs[0]).shape[node.attributes.axis];
  }
  return 0;
}

/** Positions that the growing states hold; null without any. */
export function capacityOf(graph: Graph): number | null {
  const extents = graph.states.filter(({ axis }) => axis >= 0).map(({ type, axis }) => type.shape[axis]);
  const largest = Object.fromEntries(Object.entries(graph.symbols).map(([name, { max }]) => [name, max]));
  const bounds = extents.map((extent) => (isStatic(extent) ? extent : evaluateExtent(extent, largest)));
  const total = graph.symbols.total?.max;
  const limits = total === undefined ? bounds : [...bounds, total];
  return bounds.length === 0 ? null : Math.min(...limits);
}
