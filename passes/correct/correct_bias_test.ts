import assert from "node:assert/strict";
import { normalArray } from "../../tests/support/random.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, input, literal } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, isPlain, type PlainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { FloatReference } from "../../compiler/reference/tfjs.ts";
import { everyNode } from "../../compiler/rewrite/selector.ts";
import { calibrate, collectStatistics } from "../calibrate/calibrate.ts";
import { quantizeWeights } from "../quantize/quantize_weights.ts";
import { correctBias } from "./correct_bias.ts";

const shape = [1, 3, 6, 6];

/** Two convolutions with a relu between: its output has a mean, so that weight errors shift what follows. */
function net(): Graph {
  const builder = new GraphBuilder("net");
  const x = builder.input("x", tensorType("f32", shape));
  const conv = (value: string, name: string, seed: number) =>
    builder.add("conv", [value, builder.constant(floatTensor([3, 3, 3, 3], normalArray(81, seed)))], {
      strides: [1, 1],
      dilations: [1, 1],
      pads: [1, 1, 1, 1],
      layout: "channelsFirst",
      groups: 1,
      hasBias: false,
      result: { kind: "real" },
    }, { name });
  const first = builder.map(binary("max", input(0), literal(0)), [conv(x, "first", 1)]);
  const second = builder.map(binary("max", input(0), literal(0)), [conv(first, "second", 2)]);
  builder.output("y", conv(second, "third", 3));
  return builder.finish();
}

const samples = Array.from({ length: 8 }, (_, index) => ({
  x: floatTensor(shape, normalArray(sizeOf(shape), index + 10).map((value) => value + 0.5)),
}));

async function meansOf(graph: Graph): Promise<Float64Array> {
  const reference = await FloatReference.create(graph);
  const sums = new Float64Array(3);
  for (const sample of samples) {
    const { y } = reference.run(sample);
    assert.ok(isPlain(y, "f32"));
    y.data.forEach((value, index) => sums[Math.floor(index / 36)] += value / (36 * samples.length));
  }
  reference.dispose();
  return sums;
}

function distance(a: Float64Array, b: Float64Array): number {
  return Math.max(...a.map((value, index) => Math.abs(value - b[index])));
}

Deno.test("correct-bias brings the mean of every output channel back to the float model's", async () => {
  const context = { options: {}, selector: everyNode, seed: 0, calibration: samples };
  const measured = await calibrate.run(net(), context);
  const coarse = await quantizeWeights.run(net(), { ...context, options: { bits: 3 } });
  assert.ok(measured.statistics !== undefined);
  const corrected = await correctBias.run(coarse.graph, { ...context, statistics: measured.statistics });
  assert.equal(corrected.applied.length, 3);
  const [wanted, before, after] = [await meansOf(net()), await meansOf(coarse.graph), await meansOf(corrected.graph)];
  // Nothing rounds after the last correction: what is left is f32 arithmetic on sums of 27 terms.
  assert.ok(distance(wanted, after) < 1e-4, String(distance(wanted, after)));
  assert.ok(distance(wanted, before) > 0.1, String(distance(wanted, before)));
});

Deno.test("calibrate sees each value that is read and each contraction, with its channels", async () => {
  const statistics = await collectStatistics(net(), samples, samples.slice(0, 2));
  assert.deepEqual([...statistics.values.keys()], ["x", "first", "map", "second", "map_2", "third"]);
  const seen = statistics.values.get("x");
  assert.ok(seen !== undefined);
  const all = samples.flatMap(({ x }: { readonly x: PlainTensor<"f32"> }) => [...x.data]);
  assert.equal(seen.count, all.length);
  assert.equal(seen.min, Math.min(...all));
  assert.equal(seen.max, Math.max(...all));
  assert.equal(seen.channelAxis, 1);
  assert.equal(statistics.values.get("map")?.min, 0);
});
