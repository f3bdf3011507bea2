/** Decides which values a statically quantized graph holds as codes, and which nodes work on codes alone. */

import { equalShapes, isStatic } from "../../compiler/ir/extent.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

export type Weighted = Extract<Node, { readonly op: "conv" | "matmul" }>;

/** A convolution or matmul with quantized constant weights and a float left operand: it wants codes there. */
export function wantsCodes(node: Node | undefined, view: GraphView): node is Weighted {
  if (node?.op !== "conv" && node?.op !== "matmul") return false;
  const [a, b] = node.inputs;
  const left = view.typeOf(a);
  return node.attributes.result.kind === "real" && view.typeOf(b).encoding.kind === "quantized" &&
    view.constantOf(b) !== undefined && left.encoding.kind === "plain" && left.element === "f32";
}

/** Moves entries about without changing them: codes pass through with their step and zero point. */
export function isMove(node: Node, view: GraphView): boolean {
  switch (node.op) {
    case "reshape":
    case "transpose":
    case "slice":
    case "expand":
    case "concat":
    case "gather":
      return true;
    case "pool":
      return node.attributes.kind === "max";
    case "reduce":
      return node.attributes.kind === "max" || node.attributes.kind === "min";
    case "pad":
      return node.attributes.mode !== "constant" || padsZeros(node, view);
    default:
      return false;
  }
}

function padsZeros(node: Extract<Node, { readonly op: "pad" }>, view: GraphView): boolean {
  if (node.inputs.length < 2) return true;
  const value = view.constantOf(node.inputs[1]);
  return value?.kind === "plain" && value.data.length === 1 && Number(value.data[0]) === 0;
}

/** Operands of a node that carry activations: constants and indices are left out. */
export function dataOperands(node: Node, view: GraphView): readonly ValueName[] {
  const given = node.op === "gather" || node.op === "pad" ? node.inputs.slice(0, 1) : node.inputs;
  return [...new Set(given)].filter((value) => view.constantOf(value) === undefined);
}

/**
 * Sums whose integer form is exact: contractions of codes, sums along axes, and averages over windows that all have the
 * same size. They yield accumulators that the elementwise node after them turns into codes.
 */
export function isAccumulating(node: Node | undefined, view: GraphView, contracts: (node: Node) => boolean): boolean {
  if (node === undefined) return false;
  if (node.op === "reduce") {
    const { shape } = view.typeOf(node.inputs[0]);
    return node.attributes.kind === "sum" && node.attributes.axes.every((axis) => isStatic(shape[axis]));
  }
  return node.op === "pool" ? averagesEvenly(node, view) : contracts(node);
}

function averagesEvenly(node: Extract<Node, { readonly op: "pool" }>, view: GraphView): boolean {
  const { kind, layout, pads, kernel, strides, dilations, outputExtents, countPadding } = node.attributes;
  if (kind !== "average" || layout !== "channelsFirst") return false;
  if (!countPadding && pads.some((amount) => amount !== 0)) return false;
  const { shape } = view.typeOf(node.inputs[0]);
  return kernel.every((extent, axis) => {
    const whole = shape[axis + 2];
    const reach = (outputExtents[axis] - 1) * strides[axis] + dilations[axis] * (extent - 1) + 1;
    return isStatic(whole) && reach <= whole + pads[axis] + pads[axis + kernel.length];
  });
}

export interface CodePlan {
  /** Values to hold as codes, each with the value whose range gives its step. */
  readonly held: ReadonlyMap<ValueName, ValueName>;
  /** Nodes that read and make codes alone, by first output. */
  readonly integer: ReadonlySet<ValueName>;
}

/**
 * Every operand that a contraction wants as codes is held. Elementwise nodes, moves, sums and averages whose operands can
 * all be codes or one accumulator join in, and their operands are held in turn, as long as no other node wants those in
 * float. Sums of a matmul and another value stay float: they are the residual streams of transformers, whose outliers
 * one step per tensor does not suit.
 */
export function planCodes(nodes: readonly Node[], view: GraphView, contracts: (node: Node) => boolean): CodePlan {
  const base = new Set(nodes.filter(contracts).map((node) => node.inputs[0]));
  const capable = capableValues(nodes, base, view, contracts);
  const refused = new Set<ValueName>();
  // Each round refuses at least one more node, so the rounds end.
  for (;;) {
    const { held, integer } = heldValues(nodes, base, capable, refused, view, contracts);
    const broken = nodes.filter((node) =>
      integer.has(node.outputs[0]) &&
      !dataOperands(node, view).every((value) => held.has(value) || value === accumulatorOf(node, view, contracts))
    );
    if (broken.length === 0) return { held: withSources(held, integer, view), integer };
    for (const node of broken) refused.add(node.outputs[0]);
  }
}

