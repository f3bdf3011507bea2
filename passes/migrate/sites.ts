/** Places where steps may migrate that are no regions of their own: norms without gain, and transforms at run time. */

import { isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { nodeLabel } from "../../compiler/rewrite/rule.ts";
import { linearSinks } from "../../compiler/rewrite/region/norm.ts";
import { identityChannels, type Region } from "../../compiler/rewrite/region/region.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { WeightEditor } from "../transform/weight_editor.ts";

/** Every norm over one static last axis gets a gain of ones where it has none: the free slot that steps move into. */
export function withUnitGains(graph: Graph): Graph {
  const editor = new WeightEditor(graph);
  for (const node of graph.nodes) {
    if (node.op !== "norm" || node.inputs.length > 1) continue;
    const { shape } = typeOf(graph, node.inputs[0]);
    const extent = shape[shape.length - 1];
    if (!isStatic(extent) || node.attributes.axis !== shape.length - 1) continue;
    editor.extend(node, (inserter) => {
      const gain = inserter.constant(floatTensor([extent], new Float32Array(extent).fill(1)), "gain");
      return { ...node, inputs: [node.inputs[0], gain] };
    });
  }
  return editor.finish();
}

/** Transforms whose readers are all linear: their steps cannot pass the mixing, so they have no sources. */
export function transformSites(graph: Graph): readonly Region[] {
  const view = new Rewriting(graph);
  return graph.nodes.flatMap((node): Region[] => {
    if (node.op !== "transform") return [];
    const [value] = node.outputs;
    const { shape } = typeOf(graph, value);
    const extent = shape[shape.length - 1];
    if (!isStatic(extent)) return [];
    const found = linearSinks(view, { value, axes: [shape.length - 1] }, identityChannels(extent));
    if ("declined" in found) return [];
    return [{
      kind: "upDown",
      name: nodeLabel(node),
      channels: extent,
      sources: [],
      sinks: found.sinks,
      activations: found.activations,
      positiveOnly: false,
      rotationExtent: 1,
    }];
  });
}
