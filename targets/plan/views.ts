/** Views: nodes whose result already lies in memory as their operand does, so that nothing is copied. */

import { elementBytes } from "../../compiler/numeric/element.ts";
import {
  equalExtents,
  equalShapes,
  evaluateExtent,
  type Extent,
  isStatic,
  shapeBound,
  shapeSize,
  type SymbolTable,
} from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, NodeOf, ValueName } from "../../compiler/ir/node.ts";
import { stridesOf, type TensorRole } from "../../compiler/ir/tensor.ts";
import { partsOfType } from "./parts.ts";

/** One part of a view's result: the bytes of another part, from `offset` on. */
export interface PartView {
  readonly part: TensorRole;
  readonly of:
    | { readonly kind: "value"; readonly value: ValueName; readonly part: TensorRole }
    | { readonly kind: "state"; readonly state: string; readonly part: TensorRole };
  readonly offset: number;
}

/** Whether a node needs no kernel. Views that a state is written through still need theirs. */
export function isPureView(node: Node, graph: Graph): boolean {
  return node.op !== "append" && node.op !== "writeState" && viewsOf(node, graph) !== undefined;
}

/** What the parts of a node's (only) output are views of; undefined when the node must compute or move something. */
export function viewsOf(node: Node, graph: Graph): readonly PartView[] | undefined {
  switch (node.op) {
    case "reshape":
      return sameOrder(typeOf(graph, node.inputs[0]).shape, node.attributes.shape) ? [whole(node)] : undefined;
    case "expand":
      return equalShapes(typeOf(graph, node.inputs[0]).shape, node.attributes.shape) ? [whole(node)] : undefined;
    case "transpose":
      return movesUnitsOnly(typeOf(graph, node.inputs[0]).shape, node.attributes.permutation)
        ? [whole(node)]
        : undefined;
    case "slice":
      return sliceView(node, graph);
    case "concat":
      return node.inputs.length === 1 ? [whole(node)] : undefined;
    case "map":
      return node.attributes.expression.kind === "input" && node.inputs.length === 1 ? [whole(node)] : undefined;
    case "fromCodes":
      return fromCodesViews(node);
    case "toCodes":
      return [partOf(node, "codes")];
    case "toSteps":
      return [partOf(node, "steps")];
    case "writeState":
      return partsOfType(typeOf(graph, node.inputs[0])).map(({ part }) => ({
        part,
        of: { kind: "value", value: node.inputs[0], part },
        offset: 0,
      }));
    case "append":
      return appendViews(node, graph);
    default:
      return undefined;
  }
}

function whole(node: Node): PartView {
  return partOf(node, "data");
}

function partOf(node: Node, part: TensorRole): PartView {
  return { part: "data", of: { kind: "value", value: node.inputs[0], part }, offset: 0 };
}

function fromCodesViews(node: NodeOf<"fromCodes">): readonly PartView[] {
  const { scheme } = node.attributes;
  const roles: TensorRole[] = ["codes", "steps"];
  if (scheme.zeroPoint) roles.push("zeros");
  if (scheme.offset) roles.push("offsets");
  return roles.map((part, index) => ({
    part,
    of: { kind: "value", value: node.inputs[index], part: "data" },
    offset: 0,
  }));
}

/** The grown state itself, where its buffer has the strides that the result is read with. */
function appendViews(node: NodeOf<"append">, graph: Graph): readonly PartView[] | undefined {
  const state = graph.states.find((candidate) => candidate.name === node.attributes.state);
  if (state === undefined) return undefined;
  const result = partsOfType(typeOf(graph, node.outputs[0]));
  const held = partsOfType(state.type);
  const fits = result.every(({ shape }, index) =>
    sameStrides(shapeBound(shape, graph.symbols), shapeBound(held[index].shape, graph.symbols))
  );
  if (!fits) return undefined;
  return held.map(({ part }) => ({ part, of: { kind: "state", state: state.name, part }, offset: 0 }));
}

/** Whether two dense arrays agree on every stride that is ever stepped by. */
function sameStrides(a: readonly number[], b: readonly number[]): boolean {
  const strides = stridesOf(a);
  const others = stridesOf(b);
  return a.length === b.length && strides.every((stride, axis) => stride === others[axis] || a[axis] <= 1);
}

/**
 * Whether row-major order over the bounds is the same before and after a reshape, for all values of the symbols.
 * Equal leading extents step alike. After them at most one axis of each side is symbolic and everything before it
 * has extent 1 there, so no stride that is stepped by depends on a bound.
 */
export function sameOrder(before: readonly Extent[], after: readonly Extent[]): boolean {
  if (before.every(isStatic) && after.every(isStatic)) return true;
  const a = before.filter((extent) => extent !== 1);
  const b = after.filter((extent) => extent !== 1);
  while (a.length > 0 && b.length > 0 && equalExtents(a[0], b[0])) {
    a.shift();
    b.shift();
  }
  if (a.every(isStatic) && b.every(isStatic)) return true;
  const symbolsLead = (shape: readonly Extent[]) => shape.slice(1).every(isStatic);
  const sizeA = shapeSize(a);
  const sizeB = shapeSize(b);
  return symbolsLead(a) && symbolsLead(b) && sizeA !== undefined && sizeB !== undefined && equalExtents(sizeA, sizeB);
}

function movesUnitsOnly(shape: readonly Extent[], permutation: readonly number[]): boolean {
  const moved = permutation.filter((axis) => shape[axis] !== 1);
  return moved.every((axis, index) => index === 0 || moved[index - 1] < axis);
}

/** A slice of consecutive entries whose first byte keeps the alignment of parts. */
function sliceView(node: NodeOf<"slice">, graph: Graph): readonly PartView[] | undefined {
  const x = typeOf(graph, node.inputs[0]);
  const { starts, steps, extents } = node.attributes;
  const cut = x.shape.findIndex((extent) => extent !== 1);
  const keepsRest = x.shape.every((extent, axis) => axis <= cut || equalExtents(extent, extents[axis]));
  if (cut < 0) return [whole(node)];
  if (!keepsRest || steps[cut] !== 1) return undefined;
  const offset = starts[cut] * stridesOf(shapeBound(x.shape, graph.symbols))[cut] * elementBytes(x.element);
  return offset % 16 === 0 && staysInside(x.shape[cut], starts[cut], extents[cut], graph.symbols)
    ? [{ ...whole(node), offset }]
    : undefined;
}

function staysInside(whole: Extent, start: number, extent: Extent, symbols: SymbolTable): boolean {
  const largest = Object.fromEntries(Object.entries(symbols).map(([name, range]) => [name, range.max]));
  return start + evaluateExtent(extent, largest) <= evaluateExtent(whole, largest);
}
