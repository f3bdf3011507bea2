import { definePass } from "../../compiler/rewrite/pass.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";

/** Drops nodes that no output and no state update needs. */
export const eliminateDead = definePass({
  name: "eliminate-dead",
  summary: "Drop nodes that no output and no state needs",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {},
  run: (graph) => {
    const result = sweep(graph, []);
    return { ...result, metrics: { removed: graph.nodes.length - result.graph.nodes.length } };
  },
});
