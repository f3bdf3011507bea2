import assert from "node:assert/strict";
import { encodeSafetensors, type StoredTensor } from "../../../tests/support/safetensors.ts";
import { collect, type Diagnostic } from "../../diagnostics.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { memoryFolder } from "../files.ts";
import type { ImportOptions } from "../model.ts";
import { weightSlots } from "../transformer/description.ts";
import { readConfig } from "./config.ts";
import { importHuggingFaceFolder } from "./mod.ts";
import { weightName } from "./weight_names.ts";

const config = {
  architectures: ["LlamaForCausalLM"],
  vocab_size: 8,
  hidden_size: 8,
  intermediate_size: 4,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 16,
};

function tensors(): readonly StoredTensor[] {
  const { description } = readConfig(config, "config.json");
  return weightSlots(description).map((slot) => ({
    name: weightName(slot, "model.", false),
    dtype: "F32",
    shape: slot.shape,
    data: new Float32Array(sizeOf(slot.shape)),
  }));
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

interface Files {
  readonly config?: unknown;
  readonly tensors?: readonly StoredTensor[];
  readonly more?: Readonly<Record<string, Uint8Array>>;
}

function importFiles(files: Files, options: ImportOptions = { bind: {} }) {
  const folder = memoryFolder("model", {
    "config.json": encode(files.config ?? config),
    "model.safetensors": encodeSafetensors(files.tensors ?? tensors()),
    ...files.more,
  });
  const outcome = collect(() => importHuggingFaceFolder(folder, options));
  return outcome.ok ? outcome.value : outcome;
}

function codes(diagnostics: readonly Diagnostic[]): readonly (readonly [string, string | undefined])[] {
  return diagnostics.map(({ code, node }) => [code, node]);
}

Deno.test("importHuggingFace names an unknown architecture and the nearest known one", () => {
  const { ok, diagnostics } = importFiles({ config: { ...config, architectures: ["LlamaForCausalLm2"] } });
  assert.equal(ok, false);
  assert.equal(diagnostics[0].code, "Q0430");
  assert.equal(diagnostics[0].help, 'Did you mean "LlamaForCausalLM"?');
});

Deno.test("importHuggingFace lists every fault of a configuration at once", () => {
  const { ok, diagnostics } = importFiles({
    config: {
      ...config,
      hidden_size: "wide",
      hidden_act: "quick_gelu",
      rope_scaling: { rope_type: "longrope", factor: 2 },
      num_key_value_heads: 3,
      quantization_config: { quant_method: "gptq" },
    },
  });
  assert.equal(ok, false);
  const nodes = diagnostics.map(({ node }) => node?.replace("config.json: ", ""));
  for (
    const node of ["hidden_size", "hidden_act", "rope_scaling: rope_type", "num_key_value_heads", "quantization_config"]
  ) {
    assert.ok(nodes.includes(node), `${node} of ${nodes}`);
  }
});

Deno.test("importHuggingFace warns of keys that it does not know, unless they are switched off", () => {
  const { ok, diagnostics } = importFiles({
    config: { ...config, residual_multiplier: 0.5, another: null, use_cache: true },
  });
  assert.equal(ok, true);
  assert.deepEqual(codes(diagnostics), [["Q0433", "config.json: residual_multiplier"]]);
});

Deno.test("importHuggingFace lists missing, misshapen and leftover weights at once", () => {
  const [embedding, norm, ...rest] = tensors();
  const wrong = [
    embedding,
    { ...norm, shape: [2, 4] },
    ...rest.filter(({ name }) => !name.endsWith("down_proj.weight")),
    { ...norm, name: "model.layers.0.self_attn.q_proj.bias" },
    { ...norm, name: "model.layers.7.input_layernorm.weight" },
  ];
  const { ok, diagnostics } = importFiles({ tensors: wrong });
  assert.equal(ok, false);
  assert.deepEqual(
    codes(diagnostics),
    [
      ["Q0434", "model.layers.0.input_layernorm.weight"],
      ["Q0434", "model.layers.0.mlp.down_proj.weight"],
      ["Q0435", "model.layers.0.self_attn.q_proj.bias"],
    ],
  );
});

Deno.test("importHuggingFace refuses weights of integer types", () => {
  const [embedding, ...rest] = tensors();
  const integers = { ...embedding, dtype: "I8", data: new Int8Array(64) };
  const { ok, diagnostics } = importFiles({ tensors: [integers, ...rest] });
  assert.equal(ok, false);
  assert.deepEqual(codes(diagnostics), [["Q0421", "model.embed_tokens.weight"]]);
});

Deno.test("importHuggingFace says which bindings it takes and within what", () => {
  const faults = importFiles({}, { bind: { sequence: 4, batch: 2, seq: { min: 1, max: 64 }, total: 32 } });
  assert.equal(faults.ok, false);
  assert.deepEqual(codes(faults.diagnostics), [["Q0410", "sequence"], ["Q0410", "batch"], ["Q0410", "seq"]]);
  const longer = importFiles({}, { bind: { seq: 2, total: 32 } });
  assert.ok(longer.ok);
  assert.deepEqual(codes(longer.diagnostics), [["Q0411", "total"]]);
  const { graph } = longer.value;
  assert.deepEqual(graph.symbols, { seq: { min: 2, max: 2 }, past: { min: 0, max: 30 }, total: { min: 2, max: 32 } });
});

Deno.test("importHuggingFace reads shards and refuses an index that lies", () => {
  const all = tensors();
  const halves = [all.slice(0, 5), all.slice(5)];
  const names = ["a.safetensors", "b.safetensors"];
  const map = Object.fromEntries(halves.flatMap((half, index) => half.map(({ name }) => [name, names[index]])));
  const files = (weightMap: unknown) =>
    memoryFolder("model", {
      "config.json": encode(config),
      "model.safetensors.index.json": encode({ weight_map: weightMap }),
      "a.safetensors": encodeSafetensors(halves[0]),
      "b.safetensors": encodeSafetensors(halves[1]),
    });
  assert.ok(importHuggingFaceFolder(files(map), { bind: {} }).ok);
  const fault = (weightMap: unknown) => {
    const outcome = collect(() => importHuggingFaceFolder(files(weightMap), { bind: {} }));
    assert.ok(!outcome.ok);
    return outcome.diagnostics[0].message;
  };
  const [first] = Object.keys(map);
  assert.match(fault({ ...map, [first]: "b.safetensors" }), /which does not hold it/);
  assert.match(fault({ ...map, [first]: "../a.safetensors" }), /wants a file name of the same folder/);
  assert.match(fault({ ...map, [first]: "c.safetensors" }), /there is no such file/);
});

/** A file with this header text and so many bytes of data. */
function fileWith(header: string, data: number, declared?: bigint): Uint8Array {
  const text = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + text.length + data);
  new DataView(file.buffer).setBigUint64(0, declared ?? BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

const lies: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
  "an empty file": [new Uint8Array(0), /wants 8 for the header length/],
  "a header longer than the file": [fileWith("{}", 0, 1000n), /the file has 10 in all/],
  "a header beyond the limit": [fileWith("{}", 0, 2n ** 63n), /more than the limit/],
  "text that is no JSON": [fileWith("{", 0), /not valid JSON/],
  "an unknown dtype": [fileWith('{"x":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}', 4), /"F7", which is unknown/],
  "offsets past the end": [
    fileWith('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 3),
    /leave the data section/,
  ],
  "offsets that run backwards": [
    fileWith('{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', 4),
    /leave the data/,
  ],
  "a size that does not fit the shape": [
    fileWith('{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}', 4),
    /takes 12 bytes, data_offsets span 4/,
  ],
  "a shape that overflows": [
    fileWith('{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', 4),
    /data_offsets span 4/,
  ],
  "overlapping tensors": [
    fileWith(
      '{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
      6,
    ),
    /overlaps the tensor before it/,
  ],
  "a hole between tensors": [
    fileWith('{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', 8),
    /a hole of 4 bytes/,
  ],
  "bytes after the last tensor": [
    fileWith('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 9),
    /5 bytes after/,
  ],
};

for (const [what, [file, message]] of Object.entries(lies)) {
  Deno.test(`importHuggingFace refuses safetensors with ${what}`, () => {
    const folder = memoryFolder("model", { "config.json": encode(config), "model.safetensors": file });
    const outcome = collect(() => importHuggingFaceFolder(folder, { bind: {} }));
    assert.ok(!outcome.ok);
    assert.match(outcome.diagnostics[0].message, message);
  });
}

Deno.test("importHuggingFace widens BF16 and F16 and takes tokenizer files along", () => {
  const halves = tensors().map((tensor): StoredTensor => {
    const isNorm = tensor.shape.length === 1;
    const size = sizeOf(tensor.shape);
    return isNorm
      ? { ...tensor, dtype: "BF16", data: new Uint16Array(size).fill(0x3fc0) }
      : { ...tensor, dtype: "F16", data: new Float16Array(size).fill(0.25) };
  });
  const tokenizer = encode({ model: {} });
  const outcome = importFiles({
    tensors: halves,
    more: { "tokenizer.json": tokenizer, "generation_config.json": encode({ eos_token_id: [3, 4], bos_token_id: 1 }) },
  });
  assert.ok(outcome.ok);
  const { graph, assets, metadata } = outcome.value;
  assert.deepEqual([...assets["tokenizer.json"]], [...tokenizer]);
  assert.deepEqual(metadata.eosTokenIds, [3, 4]);
  const values = graph.nodes.flatMap((node) => {
    const tensor = node.op === "constant" ? graph.constants.get(node.attributes.hash) : undefined;
    return tensor?.kind === "plain" && !node.outputs[0].startsWith("rope") ? [Number(tensor.data[0])] : [];
  });
  assert.deepEqual([...new Set(values)].sort(), [-1, 0.25, 1.5]);
});
