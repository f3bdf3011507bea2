/** Runs rules over a graph in one ordered sweep: each node is visited once, so every run ends. */

import type { Graph } from "../ir/graph.ts";
import type { Node } from "../ir/node.ts";
import type { PassResult } from "./pass.ts";
import type { Patch } from "./patch.ts";
import { type Declined, nodeLabel, type Rule } from "./rule.ts";
import { Rewriting } from "./view.ts";

export interface SweepOptions {
  readonly selects?: (node: Node) => boolean;
  /** How often nodes that a patch adds may be rewritten in turn; 0 leaves them alone. */
  readonly generations?: number;
}

/**
 * Visits the nodes in topological order and tries the rules in the order given. A patch is applied at once, so later
 * nodes see it; the node is then done. Added nodes are visited right away, down to the generation given.
 */
export function sweep(graph: Graph, rules: readonly Rule[], options: SweepOptions = {}): PassResult {
  const { selects = everything, generations = 0 } = options;
  const rewriting = new Rewriting(graph);
  const applied: Patch[] = [];
  const refusals: Declined[] = [];
  const visit = (node: Node, generation: number) => {
    for (const rule of rules) {
      const result = rule.rewrite(node, rewriting);
      if (result === undefined) continue;
      if (result.kind === "declined") {
        refusals.push({ rule: rule.name, node: nodeLabel(node), reason: result.reason });
        continue;
      }
      rewriting.apply(result.patch);
      applied.push(result.patch);
      if (generation < generations) result.patch.added.forEach((added) => revisit(added, generation + 1));
      return;
    }
  };
  const revisit = (added: Node, generation: number) => {
    const node = rewriting.producer(added.outputs[0]);
    if (node !== undefined && selects(node)) visit(node, generation);
  };
  for (const node of rewriting.sweep()) if (selects(node)) visit(node, 0);
  return { graph: rewriting.finish(), applied, declined: refusals, metrics: { applied: applied.length } };
}

/** The body of a pass that is a list of rules. */
export function rules(
  ...list: readonly Rule[]
): (graph: Graph, scope: { readonly selects: (node: Node) => boolean }) => PassResult {
  return (graph, scope) => sweep(graph, list, { selects: scope.selects });
}

/** Applies patches made against one graph, in order. */
export function applyPatches(graph: Graph, patches: readonly Patch[]): Graph {
  const rewriting = new Rewriting(graph);
  for (const patch of patches) rewriting.apply(patch);
  return rewriting.finish();
}

function everything(): boolean {
  return true;
}
