/** The part of a graph that a measurement needs. */

import type { Graph } from "../ir/graph.ts";
import type { ValueName } from "../ir/node.ts";

/**
 * The nodes up to the last one that makes a wanted value, which becomes the graph's only output: a language model's head,
 * for one, is left out. The graph as it is where no node makes one.
 */
export function graphUpTo(graph: Graph, isWanted: (value: ValueName) => boolean): Graph {
  const last = graph.nodes.findLastIndex((node) => node.outputs.some(isWanted));
  const value = graph.nodes[last]?.outputs.find(isWanted);
  if (value === undefined) return graph;
  return { ...graph, nodes: graph.nodes.slice(0, last + 1), outputs: [{ name: value, value }] };
}
