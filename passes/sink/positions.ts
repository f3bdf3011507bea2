/** Which axis of a value runs along the positions of a text, and values without their first positions. */

import { equalExtents, type Extent, extentBound } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { type PlainTensor, plainTensor } from "../../compiler/ir/tensor.ts";

/** How a graph counts positions: the extent of one run, and whether runs follow on one another. */
export interface Positions {
  readonly extent: Extent;
  /** Most positions of all runs together. */
  readonly context: number;
  readonly fromPast: boolean;
}

/**
 * The positions of a model that appends to states, or whose attention is causal; undefined where
 * nothing says which axis that is.
 */
export function positionsOf(graph: Graph): Positions | undefined {
  for (const node of graph.nodes) {
    if (node.op !== "append") continue;
    const extent = typeOf(graph, node.inputs[0]).shape[node.attributes.axis];
    const held = graph.states.find((state) => state.name === node.attributes.state)?.type.shape[node.attributes.axis];
    if (held === undefined) continue;
    return {
      extent,
      context: extentBound(held, graph.symbols),
      fromPast: true,
    };
  }
  const causal = graph.nodes.find((node) => node.op === "attention" && node.attributes.causal);
  if (causal === undefined) return undefined;
  const extent = typeOf(graph, causal.inputs[0]).shape[1];
  return { extent, context: extentBound(extent, graph.symbols), fromPast: false };
}

/** The axis of a shape that runs along the positions; undefined when none does, or more than one. */
export function positionAxis(shape: readonly Extent[], { extent }: Positions): number | undefined {
  const axes = shape.flatMap((candidate, axis) => (equalExtents(candidate, extent) ? [axis] : []));
  return axes.length === 1 ? axes[0] : undefined;
}

/** A tensor without its first `count` positions along an axis; the last one stays where there are no more. */
export function withoutFirst(tensor: PlainTensor<"f32">, axis: number, count: number): PlainTensor<"f32"> {
  const extent = tensor.shape[axis];
  const dropped = Math.min(count, extent - 1);
  if (dropped <= 0) return tensor;
  const inner = tensor.shape.slice(axis + 1).reduce((size, length) => size * length, 1);
  const shape = tensor.shape.map((length, index) => (index === axis ? length - dropped : length));
  const data = new Float32Array(tensor.data.length / extent * (extent - dropped));
  const run = (extent - dropped) * inner;
  for (let from = dropped * inner, to = 0; to < data.length; from += extent * inner, to += run) {
    data.set(tensor.data.subarray(from, from + run), to);
  }
  return plainTensor("f32", shape, data);
}
