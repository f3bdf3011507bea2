import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { maxAbsDifference } from "../../../tests/support/compare.ts";
import { feed, freshStates } from "../../../tests/support/decoder.ts";
import { encodeGguf, type GgufStoredTensor, type GgufValue } from "../../../tests/support/gguf.ts";
import { namedWeights } from "../../../tests/support/named_weights.ts";
import { bytesSource } from "../files.ts";
import { readConfig } from "../huggingface/config.ts";
import { weightName } from "../huggingface/weight_names.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { type DecoderDescription, weightSlots } from "../transformer/description.ts";
import { importGgufSource } from "./mod.ts";
import { ggufWeightName } from "./weight_names.ts";

const expected = JSON.parse(
  readFileSync(join(import.meta.dirname ?? ".", "..", "huggingface", "testdata", "expected.json"), "utf8"),
);

/** llama.cpp's converter: rows (head, half, j) become (head, j, half). */
function toPairs(data: Float32Array<ArrayBuffer>, rows: number, headExtent: number): Float32Array<ArrayBuffer> {
  const width = data.length / rows;
  const half = headExtent / 2;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const within = row % headExtent;
    const to = row - within + 2 * (within % half) + Math.floor(within / half);
    out.set(data.subarray(row * width, (row + 1) * width), to * width);
  }
  return out;
}

function tensorsOf(description: DecoderDescription, interleaved: boolean): readonly GgufStoredTensor[] {
  return weightSlots(description).map((slot) => {
    const source = weightName(slot, "model.", description.sandwichNorms);
    // Norm weights of every family are stored with the 1 of Gemma's offset added.
    const offset = source.includes("norm") ? 1 : 0;
    const data = namedWeights(source, sizeOf(slot.shape)).map((value) => value + offset);
    const rotated = interleaved && /^(query|key)(Bias)?$/.test(slot.role);
    const stored = rotated ? toPairs(data, slot.shape[0], description.headExtent) : data;
    return { name: ggufWeightName(slot), shape: slot.shape, type: 0, bytes: new Uint8Array(stored.buffer) };
  });
}

function u32(value: number): GgufValue {
  return { type: "u32", value };
}

function f32(value: number): GgufValue {
  return { type: "f32", value };
}

function metadataOf(
  architecture: string,
  description: DecoderDescription,
  more: Readonly<Record<string, GgufValue>>,
): Readonly<Record<string, GgufValue>> {
  const keys: Readonly<Record<string, GgufValue>> = {
    context_length: u32(description.maximumPositions),
    embedding_length: u32(description.hidden),
    block_count: u32(description.layers.length),
    feed_forward_length: u32(description.intermediate),
    "attention.head_count": u32(description.heads),
    "attention.head_count_kv": u32(description.keyValueHeads),
    "attention.key_length": u32(description.headExtent),
    "attention.value_length": u32(description.headExtent),
    "attention.layer_norm_rms_epsilon": f32(description.normEpsilon),
    "rope.dimension_count": u32(description.headExtent),
    ...more,
  };
  return {
    "general.architecture": { type: "string", value: architecture },
    ...Object.fromEntries(Object.entries(keys).map(([key, value]) => [`${architecture}.${key}`, value])),
  };
}

const cases: readonly {
  readonly name: string;
  readonly architecture: string;
  readonly more: Readonly<Record<string, GgufValue>>;
}[] = [
  { name: "llama", architecture: "llama", more: { "rope.freq_base": f32(500) } },
  {
    name: "llama-linear",
    architecture: "llama",
    more: { "rope.scaling.type": { type: "string", value: "linear" }, "rope.scaling.factor": f32(2.5) },
  },
  {
    name: "llama-yarn",
    architecture: "llama",
    more: {
      "rope.freq_base": f32(300),
      "rope.scaling.type": { type: "string", value: "yarn" },
      "rope.scaling.factor": f32(4),
      "rope.scaling.original_context_length": u32(16),
      "rope.scaling.yarn_beta_fast": f32(4),
    },
  },
  { name: "qwen3", architecture: "qwen3", more: {} },
  { name: "gemma", architecture: "gemma", more: {} },
];

/** As for the Hugging Face import of the same models. */
const logitBound = 48 * 60 * 4 * 2 ** -24;

for (const { name, architecture, more } of cases) {
  Deno.test(`importGguf agrees with the reference implementation: ${name}`, async () => {
    const { config, logits } = expected.cases[name];
    const { description } = readConfig(config, "config.json");
    const file = encodeGguf(
      metadataOf(architecture, description, more),
      tensorsOf(description, architecture === "llama"),
    );
    const outcome = await importGgufSource(bytesSource("tiny.gguf", file), { bind: {}, logits: "all" });
    assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
    assert.deepEqual(outcome.diagnostics.map((entry) => entry.code), ["Q0447"]);
    const { graph } = outcome.value;
    const actual = feed(graph, expected.ids, freshStates(graph)).data;
    expected.rows.forEach((row: number, index: number) => {
      const difference = maxAbsDifference(logits[index], actual.subarray(row * 32, (row + 1) * 32));
      assert.ok(difference < logitBound, `row ${row} differs by ${difference}`);
    });
  });
}
