import { isStatic } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { typeOf } from "../../compiler/ir/graph.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, isPlain, type PlainTensor, plainTensor, sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import { FloatReference } from "../../compiler/reference/tfjs.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import type { Statistics } from "../../compiler/rewrite/statistics.ts";
import { fail } from "../../compiler/diagnostics.ts";

/**
 * Moves the bias of each quantized contraction so that its mean output over the calibration samples is that of the float
 * model (Nagel et al. 2019, "Data-Free Quantization", section 4.2, with measured means).
 *
 *   b'_c = b_c + E[y_c] - E[ŷ_c]   over the same samples
 *
 * Layers are corrected in order, each seeing the corrected layers before it: the samples go through the quantized graph
 * side by side, once.
 */
export const correctBias = definePass({
  name: "correct-bias",
  summary: "Move biases so that mean outputs are those of the float model",
  from: "any",
  to: "any",
  exactness: "lossy",
  needs: ["statistics"],
  options: {},
  run: async (graph, scope) => {
    const { statistics } = scope;
    if (statistics === undefined) return fail("Q0309", `"correct-bias" needs a "calibrate" pass before it`);
    const corrections = await measureCorrections(graph, statistics, scope.selects, scope.onProgress);
    return sweep(graph, [biasRule(corrections)], { selects: scope.selects });
  },
});

type Contraction = Extract<Node, { readonly op: "conv" | "matmul" }>;

/** A contraction whose output's channel means are known in float, and which reads codes or holds its weights as codes. */
function isCorrectable(node: Node, graph: Graph, statistics: Statistics): node is Contraction {
  if (node.op !== "conv" && node.op !== "matmul") return false;
  const seen = statistics.values.get(node.outputs[0]);
  if (seen === undefined || node.attributes.result.kind !== "real") return false;
  return typeOf(graph, node.inputs[1]).encoding.kind === "quantized" && seen.channelAxis === channelAxis(node, graph);
}

function channelAxis(node: Contraction, graph: Graph): number {
  const rank = typeOf(graph, node.outputs[0]).shape.length;
  return node.op === "conv" && node.attributes.layout === "channelsFirst" ? 1 : rank - 1;
}

async function measureCorrections(
  graph: Graph,
  statistics: Statistics,
  selects: (node: Node) => boolean,
  onProgress: ((fraction: number) => void) | undefined,
): Promise<ReadonlyMap<ValueName, Float64Array>> {
  const corrections = new Map<ValueName, Float64Array>();
  const samples = statistics.together;
  const reference = await FloatReference.create(graph);
  let done = 0;
  try {
    reference.runTogether(samples, (node, value, read) => {
      onProgress?.(done++ / graph.nodes.length);
      if (!isCorrectable(node, graph, statistics) || !selects(node)) return undefined;
      const wanted = statistics.values.get(value)?.togetherMean;
      const tensors = read().filter((tensor) => isPlain(tensor, "f32"));
      if (wanted === undefined || tensors.length !== samples.length) return undefined;
      const axis = channelAxis(node, graph);
      const means = channelMeans(tensors, axis, wanted.length);
      const correction = wanted.map((mean, channel) => mean - means[channel]);
      corrections.set(value, correction);
      return tensors.map((tensor) => shifted(tensor, correction, axis));
    });
  } finally {
    reference.dispose();
  }
  return corrections;
}

function channelMeans(tensors: readonly PlainTensor<"f32">[], axis: number, channels: number): Float64Array {
  const sums = new Float64Array(channels);
  let count = 0;
  for (const tensor of tensors) {
    const inner = sizeOf(tensor.shape.slice(axis + 1));
    count += tensor.data.length / channels;
    for (let index = 0; index < tensor.data.length; index++) {
      sums[Math.floor(index / inner) % channels] += tensor.data[index];
    }
  }
  return sums.map((sum) => sum / count);
}

function shifted(tensor: PlainTensor<"f32">, by: Float64Array, axis: number): Tensor {
  const inner = sizeOf(tensor.shape.slice(axis + 1));
  const data = tensor.data.map((value, index) => value + by[Math.floor(index / inner) % by.length]);
  return plainTensor("f32", tensor.shape, data);
}

function biasRule(corrections: ReadonlyMap<ValueName, Float64Array>): Rule {
  return {
    name: "correct-bias",
    rewrite: (node, view) => {
      if (node.op !== "conv" && node.op !== "matmul") return undefined;
      const correction = corrections.get(node.outputs[0]);
      if (correction === undefined) return undefined;
      const given = node.attributes.hasBias ? view.constantOf(node.inputs[2]) : undefined;
      if (node.attributes.hasBias && (given === undefined || !isPlain(given, "f32"))) {
        return declined("the bias is not a constant");
      }
      const channels = node.attributes.hasBias ? view.typeOf(node.inputs[2]).shape[0] : correction.length;
      if (!isStatic(channels) || channels !== correction.length) return declined("the channels do not line up");
      const old = given !== undefined && isPlain(given, "f32") ? given.data : new Float32Array(channels);
      const patch = new PatchBuilder("correct-bias", view);
      patch.remove(node);
      const bias = patch.constant(floatTensor([channels], old.map((value, channel) => value + correction[channel])));
      const inputs = [node.inputs[0], node.inputs[1], bias];
      if (node.op === "conv") patch.addAs(node.outputs, "conv", inputs, { ...node.attributes, hasBias: true });
      else patch.addAs(node.outputs, "matmul", inputs, { ...node.attributes, hasBias: true });
      return patched(patch.finish());
    },
  };
}
