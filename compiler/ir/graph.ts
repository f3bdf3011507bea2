/** The graph: nodes in topological order over named values. Frozen; every change makes a new graph. */

import type { ConstantStore } from "./constants.ts";
import type { SymbolTable } from "./extent.ts";
import type { Node, ValueName } from "./node.ts";
import type { Tensor } from "./tensor.ts";
import type { TensorType } from "./types.ts";
import { InvariantError } from "../diagnostics.ts";

/**
 * `float`: no quantized types. `quant`: quantized types, semantics complete. `packed`: constants in a target's order.
 * Already quantized models are imported at `quant`.
 */
export const levels = ["float", "quant", "packed"] as const;
export type Level = (typeof levels)[number];

export interface GraphInput {
  /** The source model's name, shown at the border. */
  readonly name: string;
  readonly value: ValueName;
}

export interface GraphOutput {
  readonly name: string;
  readonly value: ValueName;
}

/** A tensor that lives across runs, zero at reset. `axis` is the one that positions run along (-1: replaced whole). */
export interface State {
  readonly name: string;
  readonly type: TensorType;
  readonly axis: number;
}

export interface Graph {
  readonly name: string;
  readonly level: Level;
  readonly symbols: SymbolTable;
  /** Type of every value. */
  readonly types: ReadonlyMap<ValueName, TensorType>;
  readonly inputs: readonly GraphInput[];
  readonly outputs: readonly GraphOutput[];
  readonly states: readonly State[];
  readonly nodes: readonly Node[];
  readonly constants: ConstantStore;
}

export function typeOf(graph: Graph, value: ValueName): TensorType {
  const type = graph.types.get(value);
  if (type === undefined) throw new InvariantError(`Value %${value} has no type`);
  return type;
}

/** The node that makes each value; graph inputs are absent. */
export function producers(graph: Graph): ReadonlyMap<ValueName, Node> {
  const result = new Map<ValueName, Node>();
  for (const node of graph.nodes) for (const output of node.outputs) result.set(output, node);
  return result;
}

/** The nodes that read each value, in order; a node that reads it twice is listed once. */
export function readers(graph: Graph): ReadonlyMap<ValueName, readonly Node[]> {
  const result = new Map<ValueName, Node[]>();
  for (const node of graph.nodes) {
    for (const value of new Set(node.inputs)) {
      const list = result.get(value);
      if (list === undefined) result.set(value, [node]);
      else list.push(node);
    }
  }
  return result;
}

/** The tensor of a value that a constant node makes; undefined for any other. */
export function constantOf(
  graph: Graph,
  value: ValueName,
  made: ReadonlyMap<ValueName, Node>,
): Tensor | undefined {
  const node = made.get(value);
  return node?.op === "constant" ? graph.constants.get(node.attributes.hash) : undefined;
}

/** A name not in `taken` that starts with `stem` (made fit for `.qir`). */
export function freshName(stem: string, taken: { has(name: string): boolean }): ValueName {
  const clean = stem.replace(/[^A-Za-z0-9_.]+/g, "_").replace(/^_+|_+$/g, "") || "v";
  if (!taken.has(clean)) return clean;
  for (let suffix = 2;; suffix++) {
    const name = `${clean}_${suffix}`;
    if (!taken.has(name)) return name;
  }
}
