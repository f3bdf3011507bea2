/** Packed kernels against the evaluator: every width, entry and step, with tails. */

import assert from "node:assert/strict";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import type { ContractionResult } from "../../../compiler/ir/node.ts";
import { floatTensor, type PlainTensor, type QuantizedTensor, type Tensor } from "../../../compiler/ir/tensor.ts";
import { quantizedType, type TensorType, tensorType } from "../../../compiler/ir/types.ts";
import {
  int4,
  int8,
  intFormat,
  type NumberFormat,
  parseFormat,
  uint4,
  uint8,
} from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme, StepFormat } from "../../../compiler/numeric/scheme.ts";
import { encodeTensor } from "../../../passes/quantize/encode_tensor.ts";
import { normalArray, uniform } from "../../../tests/support/random.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { assertExact, randomFloats, randomQuantized, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { wasmVariants } from "../kernel.ts";
import { selectMatmul } from "./matmul.ts";

function scheme(
  format: NumberFormat,
  block: QuantScheme["block"],
  zeroPoint = false,
  step: StepFormat = "f32",
): QuantScheme {
  return { format, block, step, zeroPoint, range: "static" };
}

function named(name: string): NumberFormat {
  const format = parseFormat(name);
  assert.ok(format !== undefined, name);
  return format;
}

function matmul(x: TensorType, w: Tensor, result: ContractionResult = { kind: "real" }): Graph {
  const builder = new GraphBuilder("packed");
  const operands = [builder.input("x", x), builder.constant(w)];
  builder.output("y", builder.add("matmul", operands, { transposeB: true, hasBias: false, result }));
  return builder.finish("quant");
}

