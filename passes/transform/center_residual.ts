import type { Graph } from "../../compiler/ir/graph.ts";
import { definePass, type PassResult } from "../../compiler/rewrite/pass.ts";
import { layerNormStream } from "../../compiler/rewrite/region/residual.ts";
import type { ResidualStream } from "../../compiler/rewrite/region/region.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Centres what writes into the residual stream of a layer norm model, so that its layer norms become RMS norms (SliceGPT,
 * arXiv 2401.15024, section 3; fold F8).
 *
 *   W ↦ W - 1/n · 1·1ᵀ·W over the output channels of every writer ⇒ each row x of the stream has mean 0 ⇒
 *   (x - mean x) / √(var x + ε) = x / √(mean x² + ε)
 *
 * Exact over the reals where every reader of the stream is a layer norm. An RMS norm sees the mean: centring the
 * embeddings of an RMS norm model, as some rotation tools do, changes it, so such streams are declined.
 */
export const centerResidual = definePass({
  name: "center-residual",
  summary: "Centre the writers of a layer norm model's residual stream; its layer norms become RMS norms",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: (graph): PassResult => {
    const stream = layerNormStream(new Rewriting(graph));
    const none = { graph, applied: [], metrics: { centred: 0 } };
    if (stream === undefined) return { ...none, declined: [] };
    const editor = new WeightEditor(graph);
    const reason = "declined" in stream ? stream.declined : editor.obstacle([...stream.writers, ...stream.biases]);
    if ("declined" in stream || reason !== undefined) {
      return { ...none, declined: [{ rule: "center-residual", node: graph.name, reason: reason ?? "" }] };
    }
    const centred = centreStream(editor, stream);
    return { graph: centred, applied: [], declined: [], metrics: { centred: stream.norms.length } };
  },
});

/** Takes the mean over its channels off every writer; the norms become RMS norms. */
export function centreStream(editor: WeightEditor, stream: ResidualStream): Graph {
  for (const place of [...stream.writers, ...stream.biases]) {
    editor.turn(place, stream.channels, (vector) => {
      const mean = vector.reduce((sum, value) => sum + value, 0) / vector.length;
      for (let index = 0; index < vector.length; index++) vector[index] -= mean;
    });
  }
  for (const node of stream.norms) {
    editor.override(node, { ...node, attributes: { ...node.attributes, kind: "rms" } });
  }
  return editor.finish();
}
