/** A graph under rewriting: rules read it through GraphView, patches change it, `finish` freezes the next graph. */

import { InvariantError } from "../diagnostics.ts";
import type { Graph, Level } from "../ir/graph.ts";
import type { Node, ValueName } from "../ir/node.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { TensorType } from "../ir/types.ts";
import type { Patch } from "./patch.ts";

/** What a rule may look at: the graph as it stands after the patches so far. */
export interface GraphView {
  /** The graph that the sweep began with: symbols, states and the constant store. */
  readonly graph: Graph;
  hasValue(value: ValueName): boolean;
  typeOf(value: ValueName): TensorType;
  producer(value: ValueName): Node | undefined;
  /** Nodes that read a value, each once. */
  readers(value: ValueName): readonly Node[];
  isOutput(value: ValueName): boolean;
  /** The node that alone reads a value that is no graph output; undefined otherwise. */
  onlyReader(value: ValueName): Node | undefined;
  constantOf(value: ValueName): Tensor | undefined;
  /** The value of a constant that the graph holds, by hash. */
  constantValue(hash: string): ValueName | undefined;
}

/** A node's place. The node changes when one of its inputs is replaced; the place stays. */
interface Cell {
  node: Node;
  alive: boolean;
  /** Position in the node list; added nodes take the place of the nodes that they stand for. */
  readonly order: number;
}

/** The mutable state of one sweep. Cells by output name, readers and types agree at all times. */
export class Rewriting implements GraphView {
  readonly #cells = new Map<ValueName, Cell>();
  readonly #ordered: Cell[];
  readonly #added: Cell[] = [];
  readonly #readers = new Map<ValueName, Set<Cell>>();
  readonly #types: Map<ValueName, TensorType>;
  readonly #constants = new Map<string, ValueName>();
  #outputs: readonly { readonly name: string; readonly value: ValueName }[];
  #outputValues: ReadonlySet<ValueName>;

  constructor(readonly graph: Graph) {
    this.#types = new Map(graph.types);
    this.#outputs = graph.outputs;
    this.#outputValues = new Set(graph.outputs.map((output) => output.value));
    this.#ordered = graph.nodes.map((node, order) => this.#insert(node, order));
  }

