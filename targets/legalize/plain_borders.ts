/** Artifacts speak plain arrays at their border: a quantized output is decoded there. */

import { makeNode } from "../../compiler/ir/build.ts";
import { freshName, type Graph, producers, typeOf } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { type TensorType, tensorType } from "../../compiler/ir/types.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";

/** Adds a `dequantize` before every output whose value is quantized. */
export const plainBorders = definePass({
  name: "plain-borders",
  summary: "Decode quantized outputs, so that the model's border is plain arrays",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {},
  run: (graph) => {
    const result = decodeOutputs(graph);
    return { graph: result, applied: [], declined: [], metrics: { added: result.nodes.length - graph.nodes.length } };
  },
});

function decodeOutputs(graph: Graph): Graph {
  const made = producers(graph);
  const types = new Map<string, TensorType>(graph.types);
  const added: Node[] = [];
  const outputs = graph.outputs.map((output) => {
    const type = typeOf(graph, output.value);
    if (type.encoding.kind === "plain") return output;
    const value = freshName(`${output.value}_plain`, types);
    types.set(value, tensorType(type.element, type.shape));
    added.push(makeNode("dequantize", [output.value], [value], {}, made.get(output.value)?.origin ?? []));
    return { ...output, value };
  });
  if (added.length === 0) return graph;
  return Object.freeze({ ...graph, types, outputs, nodes: Object.freeze([...graph.nodes, ...added]) });
}
