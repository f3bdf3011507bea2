/** Bits of a weight on disk: what its format, its steps and its zero points say, and nothing more where shapes are whole. */

import assert from "node:assert/strict";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { runChecked } from "../../compiler/recipe/apply.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { quantizeActivations } from "../../passes/quantize/quantize_activations.ts";
import { quantizeWeights } from "../../passes/quantize/quantize_weights.ts";
import { sizesOf } from "../../targets/artifact/sizes.ts";
import { wasmTarget } from "../../targets/wasm/target.ts";
import { normalArray } from "../support/random.ts";

const [columns, depth] = [64, 256];

function linear(): Graph {
  const builder = new GraphBuilder("linear");
  const x = builder.input("x", tensorType("f32", [2, depth]));
  const w = builder.constant(floatTensor([columns, depth], normalArray(columns * depth, 1)));
  builder.output("y", builder.add("matmul", [x, w], { transposeB: true, hasBias: false, result: { kind: "real" } }));
  return builder.finish("float");
}

const [filters, channels] = [32, 16];

function convolution(): Graph {
  const builder = new GraphBuilder("conv");
  const x = builder.input("x", tensorType("f32", [1, channels, 6, 6]));
  const w = builder.constant(floatTensor([filters, channels, 3, 3], normalArray(filters * channels * 9, 1)));
  const window = { strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], layout: "channelsFirst" } as const;
  builder.output("y", builder.add("conv", [x, w], { ...window, groups: 1, hasBias: false, result: { kind: "real" } }));
  return builder.finish("float");
}

type Options = Readonly<Record<string, Json>>;

/** Bits on disk of one weight after quantize-weights, with float activations and with int8 ones. */
async function bitsOf(graph: Graph, options: Options): Promise<readonly number[]> {
  const held = (await runChecked(quantizeWeights, graph, plainContext(options))).graph;
  const rounded = (await runChecked(quantizeActivations, held, plainContext({ granularity: "token" }))).graph;
  const bits: number[] = [];
  for (const one of [held, rounded]) {
    let legal = one;
    for (const pass of wasmTarget.legalize) legal = (await runChecked(pass, legal, plainContext({}))).graph;
    const { formats } = sizesOf(legal, wasmTarget.weights(legal));
    const quantized = formats.filter(({ format }) => format !== "f32" && format !== "i32");
    assert.equal(quantized.length, 1);
    bits.push(8 * quantized[0].bytes / quantized[0].parameters);
  }
  return bits;
}

const blocks = { granularity: "block", block: 32 };

const cases: readonly (readonly [name: string, options: Options, bits: number])[] = [
  ...[2, 3, 4, 5, 6].map((bits) => {
    const zero = bits <= 4 ? 4 : 8;
    const options = { format: "int8", bits, symmetric: false, step: "f16", ...blocks };
    return [`uint${bits} with zero points`, options, bits + (16 + zero) / 32] as const;
  }),
  ["int3 per channel", { format: "int3", step: "f16" }, 3 + 16 / depth],
  ["MXFP4", { format: "e2m1", step: "e8m0", ...blocks }, 4 + 8 / 32],
  ["NVFP4", { format: "e2m1", step: "e4m3fn", granularity: "block", block: 16 }, 4 + 8 / 16],
  ["e2m3 per channel", { format: "e2m3" }, 6 + 32 / depth],
  ["e3m2 per channel, in loop form", { format: "e3m2" }, 6 + 32 / depth],
  ["nf4 blocks, in loop form", { format: "nf4", step: "f16", ...blocks }, 4 + 16 / 32],
  ["two-level", {
    format: "int4",
    symmetric: false,
    granularity: "two-level",
    block: 128,
    step: "f16",
  }, 4 + (8 + 4) / 128 + 16 / depth],
];

for (const [name, options, bits] of cases) {
  Deno.test(`${name}: weights.bin holds ${bits} bits a weight`, async () => {
    for (const measured of await bitsOf(linear(), options)) assert.equal(measured, bits);
  });
}

Deno.test("weights of convolutions take the width of their format", async () => {
  for (const [format, width] of [["int3", 3], ["e2m1", 4], ["e3m2", 6]] as const) {
    const [weightsOnly] = await bitsOf(convolution(), { format });
    assert.equal(weightsOnly, width + 32 / (9 * channels));
  }
});