  /** Nodes of the starting graph, in order, as they stand now; nodes that a patch has removed are passed over. */
  *sweep(): Iterable<Node> {
    for (const cell of this.#ordered) if (cell.alive) yield cell.node;
  }

  hasValue(value: ValueName): boolean {
    return this.#types.has(value);
  }

  typeOf(value: ValueName): TensorType {
    const type = this.#types.get(value);
    if (type === undefined) throw new InvariantError(`Value %${value} has no type`);
    return type;
  }

  producer(value: ValueName): Node | undefined {
    return this.#cells.get(value)?.node;
  }

  readers(value: ValueName): readonly Node[] {
    return [...this.#readers.get(value) ?? []].sort((a, b) => a.order - b.order).map((cell) => cell.node);
  }

  isOutput(value: ValueName): boolean {
    return this.#outputValues.has(value);
  }

  onlyReader(value: ValueName): Node | undefined {
    if (this.isOutput(value)) return undefined;
    const cells = this.#readers.get(value);
    if (cells === undefined || cells.size !== 1) return undefined;
    for (const cell of cells) return cell.node;
  }

  constantOf(value: ValueName): Tensor | undefined {
    const node = this.producer(value);
    return node?.op === "constant" ? this.graph.constants.get(node.attributes.hash) : undefined;
  }

  constantValue(hash: string): ValueName | undefined {
    const value = this.#constants.get(hash);
    return value !== undefined && this.#cells.has(value) ? value : undefined;
  }

  apply(patch: Patch): void {
    for (const [value, type] of patch.types) this.#types.set(value, type);
    let order = -1;
    for (const node of patch.removed) order = Math.max(order, this.#remove(node, patch.rule));
    if (order < 0) order = this.#ordered.length;
    const fresh = new Set(patch.added.map((node) => this.#insert(node, order)));
    this.#added.push(...fresh);
    for (const [old, value] of patch.replaced) this.#replace(old, value, fresh);
    for (const node of patch.removed) this.#requireUnread(node, patch.rule);
  }

  /** The next graph: dead nodes dropped, topological order kept, the level raised when `level` says so. */
  finish(level: Level = this.graph.level): Graph {
    const cells = this.#topological(this.#live());
    const nodes = cells.map((cell) => cell.node);
    const types = new Map<ValueName, TensorType>();
    for (const { value } of this.graph.inputs) types.set(value, this.typeOf(value));
    for (const node of nodes) for (const output of node.outputs) types.set(output, this.typeOf(output));
    return Object.freeze({
      ...this.graph,
      level,
      types,
      nodes: Object.freeze(nodes),
      outputs: Object.freeze([...this.#outputs]),
    });
  }

  #insert(node: Node, order: number): Cell {
    const cell: Cell = { node, alive: true, order };
    for (const output of node.outputs) this.#cells.set(output, cell);
    for (const value of node.inputs) this.#addReader(value, cell);
    if (node.op === "constant") this.#constants.set(node.attributes.hash, node.outputs[0]);
    return cell;
  }

  #addReader(value: ValueName, cell: Cell): void {
    const cells = this.#readers.get(value);
    if (cells === undefined) this.#readers.set(value, new Set([cell]));
    else cells.add(cell);
  }

  #remove(node: Node, rule: string): number {
    const cell = this.#cells.get(node.outputs[0]);
    if (cell === undefined || !cell.alive) {
      throw new InvariantError(`${rule} removes %${node.outputs[0]}, which is not in the graph`, rule);
    }
    cell.alive = false;
    for (const output of cell.node.outputs) this.#cells.delete(output);
    for (const value of cell.node.inputs) this.#readers.get(value)?.delete(cell);
    return cell.order;
  }

  /** The patch's own nodes may read the old value on purpose: they stand between it and its readers. */
  #replace(old: ValueName, value: ValueName, fresh: ReadonlySet<Cell>): void {
    for (const cell of [...this.#readers.get(old) ?? []]) {
      if (fresh.has(cell)) continue;
      const inputs = cell.node.inputs.map((name) => (name === old ? value : name));
      cell.node = Object.freeze({ ...cell.node, inputs });
      this.#readers.get(old)?.delete(cell);
      this.#addReader(value, cell);
    }
    if (this.#outputValues.has(old)) {
      this.#outputs = this.#outputs.map((output) => (output.value === old ? { ...output, value } : output));
      this.#outputValues = new Set(this.#outputs.map((output) => output.value));
    }
  }

  #requireUnread(node: Node, rule: string): void {
    for (const output of node.outputs) {
      if (this.#cells.has(output)) continue;
      const reader = [...this.#readers.get(output) ?? []].find((cell) => cell.alive);
      if (reader !== undefined || this.isOutput(output)) {
        throw new InvariantError(`${rule} removes %${output}, which is still read`, rule);
      }
    }
  }

  /** Cells that an output or a state update needs. */
  #live(): ReadonlySet<Cell> {
    const live = new Set<Cell>();
    const pending: Cell[] = [];
    const need = (cell: Cell | undefined) => {
      if (cell === undefined || live.has(cell)) return;
      live.add(cell);
      pending.push(cell);
    };
    for (const { value } of this.#outputs) need(this.#cells.get(value));
    for (const cell of this.#cells.values()) {
      if (cell.node.op === "append" || cell.node.op === "writeState") need(cell);
    }
    for (let cell = pending.pop(); cell !== undefined; cell = pending.pop()) {
      for (const value of cell.node.inputs) need(this.#cells.get(value));
    }
    return live;
  }

  /** Depth first from the cells in order of place, so that a list already in order stays as it is. */
  #topological(live: ReadonlySet<Cell>): Cell[] {
    const places = [...this.#ordered, ...this.#added].filter((cell) => live.has(cell));
    places.sort((a, b) => a.order - b.order);
    const result: Cell[] = [];
    const state = new Map<Cell, "open" | "done">();
    for (const root of places) {
      const stack = [root];
      for (let cell = stack.at(-1); cell !== undefined; cell = stack.at(-1)) {
        if (state.get(cell) === "done") {
          stack.pop();
          continue;
        }
        const waiting = cell.node.inputs
          .map((value) => this.#cells.get(value))
          .filter((made): made is Cell => made !== undefined && state.get(made) !== "done");
        if (waiting.length === 0) {
          state.set(cell, "done");
          result.push(cell);
          stack.pop();
          continue;
        }
        if (state.get(cell) === "open") throw new InvariantError(`%${cell.node.outputs[0]} depends on itself`);
        state.set(cell, "open");
        stack.push(...waiting.reverse());
      }
    }
    return result;
  }
}
