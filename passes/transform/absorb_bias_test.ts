/** Absorption is exact where every entry is above the amount, moves sums by at most what it states, and each mistake shows. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { binary, input, literal } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, isPlain, type PlainTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { everyNode } from "../../compiler/rewrite/selector.ts";
import { assertWithMutants } from "../../tests/support/mutants.ts";
import { normalArray } from "../../tests/support/random.ts";
import { collectStatistics } from "../calibrate/calibrate.ts";
import { absorbBias } from "./absorb_bias.ts";

interface Plan {
  readonly seed: number;
  /** Added to the first layer's biases: far above zero nothing is clipped, near it much is. */
  readonly height: number;
  readonly limit: number | undefined;
}

const channels = 3;
const shape = [1, 2, 3, 3];

type Fault = "next bias kept" | "limit kept" | "amounts turned about";

/** x -> conv -> ReLU (with limits) -> conv, with `amounts` moved from the first bias to the second as the pass ought to. */
function net(
  { seed, height, limit }: Plan,
  amounts: readonly number[] = [0, 0, 0],
  fault: Fault | "none" = "none",
): Graph {
  const builder = new GraphBuilder("net");
  const x = builder.input("x", tensorType("f32", shape));
  const conv = (value: string, weights: PlainTensor<"f32">, bias: readonly number[], name: string) =>
    builder.add("conv", [value, builder.constant(weights), builder.constant(floatTensor([bias.length], bias))], {
      strides: [1, 1],
      dilations: [1, 1],
      pads: [0, 0, 0, 0],
      layout: "channelsFirst",
      groups: 1,
      hasBias: true,
      result: { kind: "real" },
    }, { name, origin: [name] });
  const turned = fault === "amounts turned about" ? [...amounts].reverse() : amounts;
  const first = floatTensor([channels, 2, 1, 1], normalArray(2 * channels, seed));
  const second = floatTensor([2, channels, 1, 1], normalArray(2 * channels, seed + 1));
  const h = conv(x, first, amounts.map((amount, index) => height + index - amount), "first");
  const relu = binary("max", input(0), literal(0));
  const limits = amounts.map((amount) => (limit ?? 0) - (fault === "limit kept" ? 0 : amount));
  const r = limit === undefined
    ? builder.map(relu, [h])
    : builder.map(binary("min", relu, input(1)), [h, builder.constant(floatTensor([channels, 1, 1], limits))]);
  const extra = [0, 1].map((row) =>
    fault === "next bias kept"
      ? 0
      : turned.reduce((sum, amount, channel) => sum + second.data[row * channels + channel] * amount, 0)
  );
  builder.output("y", conv(r, second, extra, "second"));
  return builder.finish();
}

function samplesOf({ seed }: Plan): readonly { readonly x: PlainTensor<"f32"> }[] {
  return [0, 1, 2, 3].map((index) => ({ x: floatTensor(shape, normalArray(18, seed + 10 + index)) }));
}

function outputs(graph: Graph, plan: Plan): number[] {
  return samplesOf(plan).flatMap((sample) => {
    const { y } = evaluateGraph(graph, sample).outputs;
    assert.ok(isPlain(y, "f32"));
    return [...y.data];
  });
}

async function absorbed(plan: Plan): Promise<{ readonly graph: Graph; readonly amounts: readonly number[] }> {
  const graph = net(plan);
  const statistics = await collectStatistics(graph, samplesOf(plan), []);
  const { graph: after } = await absorbBias.run(graph, { ...plainContext(), selector: everyNode, statistics });
  const seen = statistics.values.get("first");
  assert.ok(seen !== undefined);
  const amounts = [...seen.channelMean].map((mean, channel) =>
    Math.min(plan.limit ?? Infinity, Math.max(0, mean - 3 * Math.sqrt(seen.channelMeanSquare[channel] - mean ** 2)))
  );
  return { graph: after, amounts };
}

const plans = (height: fc.Arbitrary<number>): fc.Arbitrary<Plan> =>
  fc.record({ seed: fc.integer({ min: 1, max: 10000 }), height, limit: fc.constantFrom(undefined, 13) });

/** Sums of at most 3 + 2 terms below 64 in f32, in both graphs: 12 roundings of 64 · 2^-24. */
const rounding = 12 * 64 * 2 ** -24;

Deno.test("absorbing is exact while no entry falls below the amount; each mistake is seen", () => {
  assertWithMutants(
    plans(fc.constant(12)),
    ["next bias kept", "limit kept", "amounts turned about"] as const,
    (plan, mutant) => {
      const amounts = [5, 6, 7].map((amount, index) => Math.min(amount, lowestOf(plan)[index]));
      const actual = outputs(net(plan, amounts, mutant), plan);
      outputs(net(plan), plan).forEach((value, index) => assert.ok(Math.abs(actual[index] - value) <= rounding));
    },
    60,
  );
});

/** The smallest value of every channel before its ReLU, zero at least. */
function lowestOf(plan: Plan): number[] {
  const first = normalArray(2 * channels, plan.seed);
  return Array.from({ length: channels }, (_, channel) => {
    const values = samplesOf(plan).flatMap(({ x }) =>
      Array.from(
        { length: 9 },
        (_, at) => first[2 * channel] * x.data[at] + first[2 * channel + 1] * x.data[9 + at] + plan.height + channel,
      )
    );
    return Math.max(0, Math.min(...values));
  });
}

Deno.test("the pass moves mean - 3 deviations, and sums by no more than the weights times the amounts", async () => {
  await fc.assert(
    fc.asyncProperty(plans(fc.double({ min: 0, max: 12, noNaN: true })), async (plan) => {
      const { graph, amounts } = await absorbed(plan);
      const wanted = outputs(net(plan, amounts), plan);
      const actual = outputs(graph, plan);
      actual.forEach((value, index) => assert.ok(Math.abs(value - wanted[index]) <= rounding));
      const second = normalArray(2 * channels, plan.seed + 1);
      const float = outputs(net(plan), plan);
      float.forEach((value, index) => {
        const row = Math.floor(index / 9) % 2;
        const most = amounts.reduce((sum, amount, c) => sum + Math.abs(second[row * channels + c]) * amount, 0);
        assert.ok(Math.abs(actual[index] - value) <= most + rounding);
      });
    }),
    { numRuns: 40 },
  );
});
