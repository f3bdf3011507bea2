/** Centring, bias folding, shifts, key smoothing and permutations keep the function; each classic mistake changes it. */

import assert from "node:assert/strict";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { NodeOf } from "../../compiler/ir/node.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { type Pass, type PassResult, plainContext } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { Region, RegionKind, ResidualStream } from "../../compiler/rewrite/region/region.ts";
import { maxRelativeDifference } from "../../tests/support/compare.ts";
import {
  decoderLogits,
  decoderText,
  decoderVariants,
  randomDecoder,
  withLayerNorms,
} from "../../tests/support/decoders.ts";
import { centerResidual, centreStream } from "./center_residual.ts";
import { channelReach } from "./channel_reach.ts";
import { foldNormGain } from "./fold_norm_gain.ts";
import { loudestFirst, permute, permuteRegion } from "./permute.ts";
import { rotate } from "./rotate.ts";
import { scaleRegion } from "./scale_region.ts";
import { shift } from "./shift.ts";
import { shiftRegion } from "./shift_region.ts";
import { smoothKeys } from "./smooth_keys.ts";
import { WeightEditor } from "./weight_editor.ts";

/** As in transform_test.ts: some 20 roundings of 2^-24, amplified some tens of times. */
const bound = 5e-5;
const visible = 1e-3;
const calibration = [1, 2, 3].map(decoderText);

async function run(pass: Pass, graph: Graph, options: Readonly<Record<string, Json>> = {}): Promise<PassResult> {
  return await pass.run(graph, { ...plainContext(options), seed: 3, calibration });
}

function change(before: Graph, after: Graph): number {
  return maxRelativeDifference(decoderLogits(before), decoderLogits(after));
}

function regionsOf(graph: Graph, kind: RegionKind): readonly Region[] {
  return findRegions(graph).regions.filter((region) => region.kind === kind);
}

function normOf(region: Region): NodeOf<"norm"> {
  const [{ node }] = region.sources;
  assert.ok(node.op === "norm");
  return node;
}

for (const [name, variant] of Object.entries(decoderVariants)) {
  Deno.test(`${name}: shifts, key smoothing and permutations keep the function`, async () => {
    for (const seed of [41, 42]) {
      const graph = randomDecoder(variant, seed);
      for (const pass of [shift, smoothKeys, permute]) {
        const { graph: changed, metrics } = await run(pass, graph);
        const [count] = Object.values(metrics);
        assert.ok(count >= 2, `${pass.name} found ${count}`);
        const moved = change(graph, changed);
        assert.ok(moved < bound, `${pass.name} moves the output by ${moved}`);
        assert.notDeepEqual(changed.nodes, graph.nodes);
      }
    }
  });

  // Norms of q and k alone are no ends of the stream.
  if (variant.queryKeyNorms === true) continue;
  Deno.test(`${name}, with layer norms: centring, then folding gains and biases, then rotating keep the function`, async () => {
    const graph = withLayerNorms(randomDecoder(variant, 43), 1);
    const { graph: centred, metrics, declined } = await run(centerResidual, graph);
    if (variant.sandwichNorms === true) {
      assert.match(declined[0].reason, /writes into it/);
      return;
    }
    assert.equal(metrics.centred, 5);
    assert.ok(centred.nodes.every((node) => node.op !== "norm" || node.attributes.kind === "rms"));
    assert.ok(change(graph, centred) < bound, `centring moves the output by ${change(graph, centred)}`);
    const { graph: folded, metrics: counts } = await run(foldNormGain, centred);
    assert.equal(counts.folded, 5);
    assert.ok(folded.nodes.every((node) => node.op !== "norm" || node.inputs.length === 1));
    assert.ok(change(graph, folded) < bound, `folding moves the output by ${change(graph, folded)}`);
    const { graph: rotated, metrics: turned } = await run(rotate, folded);
    assert.ok(turned.rotated >= 3);
    assert.ok(change(graph, rotated) < bound, `rotating moves the output by ${change(graph, rotated)}`);
  });
}

Deno.test("centring an RMS norm model is declined; done anyhow, it changes the function", async () => {
  const graph = randomDecoder({}, 44);
  const { graph: same, declined } = await run(centerResidual, graph);
  assert.equal(same, graph);
  assert.match(declined[0].reason, /is an RMS norm: it sees the mean/);
  // What tools do that take every model for a layer norm model: the stream's writers, found past the refusal.
  const stream = findRegions((await run(foldNormGain, graph)).graph).residual;
  assert.ok(stream !== undefined);
  assert.ok(change(graph, centreStream(new WeightEditor(graph), stream)) > visible);
});

Deno.test("centring that forgets one writer or one bias changes the function", () => {
  const graph = withLayerNorms(randomDecoder({ biases: { queryKeyValue: true, output: true, mlp: true } }, 45), 1);
  const whole = streamOf(graph);
  for (const end of ["writers", "biases"] as const) {
    const forgetful = { ...whole, [end]: whole[end].slice(1) };
    assert.ok(change(graph, centreStream(new WeightEditor(graph), forgetful)) > visible, end);
  }
});

/** The stream of a layer norm decoder, by the RMS norm model of the same weights. */
function streamOf(graph: Graph): ResidualStream {
  const editor = new WeightEditor(graph);
  for (const node of graph.nodes) {
    if (node.op === "norm") {
      editor.override(node, { ...node, inputs: [node.inputs[0]], attributes: { ...node.attributes, kind: "rms" } });
    }
  }
  const { residual } = findRegions(editor.finish());
  assert.ok(residual !== undefined);
  return { ...residual, norms: graph.nodes.filter((node) => node.op === "norm") };
}

