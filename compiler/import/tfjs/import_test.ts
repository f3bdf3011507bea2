import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { maxAbsDifference } from "../../../tests/support/compare.ts";
import { sharedTest } from "../../../tests/support/models.ts";
import { normalArray } from "../../../tests/support/random.ts";
import { runGraphModel, runLayersModel } from "../../../tests/support/tfjs.ts";
import { evaluateGraph } from "../../ir/evaluate/mod.ts";
import { isStatic } from "../../ir/extent.ts";
import { type Graph, typeOf } from "../../ir/graph.ts";
import { plainTensor, sizeOf, type Tensor } from "../../ir/tensor.ts";
import { importTfjs } from "./mod.ts";

async function importChecked(path: string): Promise<Graph> {
  const outcome = await importTfjs(path, { bind: {} });
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  assert.deepEqual(outcome.diagnostics, []);
  return outcome.value.graph;
}

function floats(tensor: Tensor): Float32Array {
  assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
  return tensor.data;
}

/** The outputs of a graph with one input, on normal numbers. */
function runOnNoise(graph: Graph) {
  const [input] = graph.inputs;
  const shape = typeOf(graph, input.value).shape.filter(isStatic);
  const data = normalArray(sizeOf(shape), 11);
  const { outputs } = evaluateGraph(graph, { [input.name]: plainTensor("f32", shape, data) });
  return { data, shape, outputs };
}

/**
 * Both sides sum in float32 but in different orders: the difference of a network's outputs stays within a few thousand
 * roundings of their largest magnitude (the longest sum here has 2,304 products).
 */
function assertClose(wanted: Float32Array, actual: Float32Array, what: string): void {
  const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = maxAbsDifference(wanted, actual);
  assert.ok(difference <= 2304 * 2 ** -24 * largest, `${what} differs by ${difference} of ${largest}`);
}

const layersModels = [
  "cnn-cifar-mlperf-resnet8/tfjs/model.json",
  "cnn-imagenet-mobilenetv1-025/tfjs/model.json",
  "audio-crepe-tfjs/model.json",
];

for (const model of layersModels) {
  sharedTest(`importTfjs gives the library's outputs: ${model}`, [model], async ([path]) => {
    const graph = await importChecked(path);
    const { data, shape, outputs } = runOnNoise(graph);
    const [wanted] = await runLayersModel(path, data, shape);
    assertClose(wanted, floats(outputs[graph.outputs[0].name]), model);
  });
}

const graphModels: readonly { readonly model: string; readonly nodes: Readonly<Record<string, string>> }[] = [
  { model: "tfjs-emotion/emotion.json", nodes: { Identity: "Identity" } },
  {
    model: "tfjs-facemesh-f16/facemesh.json",
    nodes: { output_mesh: "Identity_2", output_faceflag: "Identity_1", output_contours: "Identity" },
  },
];

for (const { model, nodes } of graphModels) {
  sharedTest(`importTfjs gives the library's outputs: ${model}`, [model], async ([path]) => {
    const graph = await importChecked(path);
    assert.deepEqual(graph.outputs.map(({ name }) => name).sort(), Object.keys(nodes).sort());
    const { data, shape, outputs } = runOnNoise(graph);
    const wanted = await runGraphModel(path, data, shape, Object.values(nodes));
    Object.keys(nodes).forEach((name, index) => assertClose(wanted[index], floats(outputs[name]), name));
  });
}

const require = createRequire(import.meta.url);
const detectionFolder = dirname(require.resolve("@vscode/vscode-languagedetection/package.json"));

Deno.test("importTfjs compiles guesslang from text to scores, and its package agrees", async () => {
  const outcome = await importTfjs(join(detectionFolder, "model", "model.json"), { bind: {} });
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  assert.deepEqual(outcome.diagnostics.map(({ code, severity, node }) => [code, severity, node]), [
    ["Q0471", "note", "classes"],
  ]);
  const { graph, metadata } = outcome.value;
  assert.equal(graph.level, "quant");
  assert.deepEqual(graph.symbols, { bytes: { min: 2, max: 10001 } });
  const { texts } = metadata;
  assert.ok(typeof texts === "object" && texts !== null && "classes" in texts && Array.isArray(texts.classes));
  const { ModelOperations }: typeof import("@vscode/vscode-languagedetection") = require(
    "@vscode/vscode-languagedetection",
  );
  const detector = new ModelOperations();
  // ASCII only: TensorFlow.js turns single bytes of longer characters into U+FFFD on their way, TensorFlow does not.
  const sources = ["../../diagnostics.ts", "../../../deno.json", "../../../.gitignore"];
  for (const source of sources) {
    const text = readFileSync(join(import.meta.dirname ?? ".", source), "utf8").replace(/[^ -~\n]/g, "-");
    const bytes = new TextEncoder().encode(text);
    const { outputs } = evaluateGraph(graph, { inputs: plainTensor("u8", [bytes.length], bytes) });
    const scores = floats(outputs.scores);
    const guesses = await detector.runModel(text);
    assert.equal(guesses.length, 54);
    for (const { languageId, confidence } of guesses) {
      const score = scores[texts.classes.indexOf(languageId)];
      // Sums over up to 10,000 rows in another order, then a softmax: a few thousand roundings of a probability.
      assert.ok(Math.abs(score - confidence) < 4096 * 2 ** -24, `${source}: ${languageId} ${score} ${confidence}`);
    }
  }
});
