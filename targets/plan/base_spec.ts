/** What every runtime is told of a model. */

import { evaluateExtent, type Extent, isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { BaseSpec, BorderSpec } from "../../runtime/spec.ts";
import type { RuntimeFiles } from "../target.ts";

/** All but the ports. */
export function baseSpec(graph: Graph, { weights, selfTest }: RuntimeFiles): Omit<BaseSpec, "inputs" | "outputs"> {
  return {
    name: graph.name,
    symbols: graph.symbols,
    advance: positionsPerRun(graph),
    capacity: capacityOf(graph),
    uncut: graph.states.find(({ axis }) => axis < 0)?.name ?? null,
    weights,
    selfTest,
  };
}

/** What the runtime reads of a port. */
export function borderSpec({ name, element, shape, bounds }: BorderSpec): BorderSpec {
  return { name, element, shape, bounds };
}

/** Files of a program that is in memory alone. */
export const noFiles: RuntimeFiles = { weights: [], selfTest: "" };

/** Positions that one run appends to the growing states. */
function positionsPerRun(graph: Graph): Extent {
  for (const node of graph.nodes) {
    if (node.op === "append") return typeOf(graph, node.inputs[0]).shape[node.attributes.axis];
  }
  return 0;
}

/** Positions that the growing states hold; null without any. */
function capacityOf(graph: Graph): number | null {
  const extents = graph.states.filter(({ axis }) => axis >= 0).map(({ type, axis }) => type.shape[axis]);
  const largest = Object.fromEntries(Object.entries(graph.symbols).map(([name, { max }]) => [name, max]));
  const bounds = extents.map((extent) => (isStatic(extent) ? extent : evaluateExtent(extent, largest)));
  const total = graph.symbols.total?.max;
  const limits = total === undefined ? bounds : [...bounds, total];
  return bounds.length === 0 ? null : Math.min(...limits);
}
