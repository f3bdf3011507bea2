/** Drops nodes whose results nobody reads. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";

/** The graph without the nodes that reach no output and change no state. */
export function dropDeadNodes(graph: Graph): Graph {
  const needed = new Set(graph.outputs.map(({ value }) => value));
  const kept: Node[] = [];
  for (const node of [...graph.nodes].reverse()) {
    const changesState = node.op === "append" || node.op === "writeState";
    if (!changesState && !node.outputs.some((output) => needed.has(output))) continue;
    kept.push(node);
    for (const value of node.inputs) needed.add(value);
  }
  return Object.freeze({ ...graph, nodes: Object.freeze(kept.reverse()) });
}
