/**
 * Rewrites convs, and all that lies between them, from channels-first to channels-last order.
 *
 *   conv(x) = transpose(conv'(transpose(x, NCHW -> NHWC)), NHWC -> NCHW)
 *
 * and transposes cancel where two such nodes meet. Nodes that work in either order (maps, pools, concats, ...) join when
 * they touch a value of a conv. Sums of integers are equal bit for bit; sums of floats take their terms in another order.
 * Declines where a quantized value would need a transpose, which only plain values have.
 */

import { GraphBuilder } from "../../compiler/ir/build.ts";
import type { Extent } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, OpAttributes, ValueName } from "../../compiler/ir/node.ts";
import { plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { nodeLabel } from "../../compiler/rewrite/rule.ts";
import { constantNode } from "../plan/constants.ts";
import { type ImageForm, imageForm } from "./image_nodes.ts";
import {
  identity,
  inverse,
  isIdentity,
  type Permutation,
  permute,
  permuteTensor,
  samePermutation,
  toLast,
} from "./permute.ts";

export const channelsLast = definePass({
  name: "channels-last",
  summary: "Run convs and what lies between them in channels-last order",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: (graph) => {
    const { chosen, refused } = chooseNodes(graph);
    const declined = refused.map((node) => ({
      rule: "channels-last",
      node: nodeLabel(node),
      reason: "a quantized value would need a transpose",
    }));
    if (chosen.size === 0) return { graph, applied: [], declined, metrics: { moved: 0 } };
    return {
      graph: new LayoutRewriter(graph, chosen).rewrite(),
      applied: [],
      declined,
      metrics: { moved: chosen.size },
    };
  },
});

interface Choice {
  readonly chosen: ReadonlyMap<Node, ImageForm>;
  readonly refused: readonly Node[];
}

/** Grows the set of channels-last nodes from the convs; drops nodes that would leave a quantized value between orders. */
function chooseNodes(graph: Graph): Choice {
  const forms = new Map<Node, ImageForm>();
  for (const node of graph.nodes) {
    const form = imageForm(node, graph);
    if (form !== undefined) forms.set(node, form);
  }
  const refused = new Set<Node>();
  for (;;) {
    const chosen = flood(graph, forms, refused);
    const torn = tornNodes(graph, chosen);
    if (torn.length === 0) return { chosen, refused: [...refused].filter((node) => node.op === "conv") };
    torn.forEach((node) => refused.add(node));
  }
}

function imageValues(graph: Graph, form: ImageForm): ValueName[] {
  const values = form.images.map((index) => form.node.inputs[index]);
  const images = values.filter((value) => constantNode(graph, value) === undefined && isImage(graph, value));
  return form.plainOutput ? images : [...images, ...form.node.outputs];
}

/** Values of one extent in all, and values of lower rank, look the same in both orders. */
function isImage(graph: Graph, value: ValueName): boolean {
  const { shape } = typeOf(graph, value);
  return shape.length >= 3 && shape.some((extent) => extent !== 1);
}

function flood(
  graph: Graph,
  forms: ReadonlyMap<Node, ImageForm>,
  refused: ReadonlySet<Node>,
): ReadonlyMap<Node, ImageForm> {
  const chosen = new Map<Node, ImageForm>();
  const touching = new Map<ValueName, Node[]>();
  const pending: Node[] = [];
  for (const [node, form] of forms) {
    if (refused.has(node)) continue;
    for (const value of imageValues(graph, form)) touching.set(value, [...touching.get(value) ?? [], node]);
    if (form.seed) pending.push(node);
  }
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    const form = forms.get(node);
    if (form === undefined || chosen.has(node)) continue;
    chosen.set(node, form);
    for (const value of imageValues(graph, form)) pending.push(...touching.get(value) ?? []);
  }
  return chosen;
}

/** Chosen nodes that share a quantized image with a node that is not chosen, or with the border. */
function tornNodes(graph: Graph, chosen: ReadonlyMap<Node, ImageForm>): Node[] {
  const outside = new Set<ValueName>();
  const quantized = (value: ValueName): boolean => typeOf(graph, value).encoding.kind !== "plain";
  for (const { value } of [...graph.inputs, ...graph.outputs]) if (quantized(value)) outside.add(value);
  for (const node of graph.nodes) {
    const form = chosen.get(node);
    const inside = new Set(form === undefined ? [] : imageValues(graph, form));
    for (const value of [...node.inputs, ...node.outputs]) {
      if (node.op !== "constant" && quantized(value) && !inside.has(value)) outside.add(value);
    }
  }
  return [...chosen].filter(([, form]) => imageValues(graph, form).some((value) => outside.has(value))).map(([node]) =>
    node
  );
}

/** A value as it was built: the source value is its transpose, axis i of the source being axis `permutation[i]` of it. */
interface BuiltForm {
  readonly value: ValueName;
  readonly permutation: Permutation;
}

/** Builds the new graph. Every source value is known by one or more built forms; others are made when they are wanted. */
class LayoutRewriter {
  readonly #builder: GraphBuilder;
  readonly #forms = new Map<ValueName, BuiltForm[]>();

  constructor(readonly graph: Graph, readonly chosen: ReadonlyMap<Node, ImageForm>) {
    this.#builder = new GraphBuilder(graph.name, graph.constants);
  }

