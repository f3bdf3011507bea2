/** Decoders and encoders as public exporters write them, with fixed and with symbolic lengths. */

import assert from "node:assert/strict";
import { importModel } from "../../compiler/import/mod.ts";
import type { Binding } from "../../compiler/import/model.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { emptyTensor, floatTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { cosine, maxAbsDifference } from "../support/compare.ts";
import { sharedTest } from "../support/models.ts";
import { readNpy } from "../support/npy.ts";
import { verifiedGraph } from "../support/onnx_check.ts";
import { prefillInputs } from "../support/prefill.ts";

function numbers(tensor: Tensor): number[] {
  assert.ok(tensor.kind === "plain");
  return Array.from<number | bigint, number>(tensor.data, Number);
}

const prompt = 32;

/** Exporters of the stories decoder; `cosine` is lower where the file computes in half precision. */
const decoders: readonly { readonly name: string; readonly bind: readonly string[]; readonly cosine: number }[] = [
  { name: "optimum", bind: [], cosine: 0.99999 },
  { name: "torch-dynamo-opset18", bind: ["total_sequence_length"], cosine: 0.99999 },
  { name: "torch-dynamo-opset23", bind: ["total_sequence_length"], cosine: 0.99999 },
  { name: "tjs-q8", bind: [], cosine: 0.99999 },
  { name: "tjs-uint8", bind: [], cosine: 0.99999 },
  { name: "tjs-q4", bind: [], cosine: 0.99999 },
  { name: "tjs-fp16", bind: [], cosine: 0.9999 },
  { name: "tjs-q4f16", bind: [], cosine: 0.9999 },
  { name: "tjs-merged-if-q8", bind: ["use_cache_branch"], cosine: 0.99999 },
];

for (const { name, bind, cosine: least } of decoders) {
  const folder = `lm-stories260k/${name}`;
  const needs = [`${folder}/model.onnx`, `${folder}/logits_prefill.npy`, "lm-stories260k/expected.json"];
  sharedTest(
    `the ${name} decoder agrees with onnxruntime, at a fixed and at a symbolic length`,
    needs,
    async (paths) => {
      const [file, logits, expected] = paths;
      const protocol = JSON.parse(Deno.readTextFileSync(expected));
      const want = numbers(readNpy(logits));
      for (const length of [prompt, { min: 1, max: 64 }]) {
        const extra: readonly (readonly [string, Binding])[] = bind.map((key) => [
          key,
          key === "use_cache_branch" ? 0 : length,
        ]);
        const bindings = { sequence_length: length, past_sequence_length: 0, ...Object.fromEntries(extra) };
        const graph = verifiedGraph(await importModel(file, { bind: bindings }));
        const { outputs } = evaluateGraph(graph, prefillInputs(graph, protocol.prompt_ids.slice(0, prompt)));
        const agreement = cosine(want, numbers(outputs.logits));
        assert.ok(agreement >= least, `cosine ${agreement}`);
      }
    },
  );
}

const encoder = "encoder-minilm-l6-int8";
const arrays = ["input_ids", "attention_mask", "token_type_ids", "q_emb_batch_noopt"].map((name) =>
  `${encoder}/expected/${name}.npy`
);

sharedTest("the int8 MiniLM encoder gives onnxruntime's embeddings", [
  `${encoder}/model_quantized.onnx`,
  ...arrays,
], async ([file, ...paths]) => {
  const graph = verifiedGraph(
    await importModel(file, { bind: { batch_size: 8, sequence_length: { min: 1, max: 64 } } }),
  );
  assert.ok(!graph.nodes.some(({ op }) => op === "dequantize" || op === "toSteps"), "codes are decoded somewhere");
  const [ids, mask, types, want] = paths.map(readNpy);
  const { outputs } = evaluateGraph(graph, { input_ids: ids, attention_mask: mask, token_type_ids: types });
  const worst = maxAbsDifference(numbers(want), meanPooled(numbers(outputs.last_hidden_state), numbers(mask)));
  // Embeddings of norm 1; the pooling here is in doubles, onnxruntime's codes and sums are the same.
  assert.ok(worst <= 1e-6, `differs by ${worst}`);
});

/** Mean over the tokens that count, then norm 1: the sentence embeddings [8, 384]. */
function meanPooled(hidden: readonly number[], mask: readonly number[]): number[] {
  const [sentences, width] = [8, 384];
  const length = mask.length / sentences;
  return Array.from({ length: sentences }, (_, sentence) => {
    const sum = new Float64Array(width);
    for (let token = 0; token < length; token++) {
      const at = sentence * length + token;
      for (let index = 0; index < width; index++) sum[index] += mask[at] * hidden[at * width + index];
    }
    const norm = Math.hypot(...sum);
    return Array.from(sum, (entry) => entry / norm);
  }).flat();
}

sharedTest("the dynamically quantized Silero VAD follows onnxruntime frame by frame", [
  "quant/audio-silero16k/dynamic_u8.onnx",
  "quant/audio-silero16k/dynamic_u8.out_noopt.npy",
  "audio-silero16k/speech30s_16k.wav",
], async ([file, expected, wave]) => {
  const [frame, context, frames] = [512, 64, 96];
  const graph = verifiedGraph(await importModel(file, { bind: { batch: 1, sequence: frame + context, sr: 16000 } }));
  const samples = Float32Array.from(new Int16Array(Deno.readFileSync(wave).slice(44).buffer), (code) => code / 32768);
  let state: Tensor = emptyTensor("f32", [2, 1, 128]);
  const speech: number[] = [];
  for (let index = 0; index < frames; index++) {
    const window = new Float32Array(frame + context);
    const start = index * frame;
    window.set(samples.subarray(Math.max(0, start - context), start), index === 0 ? context : 0);
    window.set(samples.subarray(start, start + frame), context);
    const { outputs } = evaluateGraph(graph, { input: floatTensor([1, frame + context], window), state });
    speech.push(...numbers(outputs.output));
    state = outputs.stateN;
  }
  const agreement = cosine(numbers(readNpy(expected)), speech);
  assert.ok(agreement >= 0.99999, `cosine ${agreement}`);
});
