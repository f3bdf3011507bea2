/** Builds graphs node by node. The type rule runs as a node is added, so an ill-typed graph cannot be built. */

import type { ElementType } from "../numeric/element.ts";
import { ConstantStore } from "./constants.ts";
import type { SymbolRange, SymbolTable } from "./extent.ts";
import { freshName, type Graph, type Level, type State } from "./graph.ts";
import type { Node, OpAttributes, OpName, ValueName } from "./node.ts";
import { type Expression, input } from "./expression.ts";
import { floatTensor, type Tensor } from "./tensor.ts";
import { outputTypes, TypeFault } from "./type_rules.ts";
import type { TensorType } from "./types.ts";

export interface NodeOptions {
  /** Names of the source nodes; kept through every rewrite. */
  readonly origin?: readonly string[];
  /** Stem of the output names; the op's name when absent. */
  readonly name?: string;
}

/** Collects inputs, states and nodes; `finish` freezes them into a graph. */
export class GraphBuilder {
  readonly #types = new Map<ValueName, TensorType>();
  readonly #nodes: Node[] = [];
  readonly #inputs: { name: string; value: ValueName }[] = [];
  readonly #outputs: { name: string; value: ValueName }[] = [];
  readonly #states = new Map<string, State>();
  readonly #symbols: Record<string, SymbolRange> = {};
  readonly #constantValues = new Map<string, ValueName>();

  constructor(readonly name: string, readonly constants: ConstantStore = new ConstantStore()) {}

  symbol(name: string, range: SymbolRange): void {
    this.#symbols[name] = range;
  }

  get symbols(): SymbolTable {
    return this.#symbols;
  }

  input(name: string, type: TensorType): ValueName {
    const value = freshName(name, this.#types);
    this.#types.set(value, type);
    this.#inputs.push({ name, value });
    return value;
  }

  output(name: string, value: ValueName): void {
    this.typeOf(value);
    this.#outputs.push({ name, value });
  }

  state(state: State): void {
    this.#states.set(state.name, state);
  }

  typeOf(value: ValueName): TensorType {
    const type = this.#types.get(value);
    if (type === undefined) throw new TypeFault(`value %${value} is not defined`);
    return type;
  }

  /** A constant; the same tensor twice gives the same value. */
  constant(tensor: Tensor, options: NodeOptions = {}): ValueName {
    const hash = this.constants.add(tensor);
    const known = this.#constantValues.get(hash);
    if (known !== undefined) return known;
    const value = this.add("constant", [], { hash }, { name: "c", ...options });
    this.#constantValues.set(hash, value);
    return value;
  }

  /** Adds a node with one output and returns that output. Throws TypeFault. */
  add<Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
    options: NodeOptions = {},
  ): ValueName {
    return this.addAll(op, inputs, attributes, options)[0];
  }

  /** Adds a node and returns all its outputs. Throws TypeFault. */
  addAll<Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
    options: NodeOptions = {},
  ): readonly ValueName[] {
    const types = outputTypes(op, inputs.map((value) => this.typeOf(value)), attributes, {
      constant: (hash) => (this.constants.has(hash) ? this.constants.get(hash) : undefined),
      state: (state) => this.#states.get(state),
    });
    const outputs = types.map((type) => {
      const value = freshName(options.name ?? op, this.#types);
      this.#types.set(value, type);
      return value;
    });
    this.#nodes.push(makeNode(op, inputs, outputs, attributes, options.origin ?? []));
    return outputs;
  }

  /** Elementwise op over broadcast operands. */
  map(expression: Expression, inputs: readonly ValueName[], options: NodeOptions = {}): ValueName {
    return this.add("map", inputs, { expression }, options);
  }

  /** Elementwise conversion; the value itself when it already has the element. */
  cast(value: ValueName, element: ElementType, options: NodeOptions = {}): ValueName {
    if (this.typeOf(value).element === element) return value;
    return this.map({ kind: "cast", element, x: input(0) }, [value], { name: "cast", ...options });
  }

  scalar(value: number): ValueName {
    return this.constant(floatTensor([], [value]));
  }

  finish(level: Level = "float"): Graph {
    return Object.freeze({
      name: this.name,
      level,
      symbols: Object.freeze({ ...this.#symbols }),
      types: new Map(this.#types),
      inputs: Object.freeze([...this.#inputs]),
      outputs: Object.freeze([...this.#outputs]),
      states: Object.freeze([...this.#states.values()]),
      nodes: Object.freeze([...this.#nodes]),
      constants: this.constants,
    });
  }
}

/** Makes a node of any op; the pairing of op and attributes is checked by the caller's type. */
export function makeNode<Op extends OpName>(
  op: Op,
  inputs: readonly ValueName[],
  outputs: readonly ValueName[],
  attributes: OpAttributes[Op],
  origin: readonly string[],
): Node {
  // The union of pairs (op, attributes[op]) is what this signature states; TypeScript cannot see it through Op.
  const node: { op: OpName } = { op, inputs, outputs, attributes, origin } as { op: OpName };
  return Object.freeze(node) as Node;
}
