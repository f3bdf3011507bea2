/** Quantized ONNX models as onnxruntime's tools write them: what the evaluator makes of them against stored outputs. */

import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { importModel } from "../../compiler/import/mod.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { floatTensor, type PlainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { cosine, maxAbsDifference } from "../support/compare.ts";
import { sharedFile, sharedTest } from "../support/models.ts";
import { readNpy, rowOf } from "../support/npy.ts";
import { verifiedGraph } from "../support/onnx_check.ts";

/** How a model must agree: its last codes within so many steps, or its float outputs by this cosine. */
type Agreement = { readonly steps: number } | { readonly cosine: number };

interface QuantizedModel {
  readonly path: string;
  /** Stored outputs: those of the literal graph, or of the graph with its quantized operators fused. */
  readonly expected: "noopt" | "opt";
  readonly agreement: Agreement;
  /** Ops that may not be left: everything between the first and the last codes is integer. */
  readonly absent?: readonly Node["op"][];
}

const samples = 4;
const images = "data-imagenet125/first16_224x224x3_u8.bin";

const models: readonly QuantizedModel[] = [
  { path: "cnn-mnist8/qdq_s8s8", expected: "noopt", agreement: { steps: 0 }, absent: ["map"] },
  { path: "cnn-mnist8/qop_s8s8", expected: "noopt", agreement: { steps: 0 } },
  { path: "cnn-mnist8/dynamic_u8", expected: "noopt", agreement: { steps: 0 } },
  { path: "cnn-cifar-resnet20/qdq_u8s8_pc", expected: "opt", agreement: { steps: 0 } },
  { path: "cnn-cifar-resnet20/qop_u8s8_pc", expected: "noopt", agreement: { steps: 0 } },
  { path: "cnn-cifar-resnet20/qdq_s8s8_pc_addqdqpair", expected: "noopt", agreement: { steps: 1 } },
  { path: "cnn-cifar-resnet20/qdq_a16w8", expected: "noopt", agreement: { cosine: 0.99999 } },
  { path: "cnn-cifar-mlperf-resnet8/qdq_s8s8", expected: "opt", agreement: { steps: 0 } },
  { path: "cnn-cifar-mlperf-resnet8/qdq_a8w4", expected: "noopt", agreement: { steps: 1 } },
  { path: "cnn-cifar-mlperf-resnet8/qdq_au16w8", expected: "noopt", agreement: { cosine: 0.99999 } },
  // Where a sum lies within an ulp of a rounding boundary it gets the other code; float8 codes lie 6 to 12% apart.
  { path: "cnn-cifar-mlperf-resnet8/qdq_f8", expected: "noopt", agreement: { cosine: 0.999 } },
  { path: "cnn-imagenet-mobilenetv1-025/qop_u8s8_pc", expected: "noopt", agreement: { steps: 0 } },
  { path: "cnn-imagenet-mobilenetv1-025/qdq_u8s8_pc", expected: "opt", agreement: { steps: 1 } },
  { path: "vit-pgd-2-3-16/qdq_u8s8_pc", expected: "noopt", agreement: { steps: 1 } },
  { path: "vit-pgd-2-3-16/qdq_w4_block", expected: "noopt", agreement: { cosine: 0.99999 } },
  { path: "vit-pgd-2-3-16/w4_nbits", expected: "noopt", agreement: { cosine: 0.99999 } },
  // An activation that lies within an ulp of a rounding boundary gets the other code, and dynamic steps spread it.
  { path: "vit-pgd-2-3-16/dynamic_s8", expected: "noopt", agreement: { cosine: 0.999 } },
];

/** The model's inputs: stored beside it, or the images that its folder's notes name (x / 127.5 - 1 in f32). */
function inputsOf(file: string, shape: readonly (number | { readonly symbol: string })[]): PlainTensor {
  const folder = dirname(file);
  const stored = join(folder, "input.npy");
  try {
    return readNpy(stored);
  } catch {
    const path = sharedFile(images);
    assert.ok(path !== undefined);
    const pixels = Deno.readFileSync(path);
    const extents = [pixels.length / (224 * 224 * 3), ...shape.slice(1).map(Number)];
    return floatTensor(extents, Float32Array.from(pixels, (byte) => Math.fround(byte / 127.5) - 1));
  }
}

function numbers(tensor: Tensor): number[] {
  assert.ok(tensor.kind === "plain");
  return Array.from<number | bigint, number>(tensor.data, Number);
}

for (const { path, expected, agreement, absent = [] } of models) {
  const file = `quant/${path}.onnx`;
  const outputs = `quant/${path}.out_${expected}.npy`;
  const needs = path.startsWith("cnn-imagenet") ? [file, outputs, images] : [file, outputs];
  sharedTest(`${path} evaluates to onnxruntime's outputs`, needs, async ([modelFile, outputFile]) => {
    const graph = verifiedGraph(await importModel(modelFile, { bind: {} }));
    assert.equal(graph.level, "quant");
    for (const op of absent) assert.ok(!graph.nodes.some((node) => node.op === op), `${op} is left`);
    const [input] = graph.inputs;
    const shape = graph.types.get(input.value)?.shape ?? [];
    const inputs = inputsOf(modelFile, shape);
    const wanted = readNpy(outputFile);
    for (let index = 0; index < samples; index++) {
      let outputStep = 0;
      const observe = (_: string, tensor: Tensor) => {
        if (tensor.kind === "quantized") outputStep = tensor.steps.data[0];
      };
      const { outputs: made } = evaluateGraph(graph, { [input.name]: rowOf(inputs, index) }, { observe });
      const [got, want] = [numbers(made[graph.outputs[0].name]), numbers(rowOf(wanted, index))];
      if ("cosine" in agreement) {
        assert.ok(cosine(want, got) >= agreement.cosine, `sample ${index}: cosine ${cosine(want, got)}`);
        continue;
      }
      const worst = maxAbsDifference(want, got);
      // A difference of two decoded codes is a multiple of the step up to a rounding of either.
      const allowed = agreement.steps * outputStep * (1 + 2 ** -20);
      assert.ok(worst <= allowed, `sample ${index}: ${worst}, allowed ${allowed}`);
    }
  });
}
