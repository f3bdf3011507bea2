"""Writes expected.json: logits of tiny decoders of every architecture, by the transformers library in float64.

Needs torch and transformers. Weights are not stored: both sides make them from the weights' names (see `weight`).
"""

import json
import sys

import torch
import transformers

IDS = [(7 * i * i + 3 * i + 1) % 32 for i in range(24)]
ROWS = [0, 11, 23]
MASK = 0xFFFFFFFF


def weight(name, count):
    """Numbers in [-0.5, 0.5) with 24 bits: mulberry32 seeded by the FNV-1a hash of the name."""
    state = 0x811C9DC5
    for byte in name.encode():
        state = ((state ^ byte) * 0x01000193) & MASK
    values = []
    for _ in range(count):
        state = (state + 0x6D2B79F5) & MASK
        t = ((state ^ (state >> 15)) * (1 | state)) & MASK
        t = (t ^ (t + (((t ^ (t >> 7)) * (61 | t)) & MASK))) & MASK
        values.append(((t ^ (t >> 14)) >> 8) / 2**24 - 0.5)
    return values


BASE = dict(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
LLAMA3 = dict(
    rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)
CASES = {
    "llama": ("LlamaForCausalLM", dict(attention_bias=True, mlp_bias=True, rope_theta=500.0)),
    "llama-tied-llama3": (
        "LlamaForCausalLM",
        dict(tie_word_embeddings=True, head_dim=8, rope_theta=100.0, rope_scaling=LLAMA3),
    ),
    "llama-linear": ("LlamaForCausalLM", dict(rope_scaling=dict(type="linear", factor=2.5))),
    "llama-dynamic": (
        "LlamaForCausalLM",
        dict(max_position_embeddings=16, head_dim=8, rope_scaling=dict(rope_type="dynamic", factor=2.0)),
    ),
    "llama-yarn": (
        "LlamaForCausalLM",
        dict(
            head_dim=12,
            rope_theta=300.0,
            rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0),
        ),
    ),
    "llama-yarn-mscale": (
        "LlamaForCausalLM",
        dict(
            head_dim=12,
            rope_scaling=dict(
                rope_type="yarn",
                factor=4.0,
                original_max_position_embeddings=16,
                beta_fast=8.0,
                beta_slow=0.5,
                mscale=1.3,
                mscale_all_dim=0.7,
                truncate=False,
            ),
        ),
    ),
    "mistral": ("MistralForCausalLM", dict(sliding_window=7, head_dim=6)),
    "qwen2": ("Qwen2ForCausalLM", dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    "qwen3": ("Qwen3ForCausalLM", dict(head_dim=8, tie_word_embeddings=True)),
    "smollm3": (
        "SmolLM3ForCausalLM",
        dict(no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=4, hidden_act="silu"),
    ),
    "gemma": ("GemmaForCausalLM", dict(head_dim=6, hidden_act="gelu")),
    "gemma2": (
        "Gemma2ForCausalLM",
        dict(
            head_dim=6,
            query_pre_attn_scalar=24,
            sliding_window=6,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=3.0,
        ),
    ),
}


def logits(architecture, options):
    model_class = getattr(transformers, architecture)
    config = model_class.config_class(**{**BASE, **options})
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = model_class(config).double().eval()
    tied = config.tie_word_embeddings
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if tied and name == "lm_head.weight":
                continue
            values = torch.tensor(weight(name, parameter.numel()), dtype=torch.float64).reshape(parameter.shape)
            is_norm = "norm" in name
            offset = 1.0 if is_norm and not architecture.startswith("Gemma") else 0.0
            parameter.copy_(values + offset)
        output = model(torch.tensor([IDS])).logits[0]
    # config.json as the library writes it, in its present form; the old form is what `options` says.
    written = json.loads(config.to_json_string())
    return written, [output[row].tolist() for row in ROWS]


def main():
    cases = {}
    for name, (architecture, options) in CASES.items():
        written, rows = logits(architecture, options)
        given = {"architectures": [architecture], **BASE, **options}
        cases[name] = {"config": given, "written": {**written, "architectures": [architecture]}, "logits": rows}
    made_with = f"transformers {transformers.__version__}, float64, weights by make_expected.py"
    json.dump({"made_with": made_with, "ids": IDS, "rows": ROWS, "cases": cases}, sys.stdout, indent=1)


main()
