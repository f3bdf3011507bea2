/** Small random decoders of the Llama family, for properties of transforms. */

import { buildDecoder } from "../../compiler/import/transformer/decoder.ts";
import type { DecoderDescription } from "../../compiler/import/transformer/description.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { WeightEditor } from "../../passes/transform/weight_editor.ts";
import { floatTensor, type PlainTensor, plainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { normalArray, uniform } from "./random.ts";

const base: DecoderDescription = {
  name: "small",
  vocabulary: 24,
  hidden: 16,
  intermediate: 24,
  heads: 4,
  keyValueHeads: 2,
  headExtent: 4,
  layers: [
    { rope: { extent: 4, base: 10000, scaling: { kind: "none" } }, window: 0 },
    { rope: { extent: 4, base: 10000, scaling: { kind: "none" } }, window: 0 },
  ],
  normEpsilon: 1e-5,
  gainOffset: 0,
  sandwichNorms: false,
  activation: "silu",
  attentionScale: 0.5,
  attentionSoftcap: 0,
  logitSoftcap: 0,
  embeddingScale: 1,
  maximumPositions: 32,
  biases: { queryKeyValue: false, output: false, mlp: false },
  queryKeyNorms: false,
  tiedHead: true,
};

/** The members of the family that transforms must tell apart. */
export const decoderVariants: Readonly<Record<string, Partial<DecoderDescription>>> = {
  "llama, tied head": {},
  "llama, own head": { tiedHead: false },
  "qwen2, biases": { biases: { queryKeyValue: true, output: true, mlp: true } },
  "qwen3, q and k norms": { queryKeyNorms: true },
  "gemma, offset gains and embedding scale": { gainOffset: 1, embeddingScale: 4, activation: "geluTanh" },
  "gemma2, sandwich norms": { gainOffset: 1, sandwichNorms: true, attentionSoftcap: 20, logitSoftcap: 15 },
};

/** The same decoder with layer norms in place of RMS norms, each with a bias. */
export function withLayerNorms(graph: Graph, seed: number): Graph {
  const editor = new WeightEditor(graph);
  let next = seed;
  for (const node of graph.nodes) {
    if (node.op !== "norm") continue;
    editor.addBias(node, Float64Array.from(normalArray(base.hidden, next++), (value) => 0.2 * value));
    editor.override(node, { ...node, attributes: { ...node.attributes, kind: "layer" } });
  }
  return editor.finish();
}

export const decoderTokens = 7;

/** A decoder with random weights; norm gains lie around 1. All logits are kept. */
export function randomDecoder(variant: Partial<DecoderDescription>, seed: number): Graph {
  const description = { ...base, ...variant };
  let next = seed * 1000;
  return buildDecoder(
    description,
    { context: 32, sequence: { min: 1, max: 16 }, logits: "all", idElement: "i32" },
    (slot) => {
      next++;
      const isGain = slot.role.endsWith("Norm");
      const gain = isGain ? 0.3 : 1 / Math.sqrt(slot.shape[slot.shape.length - 1]);
      const shift = isGain && description.gainOffset === 0 ? 1 : 0;
      const values = normalArray(sizeOf(slot.shape), next).map((value) => gain * value + shift);
      return { tensor: floatTensor(slot.shape, values), origin: `${slot.role}.${slot.layer ?? ""}` };
    },
  );
}

/** A fixed random text, as the decoder's input. */
export function decoderText(seed = 1): { readonly ids: PlainTensor<"i32"> } {
  const random = uniform(seed);
  const ids = Int32Array.from({ length: decoderTokens }, () => Math.floor(random() * base.vocabulary));
  return { ids: plainTensor("i32", [1, decoderTokens], ids) };
}

/** Logits of a fixed random text. */
export function decoderLogits(graph: Graph, seed = 1): Float32Array {
  const { logits } = evaluateGraph(graph, decoderText(seed)).outputs;
  if (logits.kind !== "plain" || !(logits.data instanceof Float32Array)) throw new Error("The logits are not float32");
  return logits.data;
}
