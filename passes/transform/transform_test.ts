/** Transforms leave the model's function unchanged; each classic mistake changes it. */

import assert from "node:assert/strict";
import type { Graph } from "../../compiler/ir/graph.ts";
import { type Pass, plainContext } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { Region } from "../../compiler/rewrite/region/region.ts";
import { maxRelativeDifference } from "../../tests/support/compare.ts";
import { decoderLogits, decoderVariants, randomDecoder } from "../../tests/support/decoders.ts";
import { normalArray } from "../../tests/support/random.ts";
import { foldNormGain } from "./fold_norm_gain.ts";
import { rotate } from "./rotate.ts";
import { rotateStream } from "./turn_regions.ts";
import { hadamardRotation } from "./rotation.ts";
import { scaleRegion } from "./scale_region.ts";
import { WeightEditor } from "./weight_editor.ts";

/**
 * Float32 graphs of two layers: every value passes about 20 roundings of 2^-24, amplified by norms and softmax by at most
 * the ratio of the largest to the typical magnitude, some tens. 2^-24 · 20 · 32 is below 5e-5.
 */
const bound = 5e-5;

/** Every classic mistake must move the output by far more than the bound. */
const visible = 1e-3;

function change(before: Graph, after: Graph): number {
  return maxRelativeDifference(decoderLogits(before), decoderLogits(after));
}

function factors(count: number, seed: number): Float64Array {
  return Float64Array.from(normalArray(count, seed), Math.exp);
}

function scaled(graph: Graph, regions: readonly Region[]): Graph {
  const editor = new WeightEditor(graph);
  regions.forEach((region, index) => scaleRegion(editor, region, factors(region.channels, index + 5)));
  return editor.finish();
}

async function run(pass: Pass, graph: Graph, options: Readonly<Record<string, string>> = {}): Promise<Graph> {
  return (await pass.run(graph, { ...plainContext(options), seed: 3 })).graph;
}

for (const [name, variant] of Object.entries(decoderVariants)) {
  Deno.test(`${name}: scaling every region keeps the function`, () => {
    for (const seed of [1, 2, 3]) {
      const graph = randomDecoder(variant, seed);
      const { regions } = findRegions(graph);
      assert.ok(regions.length >= 6);
      for (const kind of ["norm", "valueOutput", "upDown", "queryKey"] as const) {
        const chosen = regions.filter((region) => region.kind === kind);
        assert.ok(change(graph, scaled(graph, chosen)) < bound, `${kind} with seed ${seed}`);
      }
    }
  });

  Deno.test(`${name}: folding gains and rotating keeps the function`, async () => {
    const graph = randomDecoder(variant, 4);
    const folded = await run(foldNormGain, graph);
    assert.ok(change(graph, folded) < bound);
    const rotated = await run(rotate, folded, { down: "hadamard" });
    assert.ok(change(graph, rotated) < bound);
    assert.equal(rotated.nodes.filter((node) => node.op === "transform").length, 2);
    const streams = findRegions(folded);
    assert.equal(streams.residual === undefined, variant.sandwichNorms === true);
    const original = decoderLogits(graph);
    assert.equal(original.length, decoderLogits(rotated).length);
  });
}

function drop(region: Region, end: "sources" | "sinks", index: number): Region {
  return { ...region, [end]: region[end].filter((_, place) => place !== index) };
}

Deno.test("a forgotten reader or writer of any region changes the function", () => {
  for (const variant of Object.values(decoderVariants)) {
    const graph = randomDecoder(variant, 6);
    const seen = new Set<string>();
    for (const region of findRegions(graph).regions) {
      if (seen.has(region.kind)) continue;
      seen.add(region.kind);
      for (const end of ["sources", "sinks"] as const) {
        region[end].forEach((_, index) => {
          const moved = change(graph, scaled(graph, [drop(region, end, index)]));
          assert.ok(moved > visible, `${region.kind} without ${end}[${index}] moves the output by ${moved}`);
        });
      }
    }
  }
});

Deno.test("untied scales of rotated pairs, and untied scales of grouped heads, change the function", () => {
  const graph = randomDecoder({}, 8);
  const { regions } = findRegions(graph);
  const queryKey = regions.find((region) => region.kind === "queryKey");
  const valueOutput = regions.find((region) => region.kind === "valueOutput");
  assert.ok(queryKey !== undefined && valueOutput !== undefined);
  const untie = (region: Region): Region => ({
    ...region,
    channels: 16,
    sources: region.sources.map((place) => ({
      ...place,
      channels: Int32Array.from(place.channels, (_, index) => index),
    })),
    sinks: region.sinks.map((place) => ({ ...place, channels: Int32Array.from(place.channels, (_, index) => index) })),
  });
  assert.ok(change(graph, scaled(graph, [untie(queryKey)])) > visible);
  assert.ok(change(graph, scaled(graph, [untie(valueOutput)])) > visible);
});

Deno.test("rotating a stream whose norms still have gains, or forgetting one reader, changes the function", async () => {
  const graph = randomDecoder({}, 9);
  const folded = await run(foldNormGain, graph);
  const { residual } = findRegions(folded);
  assert.ok(residual !== undefined);
  const rotation = hadamardRotation(residual.channels, 1);
  const unfolded = new WeightEditor(graph);
  rotateStream(unfolded, residual, rotation);
  assert.ok(change(graph, unfolded.finish()) > visible);
  const forgetful = new WeightEditor(folded);
  rotateStream(forgetful, { ...residual, readers: residual.readers.slice(1) }, rotation);
  assert.ok(change(graph, forgetful.finish()) > visible);
});

Deno.test("a stream with gains left, or with sandwich norms, is declined by name", () => {
  const reasons = (variant: object) =>
    findRegions(randomDecoder(variant, 2)).declined.filter((entry) => entry.kind === "residual").map((entry) =>
      entry.reason
    );
  assert.match(reasons({})[0], /attentionNorm.* has a gain/);
  assert.match(reasons(decoderVariants["gemma2, sandwich norms"])[0], /gain|writes into it/);
});

Deno.test("a tied embedding and head come apart when one of them is edited", async () => {
  const graph = randomDecoder({ tiedHead: true }, 5);
  const readersOfTable = graph.nodes.filter((node) => node.inputs.includes(graph.nodes[0].outputs[0]));
  assert.equal(readersOfTable.length, 2);
  const folded = await run(foldNormGain, graph);
  const table = folded.nodes.find((node) => node.op === "gather")?.inputs[0];
  const head = folded.nodes.findLast((node) => node.op === "matmul")?.inputs[1];
  assert.notEqual(table, head);
  assert.equal(table, graph.nodes[0].outputs[0]);
});
