import type { Graph } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { decodeTensor } from "../../compiler/reference/held.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, nodeLabel, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/**
 * Turns quantized constants into the real numbers that they stand for, so that passes over float weights apply to
 * checkpoints that arrive quantized (GGUF, QDQ models).
 *
 *   w = (value(code) - zero) * step + offset, each operation rounded to float32
 *
 * Contractions with real results give the same function: the evaluator defines them over these very numbers. Declines
 * where codes meet codes: there the integers are the arithmetic.
 */
export const decodeWeights = definePass({
  name: "decode-weights",
  summary: "Turn quantized constants into float32, for passes that choose weights anew",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: (graph, scope) => {
    const result = sweep(graph, [decodeConstant], { selects: scope.selects });
    return { ...result, graph: Object.freeze({ ...result.graph, level: levelOf(result.graph) }) };
  },
});

const decodeConstant: Rule = {
  name: "decode-weights",
  rewrite: (node, view) => {
    if (node.op !== "constant") return undefined;
    const [value] = node.outputs;
    const tensor = view.constantOf(value);
    if (tensor?.kind !== "quantized") return undefined;
    if (view.isOutput(value)) return declined("it is an output of the model");
    const reader = view.readers(value).find((candidate) => !takesFloat(candidate, value, view));
    if (reader !== undefined) return declined(`${nodeLabel(reader)} computes with its codes`);
    const patch = new PatchBuilder("decode-weights", view);
    const decoded = patch.constant(decodeTensor(tensor), { name: value, origin: node.origin });
    patch.remove(node);
    patch.replace(value, decoded, { retyped: true });
    for (const decoding of view.readers(value)) {
      if (decoding.op !== "dequantize") continue;
      patch.remove(decoding);
      patch.replace(decoding.outputs[0], decoded);
    }
    return patched(patch.finish());
  },
};

/** Whether a node gives the same real result when this operand holds real numbers. */
function takesFloat(node: Node, value: string, view: GraphView): boolean {
  switch (node.op) {
    case "dequantize":
      return true;
    case "gather":
      return node.inputs[0] === value && view.typeOf(node.outputs[0]).encoding.kind === "plain";
    case "conv":
    case "matmul":
      return node.attributes.result.kind === "real" &&
        node.inputs.every((input) => input === value || view.typeOf(input).encoding.kind === "plain");
    default:
      return false;
  }
}

function levelOf(graph: Graph): Graph["level"] {
  const isPlain = [...graph.types.values(), ...graph.states.map(({ type }) => type)]
    .every(({ encoding }) => encoding.kind === "plain");
  return isPlain && graph.level === "quant" ? "float" : graph.level;
}
