/** A graph builder that folds what is known as it is added, and keeps what importers look up. */

import { fail } from "../../diagnostics.ts";
import { GraphBuilder, makeNode, type NodeOptions } from "../../ir/build.ts";
import type { ConstantStore } from "../../ir/constants.ts";
import { type Extent, extentBound, isStatic } from "../../ir/extent.ts";
import type { Node, OpAttributes, OpName, ValueName } from "../../ir/node.ts";
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import { printType, type TensorType } from "../../ir/types.ts";
import { entryLimit } from "./tensor_data.ts";

/** Folding may make a constant of this many entries, or as many as its largest operand. */
const foldLimit = 2 ** 20;

/** Ops whose results must stay nodes: states, and decoding, which would lose the integers of a quantized model. */
const neverFolded: ReadonlySet<OpName> = new Set<OpName>([
  "constant",
  "dequantize",
  "append",
  "readState",
  "writeState",
]);

/** Computes a node whose operands are known. */
export type NodeEvaluator = (node: Node, operands: readonly Tensor[], constants: ConstantStore) => readonly Tensor[];

/** Folds nodes of constants into constants; `origin` is given to every node that does not say its own. */
export class FoldingBuilder extends GraphBuilder {
  readonly #producers = new Map<ValueName, Node>();
  #origin: readonly string[] = [];

  constructor(name: string, readonly evaluate: NodeEvaluator) {
    super(name);
  }

  /** Names of the source nodes for what is added next. */
  set origin(names: readonly string[]) {
    this.#origin = names;
  }

  get origin(): readonly string[] {
    return this.#origin;
  }

  producerOf(value: ValueName): Node | undefined {
    return this.#producers.get(value);
  }

  constantOf(value: ValueName): Tensor | undefined {
    const node = this.#producers.get(value);
    return node?.op === "constant" ? this.constants.get(node.attributes.hash) : undefined;
  }

  override input(name: string, type: TensorType): ValueName {
    this.#checkSize(type);
    return super.input(name, type);
  }

  override addAll<Op extends OpName>(
    op: Op,
    inputs: readonly ValueName[],
    attributes: OpAttributes[Op],
    options: NodeOptions = {},
  ): readonly ValueName[] {
    const origin = options.origin ?? this.#origin;
    const outputs = super.addAll(op, inputs, attributes, { ...options, origin });
    outputs.forEach((output) => this.#checkSize(this.typeOf(output)));
    const node = makeNode(op, inputs, outputs, attributes, origin);
    outputs.forEach((output) => this.#producers.set(output, node));
    const folded = this.#fold(node);
    return folded === undefined ? outputs : folded.map((tensor) => this.constant(tensor, { origin }));
  }

  #checkSize(type: TensorType): void {
    const extents = type.shape.map((extent) => this.#bound(extent));
    if (extents.some((extent) => !Number.isInteger(extent) || extent < 0) || sizeOf(extents) > entryLimit) {
      fail("Q1011", `A tensor would be ${printType(type)}, which no tensor can be`);
    }
  }

  #bound(extent: Extent): number {
    return isStatic(extent) || this.symbols[extent.symbol] !== undefined ? extentBound(extent, this.symbols) : 1;
  }

  #fold(node: Node): readonly Tensor[] | undefined {
    if (neverFolded.has(node.op)) return undefined;
    const types = node.outputs.map((output) => this.typeOf(output));
    if (types.some((type) => !type.shape.every(isStatic))) return undefined;
    const operands = node.inputs.map((value) => this.constantOf(value));
    if (!operands.every((operand) => operand !== undefined)) return undefined;
    const largest = operands.reduce((most, operand) => Math.max(most, sizeOf(operand.shape)), foldLimit);
    if (types.some((type) => sizeOf(type.shape.filter(isStatic)) > largest)) return undefined;
    return this.evaluate(node, operands, this.constants);
  }
}
