/** GPTQ over convolutions: unfolded windows give the convolution itself, and the solved weights its output with less error. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, isPlain, type PlainTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { normalArray } from "../../tests/support/random.ts";
import { quantizeWeights } from "../quantize/quantize_weights.ts";

interface Plan {
  readonly seed: number;
  readonly groups: number;
  readonly stride: number;
  readonly dilation: number;
  readonly pads: readonly number[];
}

const channels = 4;
const extent = 9;

const plans: fc.Arbitrary<Plan> = fc.record({
  seed: fc.integer({ min: 1, max: 10000 }),
  groups: fc.constantFrom(1, 2, 4),
  stride: fc.constantFrom(1, 2),
  dilation: fc.constantFrom(1, 2),
  pads: fc.constantFrom([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 2, 0]),
});

/** Two convolutions in a row: the second one is solved on what the solved first one makes. */
function net({ seed, groups, stride, dilation, pads }: Plan): Graph {
  const builder = new GraphBuilder("net");
  const x = builder.input("x", tensorType("f32", [1, channels, extent, extent]));
  const conv = (value: string, index: number) => {
    const weights = floatTensor([channels, channels / groups, 3, 3], normalArray(36 * channels / groups, seed + index));
    const bias = floatTensor([channels], normalArray(channels, seed + 10 + index));
    return builder.add("conv", [value, builder.constant(weights), builder.constant(bias)], {
      strides: [index === 0 ? stride : 1, 1],
      dilations: [1, index === 0 ? dilation : 1],
      pads: index === 0 ? pads : [1, 1, 1, 1],
      layout: "channelsFirst",
      groups,
      hasBias: true,
      result: { kind: "real" },
    }, { name: `conv${index}`, origin: [`conv${index}`] });
  };
  builder.output("y", conv(conv(x, 0), 1));
  return builder.finish();
}

/** Neighbouring pixels are alike, as in images: their sums are what rounding errors of one weight can be paid with. */
function samplesOf(seed: number, count: number): readonly { readonly x: PlainTensor<"f32"> }[] {
  const size = channels * extent * extent;
  return Array.from({ length: count }, (_, index) => {
    const noise = normalArray(size + extent + 1, seed + 100 + index);
    const data = Float32Array.from({ length: size }, (_, at) => noise[at] + noise[at + 1] + noise[at + extent]);
    return { x: floatTensor([1, channels, extent, extent], data) };
  });
}

function output(graph: Graph, sample: { readonly x: PlainTensor<"f32"> }): Float32Array {
  const { y } = evaluateGraph(graph, sample).outputs;
  assert.ok(isPlain(y, "f32"));
  return y.data;
}

function squaredError(graph: Graph, quantized: Graph, samples: readonly { readonly x: PlainTensor<"f32"> }[]): number {
  let sum = 0;
  for (const sample of samples) {
    const actual = output(quantized, sample);
    output(graph, sample).forEach((value, index) => sum += (value - actual[index]) ** 2);
  }
  return sum;
}

async function quantized(graph: Graph, plan: Plan, solver: "nearest" | "gptq", bits: number): Promise<Graph> {
  const options = { bits, solver, samples: 16 };
  return (await quantizeWeights.run(graph, { ...plainContext(options), calibration: samplesOf(plan.seed, 16) })).graph;
}

Deno.test("convolutions solved by gptq have less error than rounded ones, on samples not seen", async () => {
  let [rounded, solved] = [0, 0];
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      const graph = net(plan);
      const fresh = samplesOf(plan.seed + 500, 4);
      const nearest = squaredError(graph, await quantized(graph, plan, "nearest", 3), fresh);
      const gptq = squaredError(graph, await quantized(graph, plan, "gptq", 3), fresh);
      rounded += Math.log(nearest);
      solved += Math.log(gptq);
      // A single net may be unlucky: the sweep is greedy, and the second layer sees another input.
      assert.ok(gptq < 1.5 * nearest, `${gptq} against ${nearest}`);
    }),
    { numRuns: 25, seed: 7 },
  );
  assert.ok(solved < rounded, `${Math.exp((rounded - solved) / 25)} times less`);
});

Deno.test("at 8 bits the second layer, which reads the first one's solved output, is off by rounding alone", async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      const graph = net(plan);
      const samples = samplesOf(plan.seed, 4);
      const signal = samples.reduce((sum, sample) => sum + output(graph, sample).reduce((s, y) => s + y * y, 0), 0);
      // 8 bits of a normal row with a range of 4 deviations: noise (8 / 255)² / 12 of the signal a layer, twice; times 8.
      const bound = 16 * (8 / 255) ** 2 / 12;
      assert.ok(squaredError(graph, await quantized(graph, plan, "gptq", 8), samples) < bound * signal);
    }),
    { numRuns: 10, seed: 3 },
  );
});
