/** Names that GGUF files give to the weights of a decoder. */

import type { LayerRole, WeightSlot } from "../transformer/description.ts";

const layerNames: Readonly<Record<LayerRole, string>> = {
  attentionNorm: "attn_norm.weight",
  query: "attn_q.weight",
  queryBias: "attn_q.bias",
  queryNorm: "attn_q_norm.weight",
  key: "attn_k.weight",
  keyBias: "attn_k.bias",
  keyNorm: "attn_k_norm.weight",
  value: "attn_v.weight",
  valueBias: "attn_v.bias",
  output: "attn_output.weight",
  outputBias: "attn_output.bias",
  attentionPostNorm: "post_attention_norm.weight",
  mlpNorm: "ffn_norm.weight",
  gate: "ffn_gate.weight",
  gateBias: "ffn_gate.bias",
  up: "ffn_up.weight",
  upBias: "ffn_up.bias",
  down: "ffn_down.weight",
  downBias: "ffn_down.bias",
  mlpPostNorm: "post_ffw_norm.weight",
};

export function ggufWeightName(slot: WeightSlot): string {
  switch (slot.role) {
    case "embedding":
      return "token_embd.weight";
    case "finalNorm":
      return "output_norm.weight";
    case "head":
      return "output.weight";
    default:
      return `blk.${slot.layer}.${layerNames[slot.role]}`;
  }
}
