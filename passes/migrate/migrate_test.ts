/** Step migration: what is left of the graph, what the rounding costs, and what goes wrong when a reader is forgotten. */

import assert from "node:assert/strict";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { printGraph } from "../../compiler/ir/print.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { type Pass, plainContext } from "../../compiler/rewrite/pass.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { sqnr } from "../../tests/support/compare.ts";
import { decoderLogits, decoderText, randomDecoder } from "../../tests/support/decoders.ts";
import { quantizeWeights } from "../quantize/quantize_weights.ts";
import { foldNormGain } from "../transform/fold_norm_gain.ts";
import { rotate } from "../transform/rotate.ts";
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

Deno.test("codes held as integers compute what codes held as numbers do", async () => {
  const graph = randomDecoder({}, 6);
  const stepped = await run(graph, migrateQuantStep, { bits: 5 });
  const weights = await run(stepped, quantizeWeights, { format: "int8", granularity: "channel", head: "float" });
  // Only a matmul of codes by codes sums integers; with a float left operand the weights are decoded first.
  const encoded = await run(weights, encodeMigrated);
  const sample = decoderText();
  const before = evaluateGraph(weights, sample).outputs.logits;
  const after = evaluateGraph(encoded, sample).outputs.logits;
  assert.ok(before.kind === "plain" && after.kind === "plain");
  const quality = sqnr(Float64Array.from(before.data, Number), Float64Array.from(after.data, Number));
  // Float32 sums of exact products against exact integers times one step: rounding alone, 2^-24 of each value, is 144 dB;
  // a value that lies within rounding of a tie may take the next code and shows as less.
  assert.ok(quality > 60, `${quality} dB`);
});
