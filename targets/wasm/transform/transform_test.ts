import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import { floatTensor, isPlain } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { orthogonalFactors } from "../../../compiler/numeric/hadamard.ts";
import { uniform } from "../../../tests/support/random.ts";
import { randomFloats, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { wasmVariants } from "../kernel.ts";
import { selectTransform } from "./select.ts";

interface Case {
  readonly core: number;
  readonly doublings: number;
  readonly stride: number;
  readonly runs: number;
  readonly rows: number;
  readonly seed: number;
}

/** Entries of x are below 1, those of the core below 1 / √(core · 2^doublings) · √2 or at most 1. */
function graphOf({ core, doublings, stride, runs }: Case, entries: ArrayLike<number>) {
  const builder = new GraphBuilder("transform");
  builder.symbol("rows", { min: 1, max: 9 });
  const width = core * 2 ** doublings * stride * runs;
  const x = builder.input("x", tensorType("f32", [1, symbolic("rows"), width]));
  const matrix = builder.constant(floatTensor([core, core], entries));
  builder.output("y", builder.add("transform", [x, matrix], { doublings, stride }));
  return builder.finish();
}

/**
 * Both sides round once an addition: `doublings` butterflies and `core` products and sums, over terms that add up to at
 * most Σ |core| 2^doublings. The evaluator rounds once at the end.
 */
async function assertNear(of: Case, entries: ArrayLike<number>): Promise<void> {
  const random = uniform(of.seed);
  const x = randomFloats(random, [1, of.rows, of.core * 2 ** of.doublings * of.stride * of.runs]);
  const run = await runKernels(graphOf(of, entries), { x }, selectTransform);
  const largest = Array.from(entries, Math.abs).reduce((a, b) => Math.max(a, b), 0);
  const roundings = of.doublings + 2 * of.core + 1;
  const bound = roundings * 2 ** -24 / (1 - roundings * 2 ** -24) * largest * of.core * 2 ** of.doublings;
  const { y: expected } = run.expected;
  assert.ok(isPlain(expected, "f32"));
  for (const variant of wasmVariants) {
    const { y } = run.actual[variant];
    assert.ok(isPlain(y, "f32"));
    assert.equal(y.data.length, expected.data.length);
    y.data.forEach((value, index) => {
      const wanted = expected.data[index];
      assert.ok(
        Math.abs(value - wanted) <= bound,
        `${JSON.stringify(of)}, ${variant}: y[${index}] is ${value}, wants ${wanted}`,
      );
    });
  }
}

Deno.test("rotations of the models' widths equal the evaluator's within the bound of their sums", async () => {
  const widths = [[64, 1], [352, 1], [576, 1], [1536, 1], [128, 1], [8, 1], [4, 1], [16, 1], [32, 1], [48, 1]];
  const apart = [[8, 8], [9, 64], [4, 43], [2, 4], [12, 20], [6, 8], [7, 5], [3, 64]];
  for (const [order, stride] of [...widths, ...apart]) {
    const { core, doublings } = orthogonalFactors(order);
    const entries = core.entries.map((entry) => entry / Math.sqrt(order));
    // 4 apart by 43 has no whole vectors to turn, so it is one dense core.
    const dense = stride % 4 !== 0 && stride !== 1 && doublings > 0;
    for (const rows of [1, 3, 9]) {
      const of = dense
        ? { core: order, doublings: 0, stride, runs: 1, rows, seed: order }
        : { core: core.order, doublings, stride, runs: 1, rows, seed: order };
      await assertNear(of, dense ? randomFloats(uniform(5), [order, order]).data : entries);
    }
  }
});

const cases = fc.record({
  core: fc.integer({ min: 1, max: 13 }),
  doublings: fc.integer({ min: 0, max: 7 }),
  stride: fc.constantFrom(1, 4, 5, 7, 8, 11, 12),
  runs: fc.integer({ min: 1, max: 3 }),
  rows: fc.integer({ min: 1, max: 5 }),
  seed: fc.nat(),
}).filter(({ core, doublings, stride }) =>
  (core > 1 || doublings > 0) && (doublings === 0 ? stride >= 4 : stride % 4 === 0 || stride === 1 && doublings >= 2)
);

Deno.test("random cores, widths and strides equal the evaluator's within the bound of their sums", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (of) => {
      await assertNear(of, randomFloats(uniform(of.seed + 1), [of.core, of.core]).data);
    }),
    { numRuns: 60 },
  );
});

Deno.test("what has no whole vectors is declined", () => {
  const reason = (core: number, doublings: number, stride: number) => {
    const graph = graphOf(
      { core, doublings, stride, runs: 1, rows: 1, seed: 0 },
      new Float32Array(core * core).fill(1),
    );
    const [node] = graph.nodes.filter(({ op }) => op === "transform");
    const chosen = selectTransform({ main: node }, { graph, symbols: graph.symbols });
    return "declined" in chosen ? chosen.declined : chosen.id;
  };
  assert.equal(reason(3, 1, 1), "butterflies that are no whole vectors");
  assert.equal(reason(3, 1, 5), "butterflies that are no whole vectors");
  assert.equal(reason(3, 0, 3), "blocks shorter than a vector");
  assert.equal(reason(1, 0, 8), "a multiple");
});
