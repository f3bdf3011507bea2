import assert from "node:assert/strict";
import { encodeGguf, type GgufStoredTensor, type GgufValue } from "../../../tests/support/gguf.ts";
import { type Diagnostic, DiagnosticError } from "../../diagnostics.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { bytesSource } from "../files.ts";
import { importGgufSource } from "./mod.ts";

function u32(value: number): GgufValue {
  return { type: "u32", value };
}

const metadata: Readonly<Record<string, GgufValue>> = {
  "general.architecture": { type: "string", value: "llama" },
  "llama.context_length": u32(16),
  "llama.embedding_length": u32(8),
  "llama.block_count": u32(1),
  "llama.feed_forward_length": u32(4),
  "llama.attention.head_count": u32(2),
  "llama.attention.layer_norm_rms_epsilon": { type: "f32", value: 1e-5 },
};

const shapes: Readonly<Record<string, readonly number[]>> = {
  "token_embd.weight": [8, 8],
  "blk.0.attn_norm.weight": [8],
  "blk.0.attn_q.weight": [8, 8],
  "blk.0.attn_k.weight": [8, 8],
  "blk.0.attn_v.weight": [8, 8],
  "blk.0.attn_output.weight": [8, 8],
  "blk.0.ffn_norm.weight": [8],
  "blk.0.ffn_gate.weight": [4, 8],
  "blk.0.ffn_up.weight": [4, 8],
  "blk.0.ffn_down.weight": [8, 4],
  "output_norm.weight": [8],
};

function tensorsOf(all: Readonly<Record<string, readonly number[]>>, type = 0): readonly GgufStoredTensor[] {
  return Object.entries(all).map(([name, shape]) => ({ name, shape, type, bytes: new Uint8Array(4 * sizeOf(shape)) }));
}

async function faults(file: Uint8Array): Promise<readonly Diagnostic[]> {
  try {
    return (await importGgufSource(bytesSource("model.gguf", file), { bind: {} })).diagnostics;
  } catch (error) {
    if (error instanceof DiagnosticError) return error.diagnostics;
    throw error;
  }
}

async function codes(file: Uint8Array): Promise<readonly (readonly [string, string | undefined])[]> {
  return (await faults(file)).map(({ code, node }) => [code, node]);
}

Deno.test("importGguf imports a file without tokenizer and says so", async () => {
  assert.deepEqual(await codes(encodeGguf(metadata, tensorsOf(shapes))), [["Q0447", "tokenizer.ggml"]]);
});

Deno.test("importGguf lists every tensor of a block type that it does not read", async () => {
  const normal = tensorsOf(shapes);
  // 12 is Q4_K; 99 is no type of ggml's.
  const strange = normal.map((
    tensor,
    index,
  ) => (index === 2 ? { ...tensor, type: 12 } : index === 3 ? { ...tensor, type: 99 } : tensor));
  const diagnostics = await faults(encodeGguf(metadata, strange));
  assert.deepEqual(diagnostics.map(({ code, message }) => [code, message]), [
    ["Q0445", 'Tensor "blk.0.attn_q.weight" is Q4_K, which is not supported'],
    ["Q0445", 'Tensor "blk.0.attn_k.weight" is type 99, which is not supported'],
  ]);
});

Deno.test("importGguf lists missing, misshapen and leftover tensors at once", async () => {
  const { "blk.0.ffn_up.weight": _up, ...rest } = shapes;
  const changed = { ...rest, "blk.0.attn_k.weight": [4, 8], "blk.0.ffn_gate_exps.weight": [2, 4, 8] };
  assert.deepEqual(await codes(encodeGguf(metadata, tensorsOf(changed))), [
    ["Q0444", "blk.0.attn_k.weight"],
    ["Q0444", "blk.0.ffn_up.weight"],
    ["Q0446", "blk.0.ffn_gate_exps.weight"],
  ]);
});

Deno.test("importGguf names unknown architectures, experts, foreign scalings and unknown keys", async () => {
  const withKey = (key: string, value: GgufValue) => encodeGguf({ ...metadata, [key]: value }, tensorsOf(shapes));
  const architecture = await faults(withKey("general.architecture", { type: "string", value: "lama" }));
  assert.deepEqual([architecture[0].code, architecture[0].help], ["Q0441", 'Did you mean "llama"?']);
  assert.deepEqual(await codes(withKey("llama.expert_count", u32(8))), [["Q0442", "llama: expert_count"]]);
  const scaling = withKey("llama.rope.scaling.type", { type: "string", value: "longrope" });
  assert.deepEqual(await codes(scaling), [["Q0442", "llama: rope.scaling.type"]]);
  assert.deepEqual(await codes(withKey("split.count", u32(3))), [["Q0443", "split.count"]]);
  const unknown = await codes(withKey("llama.logit_scale", { type: "f32", value: 2 }));
  assert.deepEqual(unknown, [["Q0433", "llama.logit_scale"], ["Q0447", "tokenizer.ggml"]]);
});

Deno.test("importGguf refuses headers that lie about their file", async () => {
  const file = encodeGguf(metadata, tensorsOf(shapes));
  const patched = (at: number, value: bigint) => {
    const copy = Uint8Array.from(file);
    new DataView(copy.buffer).setBigUint64(at, value, true);
    return copy;
  };
  const message = async (bytes: Uint8Array) => (await faults(bytes))[0].message;
  assert.match(await message(new Uint8Array(10)), /wants 24 for the fixed header/);
  assert.match(await message(new Uint8Array(64)), /does not begin with "GGUF"/);
  assert.match(await message(patched(4, 9n)), /version 9 is not supported/);
  assert.match(await message(patched(8, 2n ** 40n)), /do not fit in \d+ bytes/);
  assert.match(await message(patched(16, 2n ** 40n)), /do not fit in \d+ bytes/);
  assert.match(await message(file.subarray(0, file.length - 64)), /occupies bytes/);
  const twice = [...tensorsOf(shapes), ...tensorsOf({ "output_norm.weight": [8] })];
  assert.match(await message(encodeGguf(metadata, twice)), /is listed twice/);
});

Deno.test("importGguf takes rotary frequency divisors from the file, and only as many as it needs", async () => {
  const divisors: GgufStoredTensor = {
    name: "rope_freqs.weight",
    shape: [2],
    type: 0,
    bytes: new Uint8Array(Float32Array.of(1, 8).buffer),
  };
  const outcome = await importGgufSource(
    bytesSource("model.gguf", encodeGguf(metadata, [...tensorsOf(shapes), divisors])),
    { bind: {} },
  );
  assert.ok(outcome.ok);
  const { graph } = outcome.value;
  const node = graph.nodes.find((entry) => entry.op === "constant" && entry.outputs[0] === "rope.sin");
  assert.ok(node?.op === "constant");
  const sin = graph.constants.get(node.attributes.hash);
  assert.ok(sin.kind === "plain");
  // Position 3: frequencies 1 and 1/100, the second one divided by 8.
  assert.deepEqual([sin.data[6], sin.data[7]], [Math.fround(Math.sin(3)), Math.fround(Math.sin(3 / 800))]);
  const short = { ...divisors, shape: [1], bytes: divisors.bytes.subarray(0, 4) };
  const codesOfShort = await codes(encodeGguf(metadata, [...tensorsOf(shapes), short]));
  assert.deepEqual(codesOfShort, [["Q0442", "llama: rope_freqs.weight"]]);
});
