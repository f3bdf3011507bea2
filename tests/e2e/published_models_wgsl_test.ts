/**
 * Models that others exported or quantized, at `as-is` on WebGPU against the evaluator, which other tests hold against the
 * writing runtime's outputs. Nets of integers alone give the same bits.
 */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { prepareImported } from "../../compiler/driver.ts";
import { importModel } from "../../compiler/import/mod.ts";
import type { Binding } from "../../compiler/import/model.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { PlainTensor, Tensor } from "../../compiler/ir/tensor.ts";
import { bytesOf } from "../../compiler/numeric/element.ts";
import { runOnGpu } from "../../targets/wgsl/run_graph.ts";
import { cosine } from "../support/compare.ts";
import { gpuTest } from "../support/gpu.ts";
import { sharedFile } from "../support/models.ts";
import { readNpy, rowOf } from "../support/npy.ts";
import { randomInputs } from "../support/op_samples.ts";
import { prefillInputs } from "../support/prefill.ts";
import { expectOk } from "../support/vision.ts";

type Inputs = Readonly<Record<string, Tensor>>;

interface Published {
  readonly path: string;
  readonly bind?: Readonly<Record<string, Binding>>;
  /** Integers from input to output. */
  readonly exact?: true;
  readonly inputs: (graph: Graph, file: string) => Inputs;
}

const prompt = 32;
const decoder = { sequence_length: prompt, past_sequence_length: 0 };
const leastCosine = 0.9999;

/** The first stored input; seeded noise where none is stored. */
function stored(graph: Graph, file: string): Inputs {
  const path = join(dirname(file), "input.npy");
  return existsSync(path) ? { [graph.inputs[0].name]: rowOf(readNpy(path), 0) } : randomInputs(graph, 1, {});
}

function storyPrompt(graph: Graph, file: string): Inputs {
  const { prompt_ids } = JSON.parse(Deno.readTextFileSync(join(dirname(file), "..", "expected.json")));
  return prefillInputs(graph, prompt_ids.slice(0, prompt));
}

function sentences(graph: Graph, file: string): Inputs {
  return Object.fromEntries(
    graph.inputs.map(({ name }) => [name, readNpy(join(dirname(file), "expected", `${name}.npy`))]),
  );
}

const published: readonly Published[] = [
  { path: "quant/cnn-mnist8/qdq_s8s8.onnx", exact: true, inputs: stored },
  { path: "quant/cnn-mnist8/qop_s8s8.onnx", exact: true, inputs: stored },
  { path: "quant/cnn-cifar-resnet20/qdq_u8s8_pc.onnx", exact: true, inputs: stored },
  { path: "quant/cnn-cifar-mlperf-resnet8/qdq_a8w4.onnx", inputs: stored },
  { path: "quant/cnn-cifar-mlperf-resnet8/qdq_f8.onnx", inputs: stored },
  { path: "quant/cnn-imagenet-mobilenetv1-025/qop_u8s8_pc.onnx", exact: true, inputs: stored },
  { path: "quant/vit-pgd-2-3-16/dynamic_s8.onnx", inputs: stored },
  { path: "quant/vit-pgd-2-3-16/w4_nbits.onnx", inputs: stored },
  { path: "lm-stories260k/optimum/model.onnx", bind: decoder, inputs: storyPrompt },
  { path: "lm-stories260k/tjs-q4/model.onnx", bind: decoder, inputs: storyPrompt },
  { path: "lm-stories260k/tjs-fp16/model.onnx", bind: decoder, inputs: storyPrompt },
  {
    path: "encoder-minilm-l6-int8/model_quantized.onnx",
    bind: { batch_size: 8, sequence_length: { min: 1, max: 64 } },
    inputs: sentences,
  },
  { path: "audio-crepe-tfjs/model.json", inputs: stored },
];

function plainOf(tensor: Tensor): PlainTensor {
  assert.ok(tensor.kind === "plain");
  return tensor;
}

for (const { path, bind = {}, exact, inputs: inputsOf } of published) {
  const file = sharedFile(path);
  if (file === undefined) {
    console.log(`skipped: ${path} on WebGPU: not found`);
    continue;
  }
  await gpuTest(`${path} gives the evaluator's ${exact ? "bits" : "outputs"} on WebGPU`, async () => {
    const imported = expectOk(await importModel(file, { bind }));
    const { graph } = expectOk(await prepareImported(imported, { recipe: "as-is", target: "wgsl" }));
    const inputs = inputsOf(graph, file);
    const expected = evaluateGraph(graph, inputs).outputs;
    const actual = await runOnGpu(graph, inputs);
    for (const [name, tensor] of Object.entries(expected)) {
      const [want, got] = [plainOf(tensor), plainOf(actual[name])];
      assert.deepEqual(got.shape, want.shape, name);
      if (exact) assert.deepEqual(bytesOf(got.data), bytesOf(want.data), name);
      else if (want.data.length > 0) {
        const agreement = cosine(Float64Array.from(want.data, Number), Float64Array.from(got.data, Number));
        assert.ok(agreement >= leastCosine, `${name} has cosine ${agreement}`);
      }
    }
  });
}
