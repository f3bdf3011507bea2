import assert from "node:assert/strict";
import fc from "fast-check";
import { fuzzParameters, mutate, mutations } from "../../../tests/support/fuzz.ts";
import { encodeGguf, type GgufStoredTensor, type GgufValue } from "../../../tests/support/gguf.ts";
import { assertRuns } from "../../../tests/support/fuzz_run.ts";
import { namedWeights } from "../../../tests/support/named_weights.ts";
import { DiagnosticError } from "../../diagnostics.ts";
import { bytesSource } from "../files.ts";
import { readGgufHeader } from "./header.ts";
import { importGgufSource } from "./mod.ts";

function u32(value: number): GgufValue {
  return { type: "u32", value };
}

const metadata: Readonly<Record<string, GgufValue>> = {
  "general.architecture": { type: "string", value: "llama" },
  "llama.context_length": u32(32),
  "llama.embedding_length": u32(32),
  "llama.block_count": u32(1),
  "llama.feed_forward_length": u32(32),
  "llama.attention.head_count": u32(2),
  "llama.attention.head_count_kv": u32(1),
  "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 },
  "llama.rope.freq_base": { type: "f32", value: 10000 },
  "llama.rope.dimension_count": u32(16),
  "llama.rope.scaling.type": { type: "string", value: "linear" },
  "llama.rope.scaling.factor": { type: "f32", value: 2 },
  "tokenizer.ggml.model": { type: "string", value: "llama" },
  "tokenizer.ggml.tokens": { type: "strings", value: ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a"] },
  "tokenizer.ggml.token_type": { type: "i32s", value: [2, 3, 3, 1, 1, 1, 1, 1] },
  "tokenizer.ggml.bos_token_id": u32(1),
  "tokenizer.ggml.eos_token_id": u32(2),
  "tokenizer.ggml.add_bos_token": { type: "bool", value: true },
  "tokenizer.chat_template": { type: "string", value: "{{ messages }}" },
};

/** Block types by ggml's number, with the bytes of one row of 32. */
const rowBytes: Readonly<Record<number, number>> = { 2: 18, 3: 20, 6: 22, 8: 34 };

function quantized(name: string, type: number, rows: number): GgufStoredTensor {
  const noise = namedWeights(name, rows * rowBytes[type]);
  // Small bytes make small halves: the numbers stay finite, whatever they are.
  return { name, shape: [rows, 32], type, bytes: Uint8Array.from(noise, (value) => Math.floor((value + 0.5) * 60)) };
}

function floats(name: string, extent: number): GgufStoredTensor {
  return { name, shape: [extent], type: 0, bytes: new Uint8Array(namedWeights(name, extent).buffer) };
}

const intact = encodeGguf(metadata, [
  quantized("token_embd.weight", 8, 8),
  floats("blk.0.attn_norm.weight", 32),
  quantized("blk.0.attn_q.weight", 3, 32),
  quantized("blk.0.attn_k.weight", 2, 16),
  quantized("blk.0.attn_v.weight", 6, 16),
  quantized("blk.0.attn_output.weight", 3, 32),
  floats("blk.0.ffn_norm.weight", 32),
  quantized("blk.0.ffn_gate.weight", 2, 32),
  quantized("blk.0.ffn_up.weight", 2, 32),
  quantized("blk.0.ffn_down.weight", 3, 32),
  floats("output_norm.weight", 32),
]);

async function importOrDiagnose(file: Uint8Array): Promise<"imported" | "diagnosed"> {
  try {
    const outcome = await importGgufSource(bytesSource("tiny.gguf", file), { bind: {} });
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

Deno.test("importGguf imports the seed of the fuzz tests", async () => {
  assert.equal(await importOrDiagnose(intact), "imported");
});

Deno.test("importGguf meets mutated files with diagnostics", async () => {
  const seen = { imported: 0, diagnosed: 0 };
  const { tensors } = await readGgufHeader(bytesSource("tiny.gguf", intact));
  const headerBytes = Math.min(...[...tensors.values()].map(({ offset }) => offset));
  await fc.assert(
    fc.asyncProperty(mutations, async (changes) => {
      // The header is the part that lies; most of the file is weights, where any byte is as good as another.
      const header = mutate(intact.subarray(0, headerBytes), changes);
      const file = new Uint8Array(header.length + intact.length - headerBytes);
      file.set(header);
      file.set(intact.subarray(headerBytes), header.length);
      seen[await importOrDiagnose(file)]++;
    }),
    fuzzParameters("gguf header", 500),
  );
  assert.ok(seen.diagnosed > 0 && seen.imported > 0);
});

Deno.test("importGguf meets truncated files with diagnostics", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: intact.length - 1 }), async (length) => {
      assert.equal(await importOrDiagnose(intact.subarray(0, length)), "diagnosed");
    }),
    fuzzParameters("gguf truncated", 100),
  );
});
