/** Step migration: what is left of the graph, what the rounding costs, and what goes wrong when a reader is forgotten. */

import assert from "node:assert/strict";
import type { Graph } from "../../compiler/ir/graph.ts";
import { printGraph } from "../../compiler/ir/print.ts";
import { floatTensor, type PlainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { type Pass, plainContext } from "../../compiler/rewrite/pass.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { sqnr } from "../../tests/support/compare.ts";
import { decoderLogits, decoderText, randomDecoder } from "../../tests/support/decoders.ts";
import { quantizeWeights } from "../quantize/quantize_weights.ts";
import { foldNormGain } from "../transform/fold_norm_gain.ts";
import { rotate } from "../transform/rotate.ts";
import { WeightEditor } from "../transform/weight_editor.ts";
import { encodeMigrated } from "./encode_migrated.ts";
import { migrateQuantStep } from "./migrate_quant_step.ts";

/** Calibration on the very text that is evaluated: no value lies outside its range, so rounding is the only loss. */
const calibration = [decoderText()];

async function run(graph: Graph, pass: Pass, options: Readonly<Record<string, Json>> = {}): Promise<Graph> {
  const context = { ...plainContext(options), seed: 3, calibration };
  return (await pass.run(graph, context)).graph;
}

async function migrated(graph: Graph, bits: number, rotations: boolean): Promise<Graph> {
  const folded = rotations ? await run(graph, foldNormGain) : graph;
  const rotated = rotations ? await run(folded, rotate, { down: "hadamard" }) : folded;
  const stepped = await run(rotated, migrateQuantStep, { bits, clip: "none" });
  const weights = await run(stepped, quantizeWeights, { format: "int8", granularity: "channel", head: "float" });
  return await run(weights, encodeMigrated);
}

for (const rotations of [false, true]) {
  const name = rotations ? "after rotations" : "without rotations";

  Deno.test(`${name}: no quantize op, no dequantize op and no step per token is left at a migrated site`, async () => {
    const graph = await migrated(randomDecoder({}, 3), 4, rotations);
    const text = printGraph(graph);
    assert.doesNotMatch(text, /= (quantize|dequantize) /);
    assert.doesNotMatch(text, /dynamic/);
    const linears = graph.nodes.filter((node) => node.op === "matmul");
    const static4 = linears.filter((node) => {
      const { encoding } = graph.types.get(node.inputs[0]) ?? assert.fail("every value has a type");
      return encoding.kind === "quantized" && encoding.scheme.range === "static";
    });
    // Every linear of the two layers; the head stays float.
    assert.equal(static4.length, linears.length - 1);
    assert.deepEqual(verify(graph), []);
  });

  Deno.test(`${name}: each bit more buys about 6 dB until the weights' own rounding shows`, async () => {
    const graph = randomDecoder({}, 5);
    const reference = decoderLogits(graph);
    const quality = await Promise.all([4, 6, 8].map(async (bits) => {
      return sqnr(reference, decoderLogits(await migrated(graph, bits, rotations)));
    }));
    assert.ok(quality[1] > quality[0] + 6, `4 bits ${quality[0]} dB, 6 bits ${quality[1]} dB`);
    assert.ok(quality[2] > quality[1] + 3, `6 bits ${quality[1]} dB, 8 bits ${quality[2]} dB`);
    assert.ok(quality[2] > 25, `8 bits ${quality[2]} dB`);
  });
}

Deno.test("the head and what feeds it stay float", async () => {
  const graph = randomDecoder({}, 4);
  const stepped = await run(graph, migrateQuantStep, { bits: 4 });
  const head = stepped.nodes.findLast((node) => node.op === "matmul");
  const feeder = stepped.nodes.find((node) => node.outputs[0] === head?.inputs[0]);
  assert.equal(feeder?.op, "norm");
});

const forms: Readonly<Record<string, Readonly<Record<string, Json>>>> = {
  "symmetric": {},
  "with zero points": { symmetric: false },
  "with copies": { copies: 1, threshold: 1 },
  "with zero points, copies and a sink": { symmetric: false, copies: 1, threshold: 1, sink: 1 },
};

async function steppedGraph(graph: Graph, options: Readonly<Record<string, Json>>): Promise<Graph> {
  return await run(graph, migrateQuantStep, { bits: 5, ...options });
}

async function withWeights(graph: Graph, format: string): Promise<Graph> {
  return await run(graph, quantizeWeights, { format, granularity: "channel", head: "float" });
}

for (const [name, options] of Object.entries(forms)) {
  Deno.test(`${name}: codes held as integers compute what codes held as numbers do`, async () => {
    const weights = await withWeights(await steppedGraph(randomDecoder({}, 6), options), "int8");
    // Only a matmul of codes by codes sums integers; with a float left operand the weights are decoded first.
    const encoded = await run(weights, encodeMigrated);
    assert.ok(encoded.nodes.filter((node) => node.op === "fromCodes").length >= 8);
    const quality = sqnr(decoderLogits(weights), decoderLogits(encoded));
    // Float32 sums of exact products against exact integers times one step: rounding alone, 2^-24 of each value, is 144 dB;
    // a value that lies within rounding of a tie may take the next code and shows as less.
    assert.ok(quality > 60, `${quality} dB`);
  });
}

Deno.test("zero points taken from the float weights, or not taken at all, show", async () => {
  const stepped = await steppedGraph(randomDecoder({}, 6), { symmetric: false });
  const coarse = await withWeights(stepped, "int3");
  const encoded = await run(coarse, encodeMigrated);
  const fine = await run(await withWeights(stepped, "int8"), encodeMigrated);
  const reference = decoderLogits(coarse);
  assert.ok(sqnr(reference, decoderLogits(encoded)) > 60);
  // The sums of int8 weights stand for those of the float weights.
  const biases = (graph: Graph) =>
    graph.nodes.flatMap((node) => (node.op === "matmul" && node.attributes.hasBias ? [node.inputs[2]] : []));
  const [ours, theirs] = [biases(encoded), biases(fine)];
  assert.ok(ours.length > 0 && ours.length === theirs.length);
  const hashOf = (graph: Graph, value: string) => {
    const node = graph.nodes.find(({ outputs }) => outputs[0] === value);
    return node?.op === "constant" ? node.attributes.hash : assert.fail(`${value} is no constant`);
  };
  const swapped = new Map(ours.map((value, index) => [value, hashOf(fine, theirs[index])]));
  const mutants = {
    "float weights": (hash: string | undefined) => hash,
    "none": (hash: string | undefined) =>
      hash === undefined ? undefined : encoded.constants.add(zerosLike(encoded, hash)),
  };
  for (const [name, mutate] of Object.entries(mutants)) {
    const nodes = encoded.nodes.map((node) => {
      const hash = mutate(swapped.get(node.outputs[0]));
      return hash === undefined || node.op !== "constant" ? node : { ...node, attributes: { hash } };
    });
    const quality = sqnr(reference, decoderLogits({ ...encoded, nodes }));
    assert.ok(quality < 40, `zero points of ${name}: ${quality} dB`);
  }
});

function zerosLike(graph: Graph, hash: string): PlainTensor<"f32"> {
  const { shape } = graph.constants.get(hash);
  return floatTensor(shape, new Float32Array(sizeOf(shape)));
}

Deno.test("copies of channels change nothing but the order of sums; copies that keep their weights do", async () => {
  const graph = randomDecoder({}, 7);
  const plain = await steppedGraph(graph, {});
  const copied = await steppedGraph(graph, { copies: 1, threshold: 1 });
  assert.ok(copied.nodes.some((node) => node.outputs[0].includes(".copies")), "nothing was split");
  // The codes are the same; sums of up to 48 products in another order: 48 · 2^-24 of their size is 110 dB.
  assert.ok(sqnr(decoderLogits(plain), decoderLogits(copied)) > 90);
  const weights = new WeightEditor(plain);
  const reader = plain.nodes.find((node) => node.op === "matmul" && node.outputs[0] === "layer.0.down.out") ??
    assert.fail();
  const place = {
    node: reader,
    operand: 1,
    value: reader.inputs[1],
    axis: 1,
    channels: Int32Array.from({ length: 24 }, (_, k) => k),
  };
  weights.spread(place, place.channels, new Float64Array(24).fill(2));
  assert.ok(sqnr(decoderLogits(plain), decoderLogits(weights.finish())) < 60);
});

Deno.test("after rotations constant steps need no calibration, and every gain becomes the step's inverse", async () => {
  const folded = await run(randomDecoder({}, 8), foldNormGain);
  const rotated = await run(folded, rotate, { down: "hadamard" });
  const options = { bits: 4, steps: "constant", outputs: false, downs: false };
  const { graph, metrics } = await migrateQuantStep.run(rotated, plainContext(options));
  assert.equal(metrics.migrated, 4);
  const gains = graph.nodes.flatMap((node) => (node.op === "norm" ? [node.inputs[1]] : [])).slice(0, 4);
  for (const gain of gains) {
    const node = graph.nodes.find(({ outputs }) => outputs[0] === gain);
    assert.ok(node?.op === "constant");
    const tensor = graph.constants.get(node.attributes.hash);
    assert.ok(tensor.kind === "plain" && tensor.data.every((value) => value === Math.fround(1 / 0.33861)));
  }
});

Deno.test("constant steps are asked for calibration where a site has no constant one", async () => {
  const rotated = await run(await run(randomDecoder({}, 8), foldNormGain), rotate);
  await assert.rejects(
    async () => await migrateQuantStep.run(rotated, plainContext({ steps: "constant" })),
    /calibration/,
  );
});

Deno.test("a forgotten reader and a step applied twice show", async () => {
  const graph = await run(randomDecoder({}, 3), foldNormGain);
  const rotated = await run(graph, rotate, { down: "hadamard" });
  const stepped = await run(rotated, migrateQuantStep, { bits: 8, clip: "none" });
  const reference = decoderLogits(graph);
  const honest = sqnr(reference, decoderLogits(stepped));
  assert.ok(honest > 30, `${honest} dB`);
  const factor = (value: string, change: (entries: Float32Array) => Float32Array): Graph => ({
    ...stepped,
    nodes: stepped.nodes.map((node) => {
      if (node.op !== "constant" || node.outputs[0] !== value) return node;
      const tensor = stepped.constants.get(node.attributes.hash);
      assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
      return { ...node, attributes: { hash: stepped.constants.add(floatTensor(tensor.shape, change(tensor.data))) } };
    }),
  });
  const norm = stepped.nodes.find((node) => node.op === "norm") ?? assert.fail();
  const gain = stepped.nodes.find(({ outputs }) => outputs[0] === norm.inputs[1]);
  assert.ok(gain?.op === "constant");
  const inverse = stepped.constants.get(gain.attributes.hash);
  assert.ok(inverse.kind === "plain");
  const inverseSteps = Array.from(inverse.data, Number);
  const key = stepped.nodes.find((node) => node.outputs[0] === "layer.0.key.out") ?? assert.fail();
  const mutants = {
    "a forgotten reader": factor(
      key.inputs[1],
      (entries) => entries.map((entry, index) => entry * inverseSteps[index % 16]),
    ),
    "a step applied twice": factor(norm.inputs[1], (entries) => entries.map((entry) => entry * entry)),
  };
  for (const [name, mutant] of Object.entries(mutants)) {
    assert.ok(sqnr(reference, decoderLogits(mutant)) < honest - 12, name);
  }
});
