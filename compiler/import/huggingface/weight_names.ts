/** Names that Hugging Face checkpoints give to the weights of a decoder. */

import type { LayerRole, WeightSlot } from "../transformer/description.ts";

const layerNames: Readonly<Record<LayerRole, string>> = {
  attentionNorm: "input_layernorm.weight",
  query: "self_attn.q_proj.weight",
  queryBias: "self_attn.q_proj.bias",
  queryNorm: "self_attn.q_norm.weight",
  key: "self_attn.k_proj.weight",
  keyBias: "self_attn.k_proj.bias",
  keyNorm: "self_attn.k_norm.weight",
  value: "self_attn.v_proj.weight",
  valueBias: "self_attn.v_proj.bias",
  output: "self_attn.o_proj.weight",
  outputBias: "self_attn.o_proj.bias",
  attentionPostNorm: "post_attention_layernorm.weight",
  mlpNorm: "post_attention_layernorm.weight",
  gate: "mlp.gate_proj.weight",
  gateBias: "mlp.gate_proj.bias",
  up: "mlp.up_proj.weight",
  upBias: "mlp.up_proj.bias",
  down: "mlp.down_proj.weight",
  downBias: "mlp.down_proj.bias",
  mlpPostNorm: "post_feedforward_layernorm.weight",
};

/**
 * The name of a slot's weight. With sandwich norms "post_attention_layernorm" is the norm after attention, and the one
 * before the MLP has a name of its own; without them the former name stands for the latter norm.
 */
export function weightName(slot: WeightSlot, prefix: string, sandwichNorms: boolean): string {
  switch (slot.role) {
    case "embedding":
      return `${prefix}embed_tokens.weight`;
    case "finalNorm":
      return `${prefix}norm.weight`;
    case "head":
      return "lm_head.weight";
    case "mlpNorm":
      return `${prefix}layers.${slot.layer}.${sandwichNorms ? "pre_feedforward_layernorm.weight" : layerNames.mlpNorm}`;
    default:
      return `${prefix}layers.${slot.layer}.${layerNames[slot.role]}`;
  }
}
