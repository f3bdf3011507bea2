/**
 * Composes elementwise nodes, so that a chain or tree of them is one loop.
 *
 *   y = f(x), z = g(y, w)   ⇒   z = g(f(x), w)
 *
 * Exact: the same operations run in the same order on every entry. Composes only where y has one reader, the two
 * have one shape (nothing is computed twice for a broadcast), and the result stays small enough to print.
 */

import { equalShapes } from "../../compiler/ir/extent.ts";
import { type Expression, input, substitute } from "../../compiler/ir/expression.ts";
import { type Graph, producers, readers, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, NodeOf, ValueName } from "../../compiler/ir/node.ts";
import { makeNode } from "../../compiler/ir/build.ts";

/** Expressions are trees when printed, so a composed one may not outgrow this many nodes. */
const largestExpression = 200;
/** Operands of one loop: each holds an address, and wide loops run out of registers. */
const mostOperands = 12;

export type MapNode = NodeOf<"map">;

/** An elementwise node being composed: equal operands are listed once. */
export interface MapBody {
  readonly expression: Expression;
  readonly operands: readonly ValueName[];
}

export function expressionSize(expression: Expression): number {
  switch (expression.kind) {
    case "input":
    case "literal":
      return 1;
    case "unary":
    case "cast":
      return 1 + expressionSize(expression.x);
    case "binary":
    case "compare":
      return 1 + expressionSize(expression.x) + expressionSize(expression.y);
    case "select":
      return 1 + expressionSize(expression.condition) + expressionSize(expression.x) + expressionSize(expression.y);
  }
}

/**
 * Replaces operand `operand` of `outer` by the body `inner`, or says (undefined) that the result would be too large.
 * Inputs of the result index its own operand list.
 */
export function composeBodies(outer: MapBody, operand: ValueName, inner: MapBody): MapBody | undefined {
  const operands = [...new Set([...outer.operands.filter((value) => value !== operand), ...inner.operands])];
  if (operands.length > mostOperands) return undefined;
  const indexOf = (value: ValueName) => input(operands.indexOf(value));
  const inserted = substitute(inner.expression, (index) => indexOf(inner.operands[index]));
  const expression = substitute(
    outer.expression,
    (index) => outer.operands[index] === operand ? inserted : indexOf(outer.operands[index]),
  );
  return expressionSize(expression) <= largestExpression ? { expression, operands } : undefined;
}

/** The graph with every composable elementwise node merged into its reader. Origins are kept. */
export function fuseMaps(graph: Graph): Graph {
  const outputs = new Set(graph.outputs.map(({ value }) => value));
  const read = readers(graph);
  const made = producers(graph);
  const composed = new Map<Node, MapNode>();
  const absorbed = new Set<Node>();

  const onlyReader = (value: ValueName) => !outputs.has(value) && read.get(value)?.length === 1;
  const compose = (node: MapNode): MapNode => {
    let body: MapBody = { expression: node.attributes.expression, operands: node.inputs };
    let origin = node.origin;
    const shape = typeOf(graph, node.outputs[0]).shape;
    for (const operand of node.inputs) {
      const source = made.get(operand);
      if (source?.op !== "map" || !onlyReader(operand)) continue;
      if (!equalShapes(typeOf(graph, operand).shape, shape)) continue;
      const inner = composed.get(source) ?? source;
      const merged = composeBodies(body, operand, { expression: inner.attributes.expression, operands: inner.inputs });
      if (merged === undefined) continue;
      body = merged;
      origin = [...new Set([...origin, ...inner.origin])];
      absorbed.add(source);
    }
    return makeMap(body, node.outputs, origin);
  };

  for (const node of graph.nodes) if (node.op === "map") composed.set(node, compose(node));
  const nodes = graph.nodes.filter((node) => !absorbed.has(node)).map((node) => composed.get(node) ?? node);
  return Object.freeze({ ...graph, nodes: Object.freeze(nodes) });
}

function makeMap(body: MapBody, outputs: readonly ValueName[], origin: readonly string[]): MapNode {
  const node = makeNode("map", body.operands, outputs, { expression: body.expression }, origin);
  if (node.op !== "map") throw new TypeError("makeNode changed the op");
  return node;
}
