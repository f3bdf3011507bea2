/** Finds the constant node behind a value. */

import { type Graph, producers } from "../../compiler/ir/graph.ts";
import type { Node, NodeOf, ValueName } from "../../compiler/ir/node.ts";

const known = new WeakMap<Graph, ReadonlyMap<ValueName, Node>>();

/** The constant node that makes a value; undefined for any other. */
export function constantNode(graph: Graph, value: ValueName): NodeOf<"constant"> | undefined {
  let made = known.get(graph);
  if (made === undefined) {
    made = producers(graph);
    known.set(graph, made);
  }
  const node = made.get(value);
  return node?.op === "constant" ? node : undefined;
}
