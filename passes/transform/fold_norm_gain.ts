import { definePass } from "../../compiler/rewrite/pass.ts";
import type { Declined } from "../../compiler/rewrite/rule.ts";
import type { NodeOf } from "../../compiler/ir/node.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { Region } from "../../compiler/rewrite/region/region.ts";
import { scaleObstacle } from "./scale_region.ts";
import { correctReaders, shiftObstacle } from "./shift_region.ts";
import { biasOperand, WeightEditor } from "./weight_editor.ts";

/**
 * Folds a norm's gain and bias into every linear that reads the norm, so that the residual stream may be rotated.
 *
 *   y = g ⊙ n(x) + b,  o = W·y + c   ⇒   o = (W·diag(g))·n(x) + (c + W·b)
 *
 * Exact over the reals. Declines where a reader is not linear: the gain does not cancel there. Readers without a bias get
 * one where the norm has one.
 */
export const foldNormGain = definePass({
  name: "fold-norm-gain",
  summary: "Fold a norm's gain and bias into the linears that read it",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: (graph, scope) => {
    const { regions, declined } = findRegions(graph);
    const editor = new WeightEditor(graph);
    const refused: Declined[] = declined.filter((entry) => entry.kind === "norm")
      .map(({ name, reason }) => ({ rule: "fold-norm-gain", node: name, reason }));
    let folded = 0;
    for (const region of regions) {
      const node = region.sources[0]?.node;
      if (region.kind !== "norm" || node?.op !== "norm" || !scope.selects(node)) continue;
      const hasBias = node.inputs.length > biasOperand;
      const obstacle = scaleObstacle(editor, region) ?? (hasBias ? shiftObstacle(graph, region) : undefined);
      if (obstacle !== undefined) refused.push({ rule: "fold-norm-gain", node: region.name, reason: obstacle });
      else {
        foldGain(editor, region, node);
        folded++;
      }
    }
    return { graph: editor.finish(), applied: [], declined: refused, metrics: { folded } };
  },
});

function foldGain(editor: WeightEditor, region: Region, node: NodeOf<"norm">): void {
  const [gain, bias] = region.sources.map((source) => editor.tensor(source).entries);
  if (bias !== undefined) correctReaders(editor, region, bias);
  for (const sink of region.sinks) editor.scale(sink, gain);
  editor.override(node, { ...node, inputs: node.inputs.slice(0, 1) });
}
