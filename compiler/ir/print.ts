/** Graphs as `.qir` text: what `parseGraph` reads back. */

import type { Graph, State } from "./graph.ts";
import { typeOf } from "./graph.ts";
import type { Node, OpAttributes, OpName, ValueName } from "./node.ts";
import { printAttributes } from "./attribute_codecs.ts";
import { printLiteral } from "./constant_text.ts";
import { printName } from "./text_cursor.ts";
import { printType } from "./types.ts";

export interface PrintOptions {
  /** `hash` (the default) names constants by their content; `literal` writes their entries, so that the text stands alone. */
  readonly constants?: "hash" | "literal";
}

export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  const inputs = graph.inputs.map(({ name, value }) =>
    `${printValue(value)}${printSource(name, value)}: ${printType(typeOf(graph, value))}`
  );
  const outputs = graph.outputs.map(({ name, value }) => `${printValue(value)}${printSource(name, value)}`);
  const head = `graph @${printName(graph.name)} level=${graph.level} (${inputs.join(", ")}) -> (${
    outputs.join(", ")
  }) {`;
  const symbols = Object.entries(graph.symbols).map(([name, { min, max }]) => `symbol ${name} = ${min}..${max}`);
  const lines = [
    ...symbols,
    ...graph.states.map(printState),
    ...graph.nodes.map((node) => printNode(graph, node, options)),
  ];
  return [head, ...lines.map((line) => `  ${line}`), "}", ""].join("\n");
}

export function printValue(value: ValueName): string {
  return `%${printName(value)}`;
}

function printSource(name: string, value: ValueName): string {
  return name === value ? "" : ` as ${JSON.stringify(name)}`;
}

function printState({ name, type, axis }: State): string {
  return `state @${printName(name)}: ${printType(type)}${axis < 0 ? "" : ` along ${axis}`}`;
}

/** One node as one line, without indentation. */
export function printNode(graph: Graph, node: Node, options: PrintOptions = {}): string {
  const outputs = node.outputs.map(printValue).join(", ");
  const origin = node.origin.length === 0 ? "" : ` from ${node.origin.map((name) => JSON.stringify(name)).join(", ")}`;
  if (node.op === "constant") return `${outputs} = const ${printConstant(graph, node, options)}${origin}`;
  const inputs = node.inputs.map((value) => ` ${printValue(value)}`).join(",");
  const types = node.outputs.map((value) => printType(typeOf(graph, value))).join(", ");
  return `${outputs} = ${node.op}${inputs}${spaced(printNodeAttributes(node.op, node.attributes))} : ${types}${origin}`;
}

function printConstant(graph: Graph, node: Extract<Node, { op: "constant" }>, { constants }: PrintOptions): string {
  const type = printType(typeOf(graph, node.outputs[0]));
  const { hash } = node.attributes;
  return constants === "literal" ? `${type} ${printLiteral(graph.constants.get(hash))}` : `#${hash} ${type}`;
}

function printNodeAttributes<Op extends OpName>(op: Op, attributes: OpAttributes[Op]): string {
  return printAttributes(op, attributes);
}

function spaced(text: string): string {
  return text === "" ? "" : ` ${text}`;
}
