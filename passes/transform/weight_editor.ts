/** Edits constants at their places of use: float64 while transforms fold in, cast once at the end. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import { makeNode } from "../../compiler/ir/build.ts";
import { freshName, type Graph, producers, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, NodeOf, OpAttributes, OpName, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, isPlain, sizeOf, type Tensor, typeOfTensor } from "../../compiler/ir/tensor.ts";
import { outputTypes } from "../../compiler/ir/type_rules.ts";
import type { TensorType } from "../../compiler/ir/types.ts";
import type { ChannelTensor } from "../../compiler/rewrite/region/region.ts";

/** A constant under edit: the float64 entries of one operand of one node. */
export interface EditedTensor {
  readonly shape: readonly number[];
  readonly entries: Float64Array<ArrayBuffer>;
}

/**
 * Working copies by place of use, so that a constant with several readers is edited for one of them only: the others
 * keep the original, and tied weights come apart by themselves. Value names stay, hence statistics by name stay valid.
 */
export class WeightEditor {
  readonly #made: ReadonlyMap<ValueName, Node>;
  readonly #edits = new Map<string, EditedTensor>();
  readonly #overrides = new Map<ValueName, Node>();
  /** Biases that nodes without one get. */
  readonly #biases = new Map<ValueName, Float64Array<ArrayBuffer>>();
  readonly #insertions = new Map<ValueName, readonly Node[]>();
  /** Types of values that insertions make. */
  readonly #added = new Map<ValueName, TensorType>();

  constructor(readonly graph: Graph) {
    this.#made = producers(graph);
  }

  /** Whether the constant at this place is float32, so that transforms can fold into it. */
  isFloat(place: ChannelTensor): boolean {
    const tensor = this.#original(place);
    return tensor.kind === "plain" && tensor.element === "f32";
  }

  /** Why these constants cannot be edited; undefined when they can. */
  obstacle(places: readonly ChannelTensor[]): string | undefined {
    const fixed = places.find((place) => !this.isFloat(place));
    return fixed === undefined ? undefined : `%${fixed.value} is not float32: decode it first`;
  }

  /** The working copy at a place; edits to its entries show in `finish`. */
  tensor(place: ChannelTensor): EditedTensor {
    const key = placeKey(place.node.outputs[0], place.operand);
    const known = this.#edits.get(key);
    if (known !== undefined) return known;
    const original = this.#original(place);
    if (!isPlain(original, "f32")) {
      throw new InvariantError(`Operand ${place.operand} of %${place.node.outputs[0]} is not a float32 constant`);
    }
    const edited = { shape: original.shape, entries: new Float64Array(original.data) };
    this.#edits.set(key, edited);
    return edited;
  }

  /** Multiplies the entries at channel c by factors[c]. */
  scale(place: ChannelTensor, factors: ArrayLike<number>): void {
    const { shape, entries } = this.tensor(place);
    const inner = sizeOf(shape.slice(place.axis + 1));
    const extent = shape[place.axis];
    for (let index = 0; index < entries.length; index++) {
      entries[index] *= factors[place.channels[Math.floor(index / inner) % extent]];
    }
  }

  /** Index i of the axis becomes a copy of what index sources[i] was, times factors[i]: the axis may grow. */
  spread(place: ChannelTensor, sources: Int32Array, factors: ArrayLike<number>): void {
    const { shape, entries } = this.tensor(place);
    const { axis } = place;
    const inner = sizeOf(shape.slice(axis + 1));
    const grown = shape.map((extent, index) => (index === axis ? sources.length : extent));
    const result = new Float64Array(sizeOf(grown));
    for (let index = 0; index < result.length; index++) {
      const [outer, along] = [Math.floor(index / inner / sources.length), Math.floor(index / inner) % sources.length];
      const from = (outer * shape[axis] + sources[along]) * inner + index % inner;
      result[index] = entries[from] * factors[along];
    }
    this.#edits.set(placeKey(place.node.outputs[0], place.operand), { shape: grown, entries: result });
  }

