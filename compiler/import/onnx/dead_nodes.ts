/** Only what the outputs of a graph need, at the level that its types ask for. */

import { ConstantStore } from "../../ir/constants.ts";
import type { Graph } from "../../ir/graph.ts";
import type { Node, ValueName } from "../../ir/node.ts";

/** Keeps the nodes that outputs and states depend on, with a constant store of their own. */
export function withoutDeadNodes(graph: Graph): Graph {
  const live = new Set<ValueName>(graph.outputs.map(({ value }) => value));
  const kept: Node[] = [];
  for (const node of [...graph.nodes].reverse()) {
    const isNeeded = node.op === "writeState" || node.op === "append" ||
      node.outputs.some((output) => live.has(output));
    if (!isNeeded) continue;
    kept.push(node);
    node.inputs.forEach((input) => live.add(input));
  }
  kept.reverse();
  const constants = new ConstantStore();
  for (const node of kept) if (node.op === "constant") constants.add(graph.constants.get(node.attributes.hash));
  const inputs = graph.inputs.map(({ value }) => value);
  const named = new Set([...inputs, ...kept.flatMap((node) => node.outputs)]);
  const types = new Map([...graph.types].filter(([value]) => named.has(value)));
  const isQuantized = [...types.values()].some(({ encoding }) => encoding.kind === "quantized");
  return Object.freeze({
    ...graph,
    level: isQuantized ? "quant" : graph.level,
    nodes: Object.freeze(kept),
    types,
    constants,
  });
}
