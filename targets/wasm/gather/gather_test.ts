import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import { plainTensor } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { int4, int8, intFormat, uint4, uint8 } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertExact, randomQuantized, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { selectKernel } from "../select.ts";
import { selectGather } from "./select.ts";

const cases = fc.record({
  format: fc.constantFrom(int4, uint4, int8, uint8, intFormat(5, false)),
  step: fc.constantFrom("f16", "f32"),
  parameters: fc.constantFrom("none", "zeros", "offsets"),
  blocks: fc.integer({ min: 1, max: 3 }),
  block: fc.constantFrom(8, 16, 32),
  whole: fc.boolean(),
  tail: fc.constantFrom(0, 4),
  count: fc.integer({ min: 1, max: 21 }),
  rows: fc.integer({ min: 1, max: 9 }),
  seed: fc.nat(),
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

function schemeOfCase({ format, step, parameters, block, whole }: Case): QuantScheme {
  const blocks: readonly (number | "all")[] = [1, whole ? "all" : block];
  return {
    format,
    block: blocks,
    zeroPoint: parameters === "zeros",
    step: step === "f16" ? "f16" : "f32",
    range: "static",
    ...(parameters === "offsets" ? { offset: true } : {}),
  };
}

function randomIndices(random: () => number, of: Case): Int32Array<ArrayBuffer> {
  // Both ends, and beyond them.
  return Int32Array.from({ length: of.rows }, () => Math.floor((2 * of.count + 3) * random()) - of.count - 1);
}

Deno.test("gathered rows of a quantized table are the evaluator's, bit for bit", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (of) => {
      const random = uniform(of.seed);
      const depth = of.blocks * of.block + (of.whole ? of.tail : 0);
      const builder = new GraphBuilder("gather");
      builder.symbol("rows", { min: 1, max: 11 });
      const indices = builder.input("indices", tensorType("i32", [1, symbolic("rows")]));
      const table = builder.constant(randomQuantized(random, [of.count, depth], schemeOfCase(of)));
      builder.output("y", builder.add("gather", [table, indices], { axis: 0 }));
      const given = plainTensor("i32", [1, of.rows], randomIndices(random, of));
      assertExact(await runKernels(builder.finish(), { indices: given }, selectGather));
    }),
    { numRuns: 60 },
  );
});

Deno.test("a table that is also the head is stored once", async () => {
  const random = uniform(3);
  const scheme: QuantScheme = { format: int8, block: [1, 32], zeroPoint: false, step: "f16", range: "static" };
  const builder = new GraphBuilder("tied");
  const indices = builder.input("indices", tensorType("i32", [1, 2]));
  const table = builder.constant(randomQuantized(random, [40, 64], scheme));
  const rows = builder.add("gather", [table, indices], { axis: 0 });
  builder.output(
    "y",
    builder.add("matmul", [rows, table], { transposeB: true, hasBias: false, result: { kind: "real" } }),
  );
  const given = plainTensor("i32", [1, 2], Int32Array.of(39, -40));
  const { program } = await runKernels(builder.finish(), { indices: given }, selectKernel);
  assert.equal(program.weights.length, 1);
  // Codes of one byte and steps of two per 32 entries.
  assert.equal(program.weights[0].bytes.byteLength, 40 * 64 + 2 * 40 * 2);
});

Deno.test("what is no table of rows is declined", () => {
  const builder = new GraphBuilder("plain");
  const indices = builder.input("indices", tensorType("i32", [2]));
  const x = builder.input("x", tensorType("f32", [5, 8]));
  builder.output("y", builder.add("gather", [x, indices], { axis: 0 }));
  const graph = builder.finish();
  const [node] = graph.nodes.filter(({ op }) => op === "gather");
  const chosen = selectGather({ main: node }, { graph, symbols: graph.symbols });
  assert.deepEqual(chosen, { declined: "not rows of a constant" });
});
