import assert from "node:assert/strict";
import fc from "fast-check";
import { fuzzParameters, mutate, mutations } from "../../../tests/support/fuzz.ts";
import { jsonMutations, mutateJson } from "../../../tests/support/fuzz_json.ts";
import { assertRuns } from "../../../tests/support/fuzz_run.ts";
import { namedWeights } from "../../../tests/support/named_weights.ts";
import { encodeSafetensors } from "../../../tests/support/safetensors.ts";
import { DiagnosticError } from "../../diagnostics.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { memoryFolder } from "../files.ts";
import { weightSlots } from "../transformer/description.ts";
import { readConfig } from "./config.ts";
import { importHuggingFaceFolder } from "./mod.ts";
import { weightName } from "./weight_names.ts";

const config = {
  architectures: ["Qwen3ForCausalLM"],
  model_type: "qwen3",
  vocab_size: 12,
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  rope_scaling: { rope_type: "yarn", factor: 2, original_max_position_embeddings: 16 },
  use_sliding_window: true,
  sliding_window: 8,
  max_window_layers: 1,
  layer_types: ["full_attention", "sliding_attention"],
  tie_word_embeddings: false,
  eos_token_id: [1, 2],
};

function weights(): Uint8Array<ArrayBuffer> {
  const { description } = readConfig(config, "config.json");
  return encodeSafetensors(
    weightSlots(description).map((slot) => {
      const name = weightName(slot, "model.", false);
      return { name, dtype: "F32", shape: slot.shape, data: namedWeights(name, sizeOf(slot.shape)) };
    }),
  );
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Imports, and holds whatever comes out to its promise: diagnostics, or a graph without faults. */
function importOrDiagnose(files: Readonly<Record<string, Uint8Array>>): "imported" | "diagnosed" {
  try {
    const outcome = importHuggingFaceFolder(memoryFolder("model", files), { bind: {} });
    assert.ok(outcome.ok);
    assertRuns(outcome.value.graph);
    return "imported";
  } catch (error) {
    if (!(error instanceof DiagnosticError)) throw error;
    assert.ok(error.diagnostics.length > 0);
    for (const { code, message } of error.diagnostics) assert.ok(/^Q\d{4}$/.test(code) && message.length > 0);
    return "diagnosed";
  }
}

const intact = weights();

Deno.test("importHuggingFace imports the seed of the fuzz tests", () => {
  assert.equal(importOrDiagnose({ "config.json": encode(config), "model.safetensors": intact }), "imported");
});

Deno.test("importHuggingFace meets mutated safetensors files with diagnostics", () => {
  const seen = { imported: 0, diagnosed: 0 };
  fc.assert(
    fc.property(mutations, (changes) => {
      seen[importOrDiagnose({ "config.json": encode(config), "model.safetensors": mutate(intact, changes) })]++;
    }),
    fuzzParameters("safetensors bytes", 1000),
  );
  assert.ok(seen.diagnosed > 0);
});

Deno.test("importHuggingFace meets mutated safetensors headers with diagnostics", () => {
  const headerLength = Number(new DataView(intact.buffer).getBigUint64(0, true));
  const header: unknown = JSON.parse(new TextDecoder().decode(intact.subarray(8, 8 + headerLength)));
  const data = intact.subarray(8 + headerLength);
  fc.assert(
    fc.property(jsonMutations, (changes) => {
      const json = encode(mutateJson(header, changes));
      const file = new Uint8Array(8 + json.length + data.length);
      new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
      file.set(json, 8);
      file.set(data, 8 + json.length);
      importOrDiagnose({ "config.json": encode(config), "model.safetensors": file });
    }),
    fuzzParameters("safetensors header", 1000),
  );
});

Deno.test("importHuggingFace meets mutated configurations with diagnostics", () => {
  fc.assert(
    fc.property(jsonMutations, (changes) => {
      importOrDiagnose({ "config.json": encode(mutateJson(config, changes)), "model.safetensors": intact });
    }),
    fuzzParameters("config.json", 1000),
  );
});

Deno.test("importHuggingFace meets mutated shard indices with diagnostics", () => {
  const headerLength = Number(new DataView(intact.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(intact.subarray(8, 8 + headerLength)));
  const file = "model-00001-of-00001.safetensors";
  const index = {
    metadata: { total_size: 1 },
    weight_map: Object.fromEntries(Object.keys(header).map((name) => [name, file])),
  };
  const fixed = { "config.json": encode(config), [file]: intact };
  assert.equal(importOrDiagnose({ ...fixed, "model.safetensors.index.json": encode(index) }), "imported");
  fc.assert(
    fc.property(jsonMutations, (changes) => {
      importOrDiagnose({ ...fixed, "model.safetensors.index.json": encode(mutateJson(index, changes)) });
    }),
    fuzzParameters("safetensors index", 500),
  );
});