/** Values that could be held as codes without a float operation behind them other than at the graph's inputs. */
function capableValues(
  nodes: readonly Node[],
  base: ReadonlySet<ValueName>,
  view: GraphView,
  contracts: (node: Node) => boolean,
): ReadonlySet<ValueName> {
  const capable = new Set<ValueName>([...base, ...view.graph.inputs.map((input) => input.value)]);
  for (const node of nodes) {
    if (node.outputs.length !== 1 || !isRealPlain(node.outputs[0], view)) continue;
    const operands = dataOperands(node, view);
    if (node.op === "conv" && contracts(node)) capable.add(node.outputs[0]);
    if (!carries(node, view, contracts) || operands.length === 0) continue;
    const single = operands.length === 1;
    const fits = operands.every((value) =>
      capable.has(value) || (single && node.op === "map" && value === accumulatorOf(node, view, contracts))
    );
    if (fits) capable.add(node.outputs[0]);
  }
  return capable;
}

function carries(node: Node, view: GraphView, contracts: (node: Node) => boolean): boolean {
  if (node.op === "map") return mapsReals(node, view);
  return isMove(node, view) || (node.op !== "matmul" && node.op !== "conv" && isAccumulating(node, view, contracts));
}

/** Elementwise, f32 throughout. */
function mapsReals(node: Node, view: GraphView): boolean {
  return [...node.inputs, ...node.outputs].every((value) => isRealPlain(value, view));
}

function isRealPlain(value: ValueName, view: GraphView): boolean {
  const type = view.typeOf(value);
  return type.element === "f32" && type.encoding.kind === "plain";
}

/**
 * The operand of an elementwise node that stays an accumulator: made by a sum, read by this node alone, of its shape.
 * The one made last, so that the others are there when its result is finished.
 */
export function accumulatorOf(
  node: Node,
  view: GraphView,
  contracts: (node: Node) => boolean,
): ValueName | undefined {
  if (node.op !== "map") return undefined;
  const whole = view.typeOf(node.outputs[0]).shape;
  const sums = [...new Set(node.inputs)].filter((value) =>
    isAccumulating(view.producer(value), view, contracts) && view.onlyReader(value) === node &&
    equalShapes(view.typeOf(value).shape, whole)
  );
  return sums.sort((a, b) => placeOf(a, view) - placeOf(b, view)).at(-1);
}

function placeOf(value: ValueName, view: GraphView): number {
  return view.graph.nodes.findIndex((node) => node.outputs.includes(value));
}

function heldValues(
  nodes: readonly Node[],
  base: ReadonlySet<ValueName>,
  capable: ReadonlySet<ValueName>,
  refused: ReadonlySet<ValueName>,
  view: GraphView,
  contracts: (node: Node) => boolean,
): { readonly held: ReadonlySet<ValueName>; readonly integer: ReadonlySet<ValueName> } {
  const held = new Set(base);
  const integer = new Set<ValueName>();
  const servesCodes = (node: Node) => integer.has(node.outputs[0]);
  const consider = (value: ValueName) => {
    if (held.has(value) || !capable.has(value) || view.isOutput(value)) return;
    const readers = view.readers(value);
    if (readers.length === 0 || !readers.every(servesCodes)) return;
    if (readers.some((node) => accumulatorOf(node, view, contracts) === value)) return;
    held.add(value);
  };
  for (const node of [...nodes].reverse()) {
    node.outputs.forEach(consider);
    const [output] = node.outputs;
    if (refused.has(output) || !carries(node, view, contracts) || !mapsOrCapable(node, capable, view, contracts)) {
      continue;
    }
    const yieldsAccumulator = isAccumulating(node, view, contracts) &&
      view.readers(output).some((reader) => servesCodes(reader) && accumulatorOf(reader, view, contracts) === output);
    if (held.has(output) || yieldsAccumulator) integer.add(output);
  }
  view.graph.inputs.forEach((input) => consider(input.value));
  return { held, integer };
}

function mapsOrCapable(
  node: Node,
  capable: ReadonlySet<ValueName>,
  view: GraphView,
  contracts: (node: Node) => boolean,
): boolean {
  const operands = dataOperands(node, view);
  const accumulator = accumulatorOf(node, view, contracts);
  return operands.length > 0 &&
    operands.every((value) => capable.has(value) || (operands.length === 1 && value === accumulator));
}

/** Codes keep their step through moves; what only a concatenation reads takes the concatenation's step. */
function withSources(
  held: ReadonlySet<ValueName>,
  integer: ReadonlySet<ValueName>,
  view: GraphView,
): ReadonlyMap<ValueName, ValueName> {
  const sourceOf = (value: ValueName): ValueName => {
    const producer = view.producer(value);
    const moves = producer !== undefined && producer.op !== "concat" && isMove(producer, view);
    if (moves && integer.has(value)) return sourceOf(producer.inputs[0]);
    const reader = view.onlyReader(value);
    if (reader?.op === "concat" && integer.has(reader.outputs[0])) return sourceOf(reader.outputs[0]);
    return value;
  };
  return new Map([...held].map((value) => [value, sourceOf(value)]));
}