  /**
   * Applies `turn` in place to every run of `length` consecutive entries along the place's axis: the whole axis, or its
   * blocks (heads) in order. `channel` is the region's channel of the run's first entry.
   */
  turn(place: ChannelTensor, length: number, turn: (vector: Float64Array, channel: number) => void): void {
    const { shape, entries } = this.tensor(place);
    const inner = sizeOf(shape.slice(place.axis + 1));
    const extent = shape[place.axis];
    const vector = new Float64Array(length);
    for (let start = 0; start < entries.length; start += extent * inner) {
      for (let lane = 0; lane < inner; lane++) {
        for (let block = 0; block < extent; block += length) {
          const first = start + block * inner + lane;
          for (let index = 0; index < length; index++) vector[index] = entries[first + index * inner];
          turn(vector, place.channels[block]);
          for (let index = 0; index < length; index++) entries[first + index * inner] = vector[index];
        }
      }
    }
  }

  /** Entry i along the place's axis becomes the entry that was at sources[i]. */
  gather(place: ChannelTensor, sources: Int32Array): void {
    const { shape, entries } = this.tensor(place);
    const before = entries.slice();
    const inner = sizeOf(shape.slice(place.axis + 1));
    const extent = shape[place.axis];
    for (let index = 0; index < entries.length; index++) {
      const along = Math.floor(index / inner) % extent;
      entries[index] = before[index + (sources[along] - along) * inner];
    }
  }

  /** Adds to the bias of a norm, matmul or conv, which gets one where it has none. An existing one must be constant. */
  addBias(node: Biased, values: Float64Array): void {
    const operand = biasOperand;
    if (node.inputs.length > operand) {
      const axis = typeOf(this.graph, node.inputs[operand]).shape.length - 1;
      const { entries } = this.tensor({
        node,
        operand,
        value: node.inputs[operand],
        axis,
        channels: new Int32Array(0),
      });
      for (let index = 0; index < entries.length; index++) entries[index] += values[index];
      return;
    }
    const sum = this.#biases.get(node.outputs[0]) ?? new Float64Array(values.length);
    this.#biases.set(node.outputs[0], sum.map((value, index) => value + values[index]));
  }

  /** Puts `changed` where `node` stands; edits of the node's constants still apply, by operand. */
  override(node: Node, changed: Node): void {
    this.#overrides.set(node.outputs[0], Object.freeze(changed));
  }

