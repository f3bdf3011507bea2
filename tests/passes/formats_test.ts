/** Weights and activations in every format, from the passes to compiled WebAssembly: the codes are the evaluator's. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { compareCodes } from "../../compiler/evaluation/compare_codes.ts";
import { runVariant } from "../../compiler/evaluation/run_variant.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, input, literal } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, isPlain } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { runChecked } from "../../compiler/recipe/apply.ts";
import { quantizeActivations } from "../../passes/quantize/quantize_activations.ts";
import { quantizeWeights } from "../../passes/quantize/quantize_weights.ts";
import { runCompiled } from "../../targets/wasm/run_graph.ts";
import { normalArray } from "../support/random.ts";

const [rows, depth, columns] = [3, 44, 7];

function linear(seed: number, gain: number): Graph {
  const builder = new GraphBuilder("linear");
  const x = builder.input("x", tensorType("f32", [rows, depth]));
  const values = Float32Array.from(normalArray(columns * depth, seed), (value) => gain * value);
  const weights = builder.constant(floatTensor([columns, depth], values));
  const bias = builder.constant(floatTensor([columns], normalArray(columns, seed + 1)));
  builder.output(
    "y",
    builder.add("matmul", [x, weights, bias], { transposeB: true, hasBias: true, result: { kind: "real" } }),
  );
  return builder.finish("float");
}

function sample(seed: number, gain: number) {
  return { x: floatTensor([rows, depth], Float32Array.from(normalArray(rows * depth, seed), (value) => gain * value)) };
}

type Options = Readonly<Record<string, Json>>;

async function quantized(graph: Graph, weights: Options, activations: Options | undefined): Promise<Graph> {
  const held = await runChecked(quantizeWeights, graph, plainContext(weights));
  if (activations === undefined) return held.graph;
  return (await runChecked(quantizeActivations, held.graph, plainContext(activations))).graph;
}

function realOutput(graph: Graph, inputs: ReturnType<typeof sample>): Float32Array {
  const { y } = evaluateGraph(graph, inputs).outputs;
  assert.ok(isPlain(y, "f32"));
  return y.data;
}

interface FormatCase {
  readonly name: string;
  readonly weights: Options;
  readonly activations?: Options;
}

const minifloats = ["e2m1", "e2m3", "e3m2", "e3m4", "e4m3fn", "e4m3fnuz", "e5m2ieee", "e1m2", "e2m0"];

const cases: readonly FormatCase[] = [
  ...minifloats.flatMap((format): FormatCase[] => [
    { name: `${format} weights per channel`, weights: { format } },
    {
      name: `${format} per channel and per token`,
      weights: { format },
      activations: { format, granularity: "token" },
    },
    {
      name: `${format} in MX blocks`,
      weights: { format, granularity: "block", block: 32, step: "e8m0" },
      activations: { format, granularity: "block", block: 32, step: "e8m0" },
    },
  ]),
  ...["e2m1", "e4m3fn", "int4"].map((format): FormatCase => ({
    name: `${format} in blocks of 16 with two-level steps`,
    weights: { format, granularity: "block", block: 16, step: "e4m3fn" },
    activations: { format, granularity: "block", block: 16, step: "e4m3fn" },
  })),
  ...[2, 3, 5, 8].map((bits): FormatCase => ({
    name: `int${bits} in MX blocks`,
    weights: { format: "int8", bits, granularity: "block", block: 32, step: "e8m0" },
    activations: { bits, granularity: "block", block: 32, step: "e8m0" },
  })),
  { name: "nf4 weights", weights: { format: "nf4", granularity: "block", block: 16 } },
];

for (const { name, weights, activations } of cases) {
  Deno.test(`${name}: compiled codes and sums are the evaluator's`, async () => {
    const graph = await quantized(linear(5, 0.3), weights, activations);
    const inputs = sample(9, 2);
    for (const { codes, different, value } of await compareCodes(graph, [inputs], runVariant("simd128"))) {
      assert.ok(codes > 0);
      assert.equal(different, 0, `%${value}`);
    }
    const { y } = await runCompiled(graph, inputs, { variant: "simd128" });
    assert.ok(isPlain(y, "f32"));
    const wanted = realOutput(graph, inputs);
    // Sums over 44 products in another order: each partial sum errs by half an ulp of what is bounded by the absolute sum.
    const bound = depth * 2 ** -23 * wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 8);
    y.data.forEach((value, index) => assert.ok(Math.abs(value - wanted[index]) <= bound, `${value} ${wanted[index]}`));
  });
}

Deno.test("two-level steps give the same numbers at every size of the weights, to powers of two", async () => {
  const options = { format: "e2m1", granularity: "block", block: 16, step: "e4m3fn" };
  const one = realOutput(await quantized(linear(3, 1), options, undefined), sample(4, 1));
  const bias = realOutput(linear(3, 0), sample(4, 1));
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: -40, max: 40 }), async (exponent) => {
      const graph = await quantized(linear(3, 2 ** exponent), options, undefined);
      // The bias is added before the scale: it drowns the products of tiny weights or is drowned, by float32's 24 bits.
      realOutput(graph, sample(4, 1)).forEach((value, index) => {
        const product = (one[index] - bias[index]) * 2 ** exponent;
        const bound = 2 ** -20 * (Math.abs(bias[index]) + 64 * 2 ** exponent);
        assert.ok(Math.abs(value - bias[index] - product) <= bound, `2^${exponent}`);
      });
    }),
    { numRuns: 30 },
  );
});

Deno.test("without its scale of the whole tensor NVFP4 loses weights that its block steps cannot reach", async () => {
  const options = { format: "e2m1", granularity: "block", block: 16, step: "e4m3fn" };
  const bias = realOutput(linear(3, 0), sample(4, 1));
  for (const exponent of [-30, 20]) {
    const graph = await quantized(linear(3, 2 ** exponent), options, undefined);
    const wanted = realOutput(graph, sample(4, 1));
    // The mutant multiplies by 1 where the pass multiplies by the scale.
    const nodes = graph.nodes.map((node) =>
      node.op === "map"
        ? { ...node, attributes: { ...node.attributes, expression: binary("mul", input(0), literal(1)) } }
        : node
    );
    assert.notDeepEqual(nodes, graph.nodes);
    const spoiled = realOutput({ ...graph, nodes }, sample(4, 1));
    assert.ok(spoiled.some((value, index) => {
      const bound = 2 ** -20 * (Math.abs(bias[index]) + 64 * 2 ** exponent);
      return Math.abs(value - wanted[index]) > bound;
    }));
  }
});
