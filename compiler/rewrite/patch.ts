/** A patch: one rewrite as a value. Nodes that go, nodes that come, and which values stand for which. */

import type { ElementType } from "../numeric/element.ts";
import { makeNode, type NodeOptions } from "../ir/build.ts";
import { type Expression, input } from "../ir/expression.ts";
import { freshName } from "../ir/graph.ts";
import type { Node, OpAttributes, OpName, ValueName } from "../ir/node.ts";
import { floatTensor, type Tensor } from "../ir/tensor.ts";
import { outputTypes } from "../ir/type_rules.ts";
import { equalTypes, printType, type TensorType } from "../ir/types.ts";
import { InvariantError } from "../diagnostics.ts";
import type { GraphView } from "./view.ts";

export interface Patch {
  /** The rule that made it. */
  readonly rule: string;
  /** Source names behind the removed and mentioned nodes, each once. */
  readonly origin: readonly string[];
  readonly removed: readonly Node[];
  /** In topological order. */
  readonly added: readonly Node[];
  readonly types: ReadonlyMap<ValueName, TensorType>;
  /** Old value to the value that takes its place. */
  readonly replaced: ReadonlyMap<ValueName, ValueName>;
}

/**
 * Collects one patch against a view. Type rules run as nodes are added. An added node whose origin is not stated gets
 * those of all removed nodes.
 */
export class PatchBuilder {
  readonly #added: Node[] = [];
  readonly #types = new Map<ValueName, TensorType>();
  readonly #replaced = new Map<ValueName, ValueName>();
  readonly #removed: Node[] = [];
  readonly #constants = new Map<string, ValueName>();
  readonly #mentioned: Node[] = [];
  readonly #stated = new Set<Node>();

  constructor(readonly rule: string, readonly view: GraphView) {}

  typeOf(value: ValueName): TensorType {
    return this.#types.get(value) ?? this.view.typeOf(value);
  }

  remove(...nodes: readonly Node[]): void {
    for (const node of nodes) if (!this.#removed.includes(node)) this.#removed.push(node);
  }

  /** Nodes that stay, or fall away unread, but whose source names the added nodes carry on. */
  mention(...nodes: readonly Node[]): void {
    for (const node of nodes) if (!this.#mentioned.includes(node)) this.#mentioned.push(node);
  }

  /** Readers of `old` will read `value`. Types must agree unless the readers are rebuilt too (`retyped`). */
  replace(old: ValueName, value: ValueName, options: { readonly retyped?: boolean } = {}): void {
    if (!options.retyped && !equalTypes(this.view.typeOf(old), this.typeOf(value))) {
      throw new InvariantError(
        `${this.rule} replaces %${old}: ${printType(this.view.typeOf(old))} by ${printType(this.typeOf(value))}`,
        this.rule,
      );
    }
    this.#replaced.set(old, value);
  }

  /** A constant; one that the graph already holds is shared. */
  constant(tensor: Tensor, options: NodeOptions = {}): ValueName {
    const hash = this.view.graph.constants.add(tensor);
    const known = this.view.constantValue(hash) ?? this.#constants.get(hash);
    if (known !== undefined) return known;
    const value = this.add("constant", [], { hash }, { name: "c", ...options });
    this.#constants.set(hash, value);
    return value;
  }

  scalar(value: number): ValueName {
    return this.constant(floatTensor([], [value]));
  }

  add<Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
    options: NodeOptions = {},
  ): ValueName {
    return this.addAll(op, inputs, attributes, options)[0];
  }

  /** Throws TypeFault when the type rule refuses. */
  addAll<Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
    options: NodeOptions = {},
  ): readonly ValueName[] {
    const types = this.#typesOf(op, inputs, attributes);
    const taken = { has: (name: string) => this.#types.has(name) || this.view.hasValue(name) };
    const outputs = types.map((type) => {
      const value = freshName(options.name ?? op, taken);
      this.#types.set(value, type);
      return value;
    });
    const node = makeNode(op, inputs, outputs, attributes, options.origin ?? []);
    if (options.origin !== undefined) this.#stated.add(node);
    this.#added.push(node);
    return outputs;
  }

  /**
   * Adds a node that makes the values of removed nodes under their own names: what is known of a value by name (its
   * place at the border, its statistics) stays with it. Their types must stay.
   */
  addAs<Op extends OpName>(
    outputs: readonly ValueName[],
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
  ): void {
    const types = this.#typesOf(op, inputs, attributes);
    outputs.forEach((output, index) => {
      if (!equalTypes(types[index], this.view.typeOf(output))) {
        const [is, wanted] = [types[index], this.view.typeOf(output)].map(printType);
        throw new InvariantError(`${this.rule} makes %${output}: ${is}, which is ${wanted}`, this.rule);
      }
    });
    this.#added.push(makeNode(op, inputs, outputs, attributes, []));
  }

  map(expression: Expression, inputs: readonly ValueName[], options: NodeOptions = {}): ValueName {
    return this.add("map", inputs, { expression }, options);
  }

  /** Elementwise conversion; the value itself when it already has the element. */
  cast(value: ValueName, element: ElementType, options: NodeOptions = {}): ValueName {
    if (this.typeOf(value).element === element) return value;
    return this.map({ kind: "cast", element, x: input(0) }, [value], { name: "cast", ...options });
  }

  #typesOf<Op extends OpName>(op: Op, inputs: readonly ValueName[], attributes: OpAttributes[Op]) {
    const { graph } = this.view;
    return outputTypes(op, inputs.map((value) => this.typeOf(value)), attributes, {
      constant: (hash) => (graph.constants.has(hash) ? graph.constants.get(hash) : undefined),
      state: (name) => graph.states.find((state) => state.name === name),
    });
  }

  finish(): Patch {
    const origin = [...new Set([...this.#mentioned, ...this.#removed].flatMap((node) => node.origin))];
    const added = this.#added.map((node) => this.#stated.has(node) ? node : Object.freeze({ ...node, origin }));
    return Object.freeze({
      rule: this.rule,
      origin,
      removed: Object.freeze([...this.#removed]),
      added: Object.freeze(added),
      types: new Map(this.#types),
      replaced: new Map(this.#replaced),
    });
  }
}
