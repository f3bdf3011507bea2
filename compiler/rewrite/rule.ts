/** A rule: one local rewrite with a check. It rewrites, declines with a reason, or does not concern a node at all. */

import type { Node } from "../ir/node.ts";
import type { Patch } from "./patch.ts";
import type { GraphView } from "./view.ts";

/** Why a rewrite that the shape of the graph suggests was not made. */
export interface Declined {
  readonly rule: string;
  /** The node's source name, or `%value` when it has none. */
  readonly node: string;
  readonly reason: string;
}

export type RuleResult =
  | { readonly kind: "patch"; readonly patch: Patch }
  | { readonly kind: "declined"; readonly reason: string };

export interface Rule {
  readonly name: string;
  /** Looks at one node; undefined when the rule has nothing to say about it. */
  readonly rewrite: (node: Node, view: GraphView) => RuleResult | undefined;
}

export function patched(patch: Patch): RuleResult {
  return { kind: "patch", patch };
}

export function declined(reason: string): RuleResult {
  return { kind: "declined", reason };
}

/** How messages name a node: its first source name, or its first value. */
export function nodeLabel(node: Node): string {
  return node.origin[0] ?? `%${node.outputs[0]}`;
}
