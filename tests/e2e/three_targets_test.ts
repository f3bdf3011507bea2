/**
 * The same integers on every target. A net that is integers from input to output gives the same bits on the evaluator, on
 * WebAssembly and on WebGPU. Where float lies between, a value that two targets round differently may fall on either side
 * of a rounding boundary: its code differs by one step, and few do.
 */

import assert from "node:assert/strict";
import { success } from "../../compiler/diagnostics.ts";
import { prepareImported, prepareModel } from "../../compiler/driver.ts";
import { compareCodes } from "../../compiler/evaluation/compare_codes.ts";
import { runVariant } from "../../compiler/evaluation/run_variant.ts";
import { importModel } from "../../compiler/import/mod.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { bytesOf } from "../../compiler/numeric/element.ts";
import { type PlainTensor, plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { startOnGpu } from "../../targets/wgsl/run_graph.ts";
import { argMax } from "../support/compare.ts";
import { greedy } from "../support/decoder.ts";
import { gpuTest } from "../support/gpu.ts";
import { sharedFile } from "../support/models.ts";
import { expectOk, withLogits } from "../support/vision.ts";
import { type Sample, zooFile, type ZooModel, zooModel } from "../support/zoo.ts";

const compiled = ["relaxed", "webgpu"] as const;
const calibrationSamples = 4;

function isPresent(model: ZooModel): boolean {
  return zooFile(model) !== undefined && model.data.every((path) => sharedFile(path) !== undefined);
}

/** The graph that targets emit, and a sample that calibration has not seen. */
async function quantized(model: ZooModel, recipe: string): Promise<{ readonly graph: Graph; readonly sample: Sample }> {
  const samples = model.samples(calibrationSamples + 1);
  const imported = expectOk(await importModel(zooFile(model) ?? "", { bind: model.bind }));
  const { graph } = expectOk(
    await prepareImported({ ...imported, graph: withLogits(imported.graph) }, {
      recipe,
      target: "wgsl",
      calibration: () => Promise.resolve(success(samples.slice(0, calibrationSamples))),
    }),
  );
  return { graph, sample: samples[calibrationSamples] };
}

function assertSameBits(actual: Tensor, wanted: Tensor, what: string): void {
  assert.ok(actual.kind === "plain" && wanted.kind === "plain");
  assert.deepEqual(bytesOf(actual.data), bytesOf(wanted.data), what);
}

/** Nets whose recipe leaves no float between quantized tensors. */
for (const name of ["resnet20", "mlperf-resnet8", "resnet4b", "mnist8", "mobilenetv1-025", "vww-mobilenetv1-025"]) {
  const model = zooModel(name);
  if (!isPresent(model)) continue;
  await gpuTest(`${name} at w8a8-static: the same bits on the evaluator, WebAssembly and WebGPU`, async () => {
    const { graph, sample } = await quantized(model, "w8a8-static");
    const { outputs } = evaluateGraph(graph, sample);
    for (const variant of compiled) {
      const actual = await runVariant(variant)(graph, sample);
      for (const [output, wanted] of Object.entries(outputs)) assertSameBits(actual[output], wanted, variant);
    }
  });
}

interface MixedModel {
  readonly name: string;
  readonly recipe: string;
  /** The largest share of codes that may differ. */
  readonly share: number;
}

const mixed: readonly MixedModel[] = [
  { name: "vit-pgd", recipe: "w8a8-static", share: 1e-3 },
  { name: "vit-pgd", recipe: "w8a8-dynamic", share: 1e-3 },
];

for (const { name, recipe, share } of mixed) {
  const model = zooModel(name);
  if (!isPresent(model)) continue;
  await gpuTest(`${name} at ${recipe}: few codes differ between targets, each by one step`, async () => {
    const { graph, sample } = await quantized(model, recipe);
    await assertFewCodesDiffer(`${name} ${recipe}`, graph, sample, share);
  });
}

/** Counts codes on each target against the evaluator's: at most `share` of them differ, and by one step. */
async function assertFewCodesDiffer(what: string, graph: Graph, sample: Sample, share: number): Promise<void> {
  for (const variant of compiled) {
    const counts = await compareCodes(graph, [sample], runVariant(variant));
    const sum = (pick: (count: (typeof counts)[number]) => number) =>
      counts.reduce((all, count) => all + pick(count), 0);
    const [different, codes] = [sum((count) => count.different), sum((count) => count.codes)];
    const largest = Math.max(...counts.map((count) => count.largest));
    console.log(`${what} ${variant}: ${different} of ${codes} codes differ, by ${largest} at most`);
    assert.ok(codes > 0 && different <= share * codes, `${variant}: ${different} of ${codes} codes differ`);
    assert.ok(largest <= 1, `${variant}: a code differs by ${largest} steps`);
  }
}

/** Ids of the calibration set and of the evaluation set of the stories model. */
const storyFiles = ["stories260k/config.json", "stories260k/calib_ids.u16", "stories260k/eval_ids.u16"];
const prompt = 48;
const generated = 16;

function storyIds(path: string, from: number): Sample {
  const ids = new Uint16Array(Deno.readFileSync(sharedFile(path) ?? "").slice().buffer);
  return { ids: plainTensor("i32", [1, prompt], Int32Array.from(ids.subarray(from, from + prompt))) };
}

if (storyFiles.every((path) => sharedFile(path) !== undefined)) {
  for (const format of ["int4", "int8"]) {
    await gpuTest(
      `stories260k, caches of ${format}: few codes differ between targets, and they tell one story`,
      async () => {
        const samples = [0, 256, 512, 768].map((from) => storyIds(storyFiles[1], from));
        const { graph } = expectOk(
          await prepareModel({
            model: sharedFile("stories260k") ?? "",
            recipe: "kv4",
            overrides: [`quantize-cache.format=${format}`],
            target: "wgsl",
            bind: { seq: { min: 1, max: prompt }, total: prompt + generated },
            calibration: () => Promise.resolve(success(samples)),
          }),
        );
        assert.ok(graph.states.some(({ type }) => type.encoding.kind !== "plain"), "no cache holds codes");
        const story = storyIds(storyFiles[2], 0);
        await assertFewCodesDiffer(`stories260k ${format} caches`, graph, story, 1e-3);
        const first = Array.from(plainOf(story.ids).data, Number);
        const running = await startOnGpu(graph);
        const told = await greedyBy(async (ids) => (await running.run(idsOf(ids))).logits, first);
        running.dispose();
        assert.deepEqual(told, greedy(graph, first, generated));
      },
    );
  }
}

function idsOf(ids: readonly number[]): Sample {
  return { ids: plainTensor("i32", [1, ids.length], Int32Array.from(ids)) };
}

function plainOf(tensor: Tensor): PlainTensor {
  assert.ok(tensor.kind === "plain");
  return tensor;
}

/** The most likely continuation, the prompt in one run and then a token a run. */
async function greedyBy(run: (ids: readonly number[]) => Promise<Tensor>, first: readonly number[]): Promise<number[]> {
  const told: number[] = [];
  let ids = first;
  while (told.length < generated) {
    const { data, shape } = plainOf(await run(ids));
    ids = [argMax(Float64Array.from(data, Number).subarray(-shape[2]))];
    told.push(...ids);
  }
  return told;
}
