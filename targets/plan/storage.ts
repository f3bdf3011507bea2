/** Where each part of a value lives: in a buffer of its own, in a constant or a state, or inside one of those. */

import { InvariantError } from "../../compiler/diagnostics.ts";
import { type Graph, producers, typeOf } from "../../compiler/ir/graph.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";
import { partBytes, partKey, partsOfType } from "./parts.ts";
import { type PartView, viewsOf } from "./views.ts";

/** `offset` is in bytes from the root's first byte. */
export type Storage =
  | { readonly kind: "buffer"; readonly key: string; readonly bytes: number; readonly offset: number }
  | { readonly kind: "constant"; readonly hash: string; readonly part: TensorRole; readonly offset: number }
  | { readonly kind: "state"; readonly state: string; readonly part: TensorRole; readonly offset: number };

export type StorageOf = (value: ValueName, part: TensorRole) => Storage;

/** Follows views to the bytes that hold each part. */
export function storageOf(graph: Graph): StorageOf {
  const made = producers(graph);
  const views = new Map<Node, readonly PartView[] | undefined>();
  const viewsOfNode = (node: Node) => {
    if (!views.has(node)) views.set(node, viewsOf(node, graph));
    return views.get(node);
  };
  const find = (value: ValueName, part: TensorRole): Storage => {
    const node = made.get(value);
    if (node?.op === "constant") return { kind: "constant", hash: node.attributes.hash, part, offset: 0 };
    const view = node && viewsOfNode(node)?.find((candidate) => candidate.part === part);
    if (view === undefined) return ownBuffer(graph, value, part);
    if (view.of.kind === "state") {
      return { kind: "state", state: view.of.state, part: view.of.part, offset: view.offset };
    }
    const root = find(view.of.value, view.of.part);
    return { ...root, offset: root.offset + view.offset };
  };
  return find;
}

function ownBuffer(graph: Graph, value: ValueName, part: TensorRole): Storage {
  const type = partsOfType(typeOf(graph, value)).find((candidate) => candidate.part === part);
  if (type === undefined) throw new InvariantError(`Value %${value} has no ${part}`);
  return { kind: "buffer", key: partKey(value, part), bytes: partBytes(type, graph.symbols), offset: 0 };
}