  /**
   * Puts new nodes between a value and one reader: `build` adds them (GraphBuilder style) and returns what the reader
   * reads instead. Constants that it makes are placed with them.
   */
  insert(reader: Node, operand: number, build: (inserter: Inserter, value: ValueName) => ValueName): void {
    const standing = this.#overrides.get(reader.outputs[0]) ?? reader;
    const inserter = new Inserter(this.graph, this.#added, standing.origin);
    const value = build(inserter, standing.inputs[operand]);
    const inputs = standing.inputs.map((input, index) => (index === operand ? value : input));
    this.override(reader, withInputs(standing, inputs));
    this.#placeBefore(reader, inserter.nodes);
  }

  /** New nodes in front of the first of several readers; all of them read what `build` returns. */
  insertShared(readers: readonly Node[], operand: number, build: (inserter: Inserter) => ValueName): void {
    const places = new Map(this.graph.nodes.map((node, index) => [node.outputs[0], index]));
    const placeOf = (node: Node) => places.get(node.outputs[0]) ?? 0;
    const [first, ...others] = [...readers].sort((a, b) => placeOf(a) - placeOf(b));
    let made: ValueName | undefined;
    this.insert(first, operand, (inserter) => {
      made = build(inserter);
      return made;
    });
    for (const reader of others) this.insert(reader, operand, (_, value) => made ?? value);
  }

  /** Replaces a node by one that `build` makes, with nodes of its own in front. */
  extend(node: Node, build: (inserter: Inserter) => Node): void {
    const inserter = new Inserter(this.graph, this.#added, node.origin);
    this.override(node, build(inserter));
    this.#placeBefore(node, inserter.nodes);
  }

  /** The graph with every edited constant in its place. Unread originals are left to dead code elimination. */
  finish(): Graph {
    const types = new Map<ValueName, TensorType>([...this.graph.types, ...this.#added]);
    const nodes: Node[] = [];
    for (const standing of this.graph.nodes) {
      const node = this.#withBias(this.#overrides.get(standing.outputs[0]) ?? standing, types, nodes);
      nodes.push(...this.#insertions.get(standing.outputs[0]) ?? []);
      const inputs = node.inputs.map((input, operand) => {
        const edited = this.#edits.get(placeKey(node.outputs[0], operand));
        if (edited === undefined) return input;
        const tensor = floatTensor(edited.shape, edited.entries);
        const value = freshName(`${input}.folded`, types);
        types.set(value, typeOfTensor(tensor));
        const origin = this.#made.get(input)?.origin ?? [];
        nodes.push(makeNode("constant", [], [value], { hash: this.graph.constants.add(tensor) }, origin));
        return value;
      });
      nodes.push(inputs.every((input, operand) => input === node.inputs[operand]) ? node : withInputs(node, inputs));
    }
    return Object.freeze({ ...this.graph, nodes: Object.freeze(nodes), types });
  }

  /** The node with the bias that `addBias` gave it; its constant goes to `nodes`. */
  #withBias(node: Node, types: Map<ValueName, TensorType>, nodes: Node[]): Node {
    const bias = this.#biases.get(node.outputs[0]);
    if (bias === undefined) return node;
    const tensor = floatTensor([bias.length], bias);
    const value = freshName(`${node.outputs[0]}.bias`, types);
    types.set(value, typeOfTensor(tensor));
    nodes.push(makeNode("constant", [], [value], { hash: this.graph.constants.add(tensor) }, []));
    const changed = withInputs(node, [...node.inputs, value]);
    if (changed.op !== "matmul" && changed.op !== "conv") return changed;
    return makeBiased(changed);
  }

  #placeBefore(node: Node, nodes: readonly Node[]): void {
    const [output] = node.outputs;
    this.#insertions.set(output, [...this.#insertions.get(output) ?? [], ...nodes]);
  }

  /** By the node's output and operand, so that places found before an edit hold after it. */
  #original(place: ChannelTensor): Tensor {
    const reader = this.#made.get(place.node.outputs[0]);
    const value = reader?.inputs[place.operand] ?? place.value;
    const node = this.#made.get(value);
    if (node?.op !== "constant") throw new InvariantError(`%${value} is not a constant`);
    return this.graph.constants.get(node.attributes.hash);
  }
}

/** Makes the nodes of one insertion; type rules run as they are added. */
export class Inserter {
  readonly nodes: Node[] = [];

  constructor(
    readonly graph: Graph,
    readonly types: Map<ValueName, TensorType>,
    readonly origin: readonly string[],
  ) {}

  typeOf(value: ValueName): TensorType {
    return this.types.get(value) ?? typeOf(this.graph, value);
  }

  constant(tensor: Tensor, name: string): ValueName {
    return this.add("constant", [], { hash: this.graph.constants.add(tensor) }, name);
  }

  add<Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
    name: string,
  ): ValueName {
    const [type] = outputTypes(
      op,
      inputs.map((input) => this.typeOf(input)),
      attributes,
      {
        constant: (hash) => this.graph.constants.get(hash),
        state: (state) => this.graph.states.find((entry) => entry.name === state),
      },
    );
    const taken = { has: (candidate: string) => this.types.has(candidate) || this.graph.types.has(candidate) };
    const value = freshName(name, taken);
    this.types.set(value, type);
    this.nodes.push(makeNode(op, inputs, [value], attributes, op === "constant" ? [] : this.origin));
    return value;
  }
}

export type Biased = NodeOf<"norm"> | NodeOf<"matmul"> | NodeOf<"conv">;

/** Where a bias stands: behind data and gain of a norm, behind data and weights of the others. */
export const biasOperand = 2;

function makeBiased(node: NodeOf<"matmul"> | NodeOf<"conv">): Node {
  return node.op === "matmul"
    ? Object.freeze({ ...node, attributes: { ...node.attributes, hasBias: true } })
    : Object.freeze({ ...node, attributes: { ...node.attributes, hasBias: true } });
}

function placeKey(output: ValueName, operand: number): string {
  return `${output}#${operand}`;
}

function withInputs(node: Node, inputs: readonly ValueName[]): Node {
  return Object.freeze({ ...node, inputs: Object.freeze([...inputs]) });
}