/** Runs the product of the tuned kernel and compares every bit; the kernel must be of the packed family. */
async function check(x: Tensor, type: TensorType, w: Tensor, result?: ContractionResult): Promise<void> {
  const run = await runKernels(matmul(type, w, result), { x }, selectMatmul);
  assert.match(run.program.steps[0].kernel.id, /^matmul\.packed\(/);
  assertExact(run);
}

/** Weights near a normal, encoded: what a pass makes, with every code in use. */
function encoded(rows: number, depth: number, of: QuantScheme, seed: number): QuantizedTensor {
  return encodeTensor(floatTensor([rows, depth], normalArray(rows * depth, seed)), { scheme: of, clip: "none" });
}

const widths = [1, 2, 3, 5, 6, 7];
const shapes: readonly (readonly [rows: number, depth: number, columns: number, block: number | "all"])[] = [
  [1, 64, 8, 32],
  [3, 70, 13, 32],
  [7, 44, 3, "all"],
  [2, 172, 21, 48],
  [6, 16, 9, 16],
];

for (const width of widths) {
  for (const signed of [false, true]) {
    Deno.test(`${signed ? "" : "u"}int${width} codes by 8-bit codes are the evaluator's integers`, async () => {
      for (const [index, [rows, depth, columns, block]] of shapes.entries()) {
        for (const zero of [false, true]) {
          // The centred codes of one width more leave 8 bits at width 8 alone.
          const random = uniform(100 * width + index);
          const left = scheme(zero ? uint8 : int8, [1, "all"], zero);
          const right = scheme(intFormat(width, signed), [1, block], zero, index % 2 === 0 ? "f32" : "f16");
          const w = randomQuantized(random, [columns, depth], right);
          await check(randomQuantized(random, [rows, depth], left), quantizedType(left, [rows, depth]), w);
        }
      }
    });
  }
}

Deno.test("integer sums of packed codes are exact", async () => {
  for (const width of widths) {
    const left = scheme(uint8, ["all", "all"], true);
    const right = scheme(intFormat(width, true), [1, "all"], true);
    const random = uniform(width);
    const w = randomQuantized(random, [11, 83], right);
    const x = randomQuantized(random, [4, 83], left);
    await check(x, quantizedType(left, [4, 83]), w, { kind: "accumulator" });
  }
});

const smallFloats = ["e2m1", "e1m2", "e1m1", "e2m0", "e2m2", "e2m3", "e1m4", "e3m0", "e1m3"];

for (const name of smallFloats) {
  Deno.test(`${name} codes by ${name} and by int8 codes are the evaluator's sums`, async () => {
    const format = named(name);
    for (const [index, [rows, depth, columns, block]] of shapes.entries()) {
      const step = (["e8m0", "e4m3fn", "f16", "bf16", "f32"] as const)[index];
      const w = randomTensor(quantizedType(scheme(format, [1, block], false, step), [columns, depth]), index);
      for (
        const left of [
          scheme(int8, [1, "all"]),
          scheme(format, [1, block], false, step),
          scheme(format, ["all", "all"]),
        ]
      ) {
        const type = quantizedType(left, [rows, depth]);
        await check(randomTensor(type, index + 7), type, w);
      }
    }
  });
}

Deno.test("int4 and int8 codes by rows with blocks of their own are the evaluator's integers", async () => {
  for (const format of [int4, int8, intFormat(3, true)]) {
    for (const wide of [true, false]) {
      const type = quantizedType(scheme(int8, [1, 32]), [3, 80]);
      const w = encoded(9, 80, scheme(format, [1, wide ? "all" : 32]), 5);
      await check(randomTensor(type, 3), type, w);
    }
  }
});

function twoLevel(block: number | "all", zero: boolean, step: StepFormat = "f16"): QuantScheme {
  return { ...scheme(zero ? uint4 : int4, [1, block], zero, "u8"), outer: { block: [1, "all"], step } };
}

Deno.test("two-level codes by 8-bit codes are the evaluator's integers", async () => {
  for (const [index, [rows, depth, columns, block]] of shapes.entries()) {
    for (const zero of [false, true]) {
      for (const step of ["f16", "f32", "bf16"] as const) {
        const left = scheme(zero ? uint8 : int8, [1, "all"], zero);
        const type = quantizedType(left, [rows, depth]);
        await check(randomTensor(type, index), type, encoded(columns, depth, twoLevel(block, zero, step), index));
      }
    }
  }
});

Deno.test("two-level codes whose entries leave 8 bits are declined", async () => {
  const type = quantizedType(scheme(int8, [1, "all"]), [2, 64]);
  const w = encoded(8, 64, twoLevel(32, true), 3);
  const x = randomTensor(type, 1);
  const steps = { ...w.steps, data: w.steps.data.map(() => 40) };
  await assert.rejects(runKernels(matmul(type, { ...w, steps }), { x }, selectMatmul), /leave 8 bits/);
});

function floats(tensor: Tensor): Float32Array {
  assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
  return tensor.data;
}

Deno.test("f32 rows by packed codes stay within the rounding bound", async () => {
  const cases: readonly (readonly [string, QuantScheme])[] = [
    ...widths.map((width) => [`int${width}`, scheme(intFormat(width, false), [1, 32], true, "f16")] as const),
    ...smallFloats.map((name) => [name, scheme(named(name), [1, 16], false, "e4m3fn")] as const),
    ["e2m1 in MX blocks", scheme(named("e2m1"), [1, 32], false, "e8m0")],
    ["two-level", twoLevel(32, true)],
    ["two-level, signed", twoLevel("all", false)],
  ];
  for (const [name, right] of cases) {
    for (const [rows, depth, columns] of [[1, 64, 8], [6, 76, 11]] as const) {
      const w = encoded(columns, depth, right, depth);
      const x: PlainTensor<"f32"> = randomFloats(uniform(rows), [rows, depth]);
      const run = await runKernels(matmul(tensorType("f32", [rows, depth]), w), { x }, selectMatmul);
      assert.match(run.program.steps[0].kernel.id, /^matmul\.packed-weights\(/, name);
      // Entries are normal numbers of at most 6 in magnitude; no sum meets more than depth + 4 roundings of 2^-24.
      const bound = (depth + 4) * 2 ** -24 * 6 * depth;
      for (const variant of wasmVariants) {
        const wanted = floats(run.expected.y);
        floats(run.actual[variant].y).forEach((value, at) => {
          assert.ok(Math.abs(value - wanted[at]) <= bound, `${name}: ${value} ${wanted[at]}`);
        });
      }
    }
  }
});