  rewrite(): Graph {
    const { graph } = this;
    const builder = this.#builder;
    for (const [name, range] of Object.entries(graph.symbols)) builder.symbol(name, range);
    for (const state of graph.states) builder.state(state);
    for (const { name, value } of graph.inputs) this.#setFirst(value, builder.input(name, typeOf(graph, value)));
    for (const node of graph.nodes) this.#rebuild(node);
    for (const { name, value } of graph.outputs) builder.output(name, this.#first(value));
    return builder.finish(graph.level);
  }

  #rebuild(node: Node): void {
    if (node.op === "constant") return;
    const form = this.chosen.get(node);
    if (form !== undefined) return this.#rebuildLast(node, form);
    if (node.op === "transpose") {
      const order = node.attributes.permutation;
      const forms = this.#formsOf(node.inputs[0]).map(({ value, permutation }) => ({
        value,
        permutation: order.map((axis) => permutation[axis]),
      }));
      this.#forms.set(node.outputs[0], forms);
      return;
    }
    const inputs = node.inputs.map((value) => this.#first(value));
    const outputs = this.#add(node, inputs);
    node.outputs.forEach((output, index) => this.#setFirst(output, outputs[index]));
  }

  #rebuildLast(node: Node, form: ImageForm): void {
    const rank = typeOf(this.graph, node.outputs[0]).shape.length;
    const inputs = node.inputs.map((value, index) => {
      if (!form.images.includes(index)) return this.#first(value);
      const shape = typeOf(this.graph, value).shape;
      if (!form.broadcast) {
        return shape.length < 3 ? this.#first(value) : this.#wanted(value, inverse(toLast(shape.length)));
      }
      return shape.length === rank ? this.#wanted(value, inverse(toLast(rank))) : this.#broadcast(value, shape, rank);
    });
    const [output] = this.#add(form.node, inputs);
    const permutation = form.plainOutput ? identity(rank) : inverse(toLast(rank));
    this.#forms.set(node.outputs[0], [{ value: output, permutation }]);
  }

  /** An operand of lower rank: leading axes of extent 1 make the image's rank, then channels go last. */
  #broadcast(value: ValueName, shape: readonly Extent[], rank: number): ValueName {
    if (shape.every((extent) => extent === 1)) return this.#first(value);
    const full: Extent[] = [...new Array<Extent>(rank - shape.length).fill(1), ...shape];
    const order = toLast(rank);
    const constant = constantNode(this.graph, value);
    if (constant !== undefined) {
      const tensor = this.graph.constants.get(constant.attributes.hash);
      if (tensor.kind === "plain") {
        const raised = plainTensor(tensor.element, full.map(Number), tensor.data);
        return this.#builder.constant(permuteTensor(raised, order));
      }
    }
    const raised = this.#builder.add("reshape", [this.#first(value)], { shape: full });
    return this.#moved(raised, order);
  }

  #add(node: Node, inputs: readonly ValueName[]): readonly ValueName[] {
    // A node pairs its op with that op's attributes.
    const attributes = node.attributes as OpAttributes[typeof node.op];
    return this.#builder.addAll(node.op, inputs, attributes, { origin: node.origin, name: node.outputs[0] });
  }

  #setFirst(value: ValueName, built: ValueName): void {
    this.#forms.set(value, [{ value: built, permutation: identity(typeOf(this.graph, value).shape.length) }]);
  }

  #formsOf(value: ValueName): BuiltForm[] {
    let forms = this.#forms.get(value);
    if (forms === undefined) {
      const constant = constantNode(this.graph, value);
      if (constant === undefined) throw new RangeError(`%${value} is read before it is made`);
      const tensor = this.graph.constants.get(constant.attributes.hash);
      const built = this.#builder.constant(tensor, { origin: constant.origin, name: value });
      forms = [{ value: built, permutation: identity(tensor.shape.length) }];
      this.#forms.set(value, forms);
    }
    return forms;
  }

  /** The value in its source order. */
  #first(value: ValueName): ValueName {
    return this.#wanted(value, identity(typeOf(this.graph, value).shape.length));
  }

  /** A built value of which the source value is the transpose by `permutation`. */
  #wanted(value: ValueName, permutation: Permutation): ValueName {
    const tensor = isIdentity(permutation) ? undefined : this.#constantTensor(value);
    if (tensor !== undefined) return this.#builder.constant(permuteTensor(tensor, inverse(permutation)));
    const forms = this.#formsOf(value);
    const known = forms.find((form) => samePermutation(form.permutation, permutation));
    if (known !== undefined) return known.value;
    const [source] = forms;
    // source axis i = built axis p[i] = wanted axis w[i], so wanted axis w[i] is built axis p[i].
    const order = new Array<number>(permutation.length);
    permutation.forEach((axis, index) => order[axis] = source.permutation[index]);
    const built = this.#moved(source.value, order);
    forms.push({ value: built, permutation });
    return built;
  }

  #constantTensor(value: ValueName): Tensor | undefined {
    if (this.#forms.has(value)) return undefined;
    const constant = constantNode(this.graph, value);
    return constant === undefined ? undefined : this.graph.constants.get(constant.attributes.hash);
  }

  /** A transpose; a reshape where only axes of extent 1 move, which costs nothing. */
  #moved(value: ValueName, order: Permutation): ValueName {
    const { shape, encoding } = this.#builder.typeOf(value);
    const long = order.filter((axis) => shape[axis] !== 1);
    const moves = long.some((axis, index) => index > 0 && long[index - 1] > axis);
    if (encoding.kind === "plain" && !moves) {
      return this.#builder.add("reshape", [value], { shape: permute(shape, order) });
    }
    return this.#builder.add("transpose", [value], { permutation: order });
  }
}
