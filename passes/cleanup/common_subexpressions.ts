import type { Node } from "../../compiler/ir/node.ts";
import { definePass, type PassResult } from "../../compiler/rewrite/pass.ts";
import { type Patch, PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import type { Graph } from "../../compiler/ir/graph.ts";

/**
 * Nodes with equal op, attributes and inputs compute equal values; the first one serves all. `append` and `writeState`
 * change a state and stay.
 */
export const mergeCommonSubexpressions = definePass({
  name: "merge-common-subexpressions",
  summary: "Compute equal nodes once",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {},
  run: (graph, scope) => mergeEqualNodes(graph, scope.selects),
});

function mergeEqualNodes(graph: Graph, selects: (node: Node) => boolean): PassResult {
  const rewriting = new Rewriting(graph);
  const applied: Patch[] = [];
  const seen = new Map<string, Node>();
  for (const node of rewriting.sweep()) {
    if (node.op === "append" || node.op === "writeState" || !selects(node)) continue;
    const key = nodeKey(node);
    const first = seen.get(key);
    if (first === undefined) {
      seen.set(key, node);
      continue;
    }
    const patch = new PatchBuilder("merge-common-subexpressions", rewriting);
    patch.remove(node);
    node.outputs.forEach((output, index) => patch.replace(output, first.outputs[index]));
    const finished = patch.finish();
    rewriting.apply(finished);
    applied.push(finished);
  }
  return { graph: rewriting.finish(), applied, declined: [], metrics: { merged: applied.length } };
}

function nodeKey(node: Node): string {
  const attributes = JSON.stringify(node.attributes, (_, value) => {
    if (typeof value === "bigint") return `${value}n`;
    return Object.is(value, -0) ? "-0" : value;
  });
  return `${node.op} ${node.inputs.join(",")} ${attributes}`;
}
