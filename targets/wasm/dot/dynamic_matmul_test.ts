import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, input } from "../../../compiler/ir/expression.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import { floatTensor, type PlainTensor } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertExact, randomFloats, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { selectDynamicMatmul } from "./dynamic_matmul.ts";

/** Small integers, so that every order of summation gives the same floats. */
function integers(random: () => number, shape: readonly number[]): PlainTensor<"f32"> {
  return floatTensor(shape, randomFloats(random, shape).data.map((value) => Math.round(9 * value)));
}

const cases = fc.record({
  batch: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }),
  shared: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
  dropped: fc.integer({ min: 0, max: 3 }),
  rows: fc.integer({ min: 4, max: 12 }),
  depth: fc.integer({ min: 1, max: 19 }),
  columns: fc.integer({ min: 1, max: 21 }),
  transposeB: fc.boolean(),
  seed: fc.nat(),
});

Deno.test("matmul of two changing operands equals the evaluator for any batches, depths and tails", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async ({ batch, shared, dropped, rows, depth, columns, transposeB, seed }) => {
      const random = uniform(seed);
      const right = batch.map((extent, axis) => (shared[axis] ? 1 : extent)).slice(Math.min(dropped, batch.length));
      const a = integers(random, [...batch, rows, depth]);
      const b = integers(random, [...right, ...(transposeB ? [columns, depth] : [depth, columns])]);
      const builder = new GraphBuilder("dynamic");
      const operands = [builder.input("a", tensorType("f32", a.shape)), builder.input("b", tensorType("f32", b.shape))];
      builder.output("y", builder.add("matmul", operands, { transposeB, hasBias: false, result: { kind: "real" } }));
      assertExact(await runKernels(builder.finish(), { a, b }, selectDynamicMatmul));
    }),
    { numRuns: 60 },
  );
});

Deno.test("matmul of two changing operands runs an epilogue over batches and a dynamic number of rows", async () => {
  const random = uniform(2);
  const builder = new GraphBuilder("scores");
  builder.symbol("seq", { min: 1, max: 7 });
  const rows = symbolic("seq");
  const a = builder.input("a", tensorType("f32", [2, 3, rows, 5]));
  const b = builder.input("b", tensorType("f32", [2, 3, 9, 5]));
  const bias = builder.input("bias", tensorType("f32", [2, 1, 1, 9]));
  const full = builder.input("full", tensorType("f32", [2, 3, rows, 9]));
  const product = builder.add("matmul", [a, b], { transposeB: true, hasBias: false, result: { kind: "real" } });
  const moved = builder.map(binary("add", input(0), input(1)), [product, full]);
  builder.output("y", moved);
  builder.output("unused", bias);
  const graph = builder.finish();
  for (const count of [1, 4, 7]) {
    const inputs = {
      a: integers(random, [2, 3, count, 5]),
      b: integers(random, [2, 3, 9, 5]),
      bias: integers(random, [2, 1, 1, 9]),
      full: integers(random, [2, 3, count, 9]),
    };
    const run = await runKernels(graph, inputs, selectDynamicMatmul);
    assert.equal(run.program.steps.length, 1);
    assertExact(run);
  }
});
