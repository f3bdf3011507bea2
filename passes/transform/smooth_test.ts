/** Smoothing by ranges and by trial leaves the function alone, balances what it is for, and finds better roundings. */

import assert from "node:assert/strict";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { type Pass, type PassStep, plainContext } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import { everyNode } from "../../compiler/rewrite/selector.ts";
import { maxRelativeDifference } from "../../tests/support/compare.ts";
import { decoderLogits, decoderText, decoderVariants, randomDecoder } from "../../tests/support/decoders.ts";
import { quantizeWeights } from "../quantize/quantize_weights.ts";
import { awq, magnitudeFactors } from "./awq.ts";
import { clipWeights } from "./clip_weights.ts";
import { channelReach, weightReach } from "./channel_reach.ts";
import { scaleRegion } from "./scale_region.ts";
import { smooth, smoothingFactors } from "./smooth.ts";
import { outputsOf, relativeError, roundedTrial } from "./trial.ts";
import { WeightEditor } from "./weight_editor.ts";

/** As in transform_test.ts: some 20 roundings of 2^-24, amplified some tens of times. */
const bound = 5e-5;

const calibration = [1, 2, 3, 4].map(decoderText);

/** Narrow codes in whole rows: a step that one loud column sets hurts all others. */
const later: readonly PassStep[] = [{
  pass: quantizeWeights,
  options: { format: "int4", granularity: "block", block: 8, symmetric: false, head: "float" },
  selector: everyNode,
}];

async function run(pass: Pass, graph: Graph, options: Readonly<Record<string, Json>> = {}) {
  return await pass.run(graph, { ...plainContext(options), calibration, later });
}

for (const [name, variant] of Object.entries(decoderVariants)) {
  Deno.test(`${name}: smoothing and activation-aware scaling keep the function`, async () => {
    for (const seed of [11, 12]) {
      const graph = randomDecoder(variant, seed);
      const attempts: readonly (readonly [Pass, Readonly<Record<string, Json>>])[] = [
        [smooth, { alpha: 0.8, outputs: true, downs: true }],
        [smooth, { search: "model" }],
        [smooth, { search: "region", downs: true }],
        [awq, { ratios: 5 }],
      ];
      for (const [pass, options] of attempts) {
        const { graph: changed, metrics } = await run(pass, graph, options);
        assert.ok((metrics.smoothed ?? metrics.scaled) >= 4, `${pass.name} found ${JSON.stringify(metrics)}`);
        const moved = maxRelativeDifference(decoderLogits(graph), decoderLogits(changed));
        assert.ok(moved < bound, `${pass.name} ${JSON.stringify(options)} moves the output by ${moved}`);
      }
    }
  });
}

Deno.test("at alpha 1 every channel behind a norm reaches as far as its factor says: one", async () => {
  const graph = randomDecoder({}, 21);
  const { graph: changed } = await run(smooth, graph, { alpha: 1 });
  const norms = findRegions(changed).regions.filter(({ kind }) => kind === "norm");
  const reach = await channelReach(changed, norms, calibration, 0);
  for (const norm of norms) {
    for (const largest of reach.get(norm)?.largest ?? []) assert.ok(Math.abs(largest - 1) < 1e-5, `${largest}`);
  }
});

Deno.test("at alpha 0 every column of the weights behind a norm reaches to one", async () => {
  const graph = randomDecoder({}, 22);
  const { graph: changed } = await run(smooth, graph, { alpha: 0 });
  const editor = new WeightEditor(changed);
  for (const region of findRegions(changed).regions.filter(({ kind }) => kind === "norm")) {
    for (const largest of weightReach(editor, region)) assert.ok(Math.abs(largest - 1) < 1e-6, `${largest}`);
  }
});

Deno.test("factors: dead channels and dead columns stay finite, magnitudes are normed about one", () => {
  const factors = smoothingFactors([0, 4, 4], [2, 0, 1], 0.5);
  assert.ok(factors.every((factor) => Number.isFinite(factor) && factor >= 1e-5));
  assert.equal(factors[2], 2);
  const powers = magnitudeFactors([1, 16, 0], 0.5);
  assert.equal(powers[1] / powers[0], 4);
  assert.ok(Math.abs(Math.max(...powers) * Math.min(...powers) - 1) < 1e-12);
});

/** Error of the model's outputs after the later passes. */
async function roundedError(original: Graph, graph: Graph): Promise<number> {
  const wanted = await outputsOf(original, calibration);
  return relativeError(wanted, await outputsOf(await roundedTrial(graph, later, calibration), calibration));
}

/** A decoder with outliers: a few channels behind each norm are thirty times as loud, their columns as quiet. */
function withOutliers(seed: number): Graph {
  const graph = randomDecoder({}, seed);
  const editor = new WeightEditor(graph);
  for (const region of findRegions(graph).regions.filter(({ kind }) => kind === "norm")) {
    scaleRegion(editor, region, Float64Array.from({ length: region.channels }, (_, j) => (j % 7 === 3 ? 1 / 30 : 1)));
  }
  return editor.finish();
}

Deno.test("searches find roundings that are better than none, and never worse than alpha 0.5", async () => {
  const graph = withOutliers(31);
  const plain = await roundedError(graph, graph);
  const searched = await run(smooth, graph, { search: "model" });
  const fixed = await run(smooth, graph, { alpha: 0.5 });
  const scaled = await run(awq, graph);
  const [best, half, aware] = await Promise.all(
    [searched, fixed, scaled].map((result) => roundedError(graph, result.graph)),
  );
  assert.ok(best < 0.6 * plain, `alpha search ${best}, plain ${plain}`);
  assert.ok(aware < 0.6 * plain, `awq ${aware}, plain ${plain}`);
  assert.ok(best <= half, `alpha search ${best}, alpha 0.5 ${half}`);
});

Deno.test("clipping by output error beats whole ranges, and wants a quantizer to clip for", async () => {
  const graph = randomDecoder({}, 32);
  const options = { ...later[0].options, bits: 3, granularity: "channel", clip: "none" };
  const narrow: readonly PassStep[] = [{ ...later[0], options }];
  const { graph: clipped, metrics } = await clipWeights.run(graph, { ...plainContext({}), calibration, later: narrow });
  assert.ok(metrics.clipped > 0 && metrics.layers === 14);
  const wanted = await outputsOf(graph, calibration);
  const errorOf = async (tried: Graph) =>
    relativeError(wanted, await outputsOf(await roundedTrial(tried, narrow, calibration), calibration));
  const [whole, searched] = [await errorOf(graph), await errorOf(clipped)];
  assert.ok(searched < whole, `clipped ${searched}, whole ${whole}`);
  const alone = { ...plainContext({}), calibration };
  await assert.rejects(async () => await clipWeights.run(graph, alone), /to clip for/);
});

Deno.test("a search without later passes that round says that there is nothing to try", async () => {
  const graph = randomDecoder({}, 1);
  const alone = { ...plainContext({}), calibration };
  await assert.rejects(async () => await awq.run(graph, alone), /later pass that quantizes/);
  const searching = { ...plainContext({ search: "model" }), calibration };
  await assert.rejects(async () => await smooth.run(graph, searching), /later passes that quantize/);
});
