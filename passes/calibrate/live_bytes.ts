/** How much memory one run of a graph holds at a time. */

import { elementBytes } from "../../compiler/numeric/element.ts";
import { shapeBound } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";

/** Largest sum of bytes of values that are alive together, constants left out, over the bounds of the symbols. */
export function peakLiveBytes(graph: Graph): number {
  const last = new Map<ValueName, number>();
  graph.nodes.forEach((node, index) => node.inputs.forEach((value) => last.set(value, index)));
  for (const { value } of graph.outputs) last.set(value, graph.nodes.length);
  const bytesOf = (value: ValueName) => {
    const { shape, element } = typeOf(graph, value);
    return sizeOf(shapeBound(shape, graph.symbols)) * elementBytes(element);
  };
  const constants = new Set(graph.nodes.filter((node) => node.op === "constant").flatMap((node) => node.outputs));
  let live = graph.inputs.reduce((sum, { value }) => sum + bytesOf(value), 0);
  let peak = live;
  graph.nodes.forEach((node, index) => {
    if (node.op === "constant") return;
    for (const value of node.outputs) live += bytesOf(value);
    peak = Math.max(peak, live);
    for (const value of new Set([...node.inputs, ...node.outputs])) {
      if (!constants.has(value) && (last.get(value) ?? -1) <= index) live -= bytesOf(value);
    }
  });
  return peak;
}