Deno.test("a shift without the correction of one reader changes the function", () => {
  const graph = randomDecoder({}, 46);
  const [region] = regionsOf(graph, "norm");
  const by = Float64Array.from({ length: region.channels }, (_, channel) => 0.3 + 0.05 * channel);
  const shifted = (sinks: Region["sinks"]) => {
    const editor = new WeightEditor(graph);
    shiftRegion(editor, { ...region, sinks }, normOf(region), by);
    return editor.finish();
  };
  assert.ok(change(graph, shifted(region.sinks)) < bound);
  assert.ok(change(graph, shifted(region.sinks.slice(1))) > visible);
  assert.ok(change(graph, shifted([])) > visible);
});

Deno.test("after a shift every channel behind a norm is centred", async () => {
  const { graph } = await run(shift, randomDecoder({}, 47));
  const norms = regionsOf(graph, "norm");
  const reach = await channelReach(graph, norms, calibration, 0);
  for (const { low, high } of reach.values()) {
    low.forEach((value, channel) => assert.ok(Math.abs(value + high[channel]) < 1e-5));
  }
});

Deno.test("a gain that is stored as an offset, and scaled as if it were the gain, changes the function", () => {
  // y = n (1 + w): w / s is not (1 + w) / s.
  const graph = randomDecoder({ gainOffset: 1 }, 48);
  const [region] = regionsOf(graph, "norm");
  const factors = Float64Array.from({ length: region.channels }, (_, channel) => 1.5 + (channel % 3) / 2);
  const editor = new WeightEditor(graph);
  const { entries } = editor.tensor(region.sources[0]);
  entries.forEach((gain, channel) => entries[channel] = (gain - 1) / factors[channel] + 1);
  for (const sink of region.sinks) editor.scale(sink, factors);
  assert.ok(change(graph, editor.finish()) > visible);
});

Deno.test("the gain of another norm of a sandwich, or a scale that divides q and k alike, changes the function", () => {
  const sandwich = randomDecoder(decoderVariants["gemma2, sandwich norms"], 49);
  const [first, second] = regionsOf(sandwich, "norm");
  const swapped = new WeightEditor(sandwich);
  const factors = Float64Array.from({ length: first.channels }, (_, channel) => 1.5 + (channel % 3) / 2);
  scaleRegion(swapped, { ...first, sources: second.sources }, factors);
  assert.ok(change(sandwich, swapped.finish()) > visible);
  const graph = randomDecoder({}, 50);
  const [scores] = regionsOf(graph, "queryKey");
  const both = new WeightEditor(graph);
  const halves = new Float64Array(scores.channels).fill(2);
  for (const place of [...scores.sources, ...scores.sinks]) both.scale(place, halves.map((factor) => 1 / factor));
  assert.ok(change(graph, both.finish()) > visible);
});

Deno.test("permuting without the gate's rows, or value channels across heads, changes the function", () => {
  const graph = randomDecoder({}, 51);
  const [upDown] = regionsOf(graph, "upDown");
  const backwards = Int32Array.from({ length: upDown.channels }, (_, index) => upDown.channels - 1 - index);
  const gateless = new WeightEditor(graph);
  permuteRegion(gateless, [...upDown.sources, ...upDown.sinks], backwards);
  assert.ok(change(graph, gateless.finish()) > visible);
  const [values] = regionsOf(graph, "valueOutput");
  const across = new WeightEditor(graph);
  const mixed = Int32Array.from({ length: values.channels }, (_, index) => values.channels - 1 - index);
  permuteRegion(across, [...values.sources, ...values.sinks], mixed);
  assert.ok(change(graph, across.finish()) > visible);
});

Deno.test("permuted channels come loudest first, in their runs", async () => {
  assert.deepEqual([...loudestFirst([1, 3, 2, 9, 9, 8], 3)], [1, 2, 0, 3, 4, 5]);
  const { graph } = await run(permute, randomDecoder({}, 52));
  const downs = regionsOf(graph, "upDown");
  const reach = await channelReach(graph, downs, calibration, 0);
  for (const { largest } of reach.values()) {
    largest.forEach((value, channel) => assert.ok(channel === 0 || value <= largest[channel - 1] * (1 + 1e-5)));
  }
});

Deno.test("smoothed keys reach evenly over rotated pairs", async () => {
  const graph = randomDecoder({}, 53);
  const spreadOf = (reach: Float64Array) => Math.max(...reach) / Math.min(...reach);
  const keys = regionsOf(graph, "queryKey");
  const before = await channelReach(graph, keys, calibration, 0);
  const { graph: changed } = await run(smoothKeys, graph, { alpha: 1 });
  const after = await channelReach(changed, regionsOf(changed, "queryKey"), calibration, 0);
  for (const { largest } of before.values()) assert.ok(spreadOf(largest) > 1.2);
  for (const { largest } of after.values()) assert.ok(spreadOf(largest) < 1.00001);
});

Deno.test("readers without a bias get one when a norm's bias folds into them", async () => {
  const graph = withLayerNorms(randomDecoder({}, 54), 2);
  const { graph: folded, metrics } = await run(foldNormGain, graph);
  assert.equal(metrics.folded, 5);
  const biased = folded.nodes.filter((node) => node.op === "matmul" && node.attributes.hasBias);
  // q, k, v, gate and up of two layers, and the head; not the output and down projections.
  assert.equal(biased.length, 11);
  assert.ok(change(graph, folded) < bound);
});
