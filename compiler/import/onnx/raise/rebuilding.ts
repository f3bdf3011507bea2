/** What the rules that raise quantized graphs share: the graph under construction and how often its values are read. */

import type { Graph } from "../../../ir/graph.ts";
import { readers } from "../../../ir/graph.ts";
import type { Node, OpName, ValueName } from "../../../ir/node.ts";
import { FoldingBuilder, type NodeEvaluator } from "../folding_builder.ts";

/** The new graph, node by node in the old one's order. */
export interface Rebuilding {
  readonly builder: FoldingBuilder;
  /** How many nodes and outputs of the old graph read what this value stands for. */
  readonly uses: (value: ValueName) => number;
}

/** One rule: the new outputs for a node with its new inputs, or undefined where it does not apply. */
export type RaisingRule = (
  rebuilding: Rebuilding,
  node: Node,
  inputs: readonly ValueName[],
) => readonly ValueName[] | undefined;

/** Builds the graph again; the first rule that applies says what becomes of a node. */
export function rebuild(graph: Graph, rules: readonly RaisingRule[], evaluate: NodeEvaluator): Graph {
  const builder = new FoldingBuilder(graph.name, evaluate);
  const counts = readCounts(graph);
  const meanings = new Map<ValueName, ValueName>();
  const uses = new Map<ValueName, number>();
  const bind = (old: ValueName, value: ValueName) => {
    meanings.set(old, value);
    uses.set(value, (uses.get(value) ?? 0) + (counts.get(old) ?? 0));
  };
  const meaning = (old: ValueName) => meanings.get(old) ?? old;
  Object.entries(graph.symbols).forEach(([name, range]) => builder.symbol(name, range));
  graph.states.forEach((state) => builder.state(state));
  for (const { name, value } of graph.inputs) {
    const type = graph.types.get(value);
    if (type !== undefined) bind(value, builder.input(name, type));
  }
  const rebuilding = { builder, uses: (value: ValueName) => uses.get(value) ?? 0 };
  for (const node of graph.nodes) {
    builder.origin = node.origin;
    const inputs = node.inputs.map(meaning);
    const outputs = applyRules(rules, rebuilding, node, inputs) ?? copyNode(graph, builder, node, inputs);
    node.outputs.forEach((old, index) => bind(old, outputs[index]));
  }
  graph.outputs.forEach(({ name, value }) => builder.output(name, meaning(value)));
  return builder.finish(graph.level);
}

function applyRules(
  rules: readonly RaisingRule[],
  rebuilding: Rebuilding,
  node: Node,
  inputs: readonly ValueName[],
): readonly ValueName[] | undefined {
  for (const rule of rules) {
    const outputs = rule(rebuilding, node, inputs);
    if (outputs !== undefined) return outputs;
  }
  return undefined;
}

function copyNode(
  graph: Graph,
  builder: FoldingBuilder,
  node: Node,
  inputs: readonly ValueName[],
): readonly ValueName[] {
  const name = node.outputs[0];
  if (node.op === "constant") return [builder.constant(graph.constants.get(node.attributes.hash), { name })];
  return builder.addAll<OpName>(node.op, inputs, node.attributes, { name });
}

/** Origins of a node that is taken into the one that is being rebuilt, each once. */
export function joinedOrigin(node: Node, builder: FoldingBuilder): readonly string[] {
  return [...new Set([...node.origin, ...builder.origin])];
}

function readCounts(graph: Graph): ReadonlyMap<ValueName, number> {
  const counts = new Map<ValueName, number>();
  for (const [value, nodes] of readers(graph)) counts.set(value, nodes.length);
  for (const { value } of graph.outputs) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}
