/** The block behind a region: what its sinks lead to, up to where their branch joins the residual stream again. */

import { equalShapes, isStatic, type SymbolTable } from "../../ir/extent.ts";
import type { Graph } from "../../ir/graph.ts";
import { producers, typeOf } from "../../ir/graph.ts";
import type { Node, ValueName } from "../../ir/node.ts";
import type { Region } from "./region.ts";

/** Source name of the sinks in a block's graph: a selector with this target picks them alone. */
export const sinkName = "#sink";

/**
 * The part of a graph that the region's sinks decide. Inputs are values of the whole graph, by their names there: the
 * region's activations, and whatever else the block reads (masks, positions). Nodes keep the names of their values, so
 * the region's places hold in it.
 */
export function blockOf(graph: Graph, region: Region): Graph {
  const made = producers(graph);
  const { driven, ends } = follow(graph, region, made);
  const needed = new Set<ValueName>();
  const inputs = new Set<ValueName>();
  const visit = (value: ValueName): void => {
    const node = made.get(value);
    if (driven.has(value) || node?.op === "constant") {
      if (node === undefined || needed.has(node.outputs[0])) return;
      needed.add(node.outputs[0]);
      node.inputs.forEach(visit);
    } else inputs.add(value);
  };
  ends.forEach(visit);
  const sinks = new Set(region.sinks.map(({ node }) => node.outputs[0]));
  const nodes = graph.nodes.filter((node) => needed.has(node.outputs[0]));
  return Object.freeze({
    ...graph,
    symbols: symbolsOf(graph, [...inputs, ...nodes.flatMap((node) => node.outputs)]),
    inputs: [...inputs].map((value) => ({ name: value, value })),
    outputs: [...ends].map((value) => ({ name: value, value })),
    states: graph.states.filter(({ name }) => {
      return nodes.some((node) => node.op === "append" && node.attributes.state === name);
    }),
    nodes: nodes.map((node) => (sinks.has(node.outputs[0]) ? Object.freeze({ ...node, origin: [sinkName] }) : node)),
  });
}

/** The symbols that these values' shapes hold: a run must tell each of them. */
function symbolsOf(graph: Graph, values: readonly ValueName[]): SymbolTable {
  const used = new Set(
    values.flatMap((value) =>
      typeOf(graph, value).shape.flatMap((extent) => (isStatic(extent) ? [] : [extent.symbol]))
    ),
  );
  return Object.fromEntries(Object.entries(graph.symbols).filter(([name]) => used.has(name)));
}

/** Values that the sinks drive, and those of them that leave the block. */
function follow(
  graph: Graph,
  region: Region,
  made: ReadonlyMap<ValueName, Node>,
): { readonly driven: ReadonlySet<ValueName>; readonly ends: ReadonlySet<ValueName> } {
  const driven = new Set(region.sinks.map(({ node }) => node.outputs[0]));
  const read = new Set<ValueName>();
  const ends = new Set<ValueName>();
  for (const node of graph.nodes) {
    const operands = node.inputs.filter((value) => driven.has(value));
    if (operands.length === 0) continue;
    const leaves = node.op === "writeState" || node.op === "readState" || joinsStream(graph, node, driven, made);
    for (const value of operands) (leaves ? ends : read).add(value);
    if (!leaves) { for (const output of node.outputs) driven.add(output); }
  }
  for (const { value } of graph.outputs) if (driven.has(value)) ends.add(value);
  for (const value of driven) if (!read.has(value)) ends.add(value);
  return { driven, ends };
}

/** An addition of something as large that the sinks do not drive: the residual stream. A mask broadcasts. */
function joinsStream(
  graph: Graph,
  node: Node,
  driven: ReadonlySet<ValueName>,
  made: ReadonlyMap<ValueName, Node>,
): boolean {
  if (node.op !== "map" || node.inputs.length < 2) return false;
  const { expression } = node.attributes;
  if (expression.kind !== "binary" || expression.operator !== "add") return false;
  const whole = typeOf(graph, node.outputs[0]).shape;
  return node.inputs.some((value) =>
    !driven.has(value) && made.get(value)?.op !== "constant" && equalShapes(typeOf(graph, value).shape, whole)
  );
}
