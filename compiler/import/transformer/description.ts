/** A frozen description of a Llama-family decoder: everything that tells one member of the family from another. */

import type { Tensor } from "../../ir/tensor.ts";
import type { RopeDescription } from "./rope_table.ts";

/** Gate of the gated MLP: `geluTanh` is the tanh approximation, `gelu` the exact one by erf. */
export type Activation = "silu" | "gelu" | "geluTanh" | "relu";

/** What differs between layers. */
export interface LayerDescription {
  /** Absent: no rotary position embedding in this layer (SmolLM3). */
  readonly rope?: RopeDescription;
  /** Keys that a row sees, itself included; 0 means all. */
  readonly window: number;
}

export interface DecoderDescription {
  readonly name: string;
  readonly vocabulary: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headExtent: number;
  readonly layers: readonly LayerDescription[];
  readonly normEpsilon: number;
  /** Added to every norm weight to make its gain: 1 for Gemma, which stores gain - 1. */
  readonly gainOffset: 0 | 1;
  /** Norms after attention and MLP too, before the residual additions (Gemma2). */
  readonly sandwichNorms: boolean;
  readonly activation: Activation;
  /** Multiplies q·k. */
  readonly attentionScale: number;
  /** 0 means none. */
  readonly attentionSoftcap: number;
  /** 0 means none. */
  readonly logitSoftcap: number;
  /** Multiplies the embedded tokens; 1 means none. */
  readonly embeddingScale: number;
  /** Positions that the model was trained for. */
  readonly maximumPositions: number;
  readonly biases: { readonly queryKeyValue: boolean; readonly output: boolean; readonly mlp: boolean };
  /** RMSNorm of every query and key head before the rotation (Qwen3). */
  readonly queryKeyNorms: boolean;
  readonly tiedHead: boolean;
}

/** Weights of one layer by role. Linears are [out, in]. */
export const layerRoles = [
  "attentionNorm",
  "query",
  "queryBias",
  "queryNorm",
  "key",
  "keyBias",
  "keyNorm",
  "value",
  "valueBias",
  "output",
  "outputBias",
  "attentionPostNorm",
  "mlpNorm",
  "gate",
  "gateBias",
  "up",
  "upBias",
  "down",
  "downBias",
  "mlpPostNorm",
] as const;
export type LayerRole = (typeof layerRoles)[number];

export type ModelRole = "embedding" | "finalNorm" | "head";

/** One weight: its role, its layer (absent for the model's own) and the shape that the description implies. */
export interface WeightSlot {
  readonly role: LayerRole | ModelRole;
  readonly layer?: number;
  readonly shape: readonly number[];
}

/** A weight with the name that its file gives it. */
export interface Weight {
  readonly tensor: Tensor;
  readonly origin: string;
}

/** Finds the weight of a slot. Throws a DiagnosticError where it is missing or misshapen. */
export type WeightLookup = (slot: WeightSlot) => Weight;

/** Every weight that a decoder of this description has, in the order of use. */
export function weightSlots(description: DecoderDescription): readonly WeightSlot[] {
  const { hidden, vocabulary } = description;
  const perLayer = layerSlots(description);
  return [
    { role: "embedding", shape: [vocabulary, hidden] },
    ...description.layers.flatMap((_, layer) => perLayer.map((slot): WeightSlot => ({ ...slot, layer }))),
    { role: "finalNorm", shape: [hidden] },
    ...(description.tiedHead ? [] : [{ role: "head", shape: [vocabulary, hidden] } as const]),
  ];
}

function layerSlots(description: DecoderDescription): readonly WeightSlot[] {
  const { hidden, intermediate, heads, keyValueHeads, headExtent, biases } = description;
  const queries = heads * headExtent;
  const keys = keyValueHeads * headExtent;
  const when = (present: boolean, role: LayerRole, extent: number): WeightSlot[] =>
    present ? [{ role, shape: [extent] }] : [];
  return [
    { role: "attentionNorm", shape: [hidden] },
    { role: "query", shape: [queries, hidden] },
    ...when(biases.queryKeyValue, "queryBias", queries),
    ...when(description.queryKeyNorms, "queryNorm", headExtent),
    { role: "key", shape: [keys, hidden] },
    ...when(biases.queryKeyValue, "keyBias", keys),
    ...when(description.queryKeyNorms, "keyNorm", headExtent),
    { role: "value", shape: [keys, hidden] },
    ...when(biases.queryKeyValue, "valueBias", keys),
    { role: "output", shape: [hidden, queries] },
    ...when(biases.output, "outputBias", hidden),
    ...when(description.sandwichNorms, "attentionPostNorm", hidden),
    { role: "mlpNorm", shape: [hidden] },
    { role: "gate", shape: [intermediate, hidden] },
    ...when(biases.mlp, "gateBias", intermediate),
    { role: "up", shape: [intermediate, hidden] },
    ...when(biases.mlp, "upBias", intermediate),
    { role: "down", shape: [hidden, intermediate] },
    ...when(biases.mlp, "downBias", hidden),
    ...when(description.sandwichNorms, "mlpPostNorm", hidden),
  ];
}
