import assert from "node:assert/strict";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { evaluateGraph } from "../../../compiler/ir/evaluate/mod.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import { plainTensor, tensorParts } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { int4, int8, uint8 } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { gpuTest } from "../../../tests/support/gpu.ts";
import { uniform } from "../../../tests/support/random.ts";
import { randomFloats, randomQuantized } from "../../../tests/support/wasm_kernels.ts";
import { startOnGpu } from "../run_graph.ts";

const cases = [
  { format: int8, zeroPoint: false, block: 32, depth: 64, element: "i64" },
  { format: int4, zeroPoint: true, block: 16, depth: 38, element: "i32" },
  { format: uint8, zeroPoint: true, block: "all", depth: 13, element: "i64" },
] as const;

for (const { format, zeroPoint, block, depth, element } of cases) {
  await gpuTest(
    `gathered rows of ${format.bits} bits, ${depth} deep, by ${element}, equal the evaluator's`,
    async () => {
      const random = uniform(depth);
      const scheme: QuantScheme = { format, block: [1, block], step: "f16", zeroPoint, range: "static" };
      const b = new GraphBuilder("gather");
      b.symbol("seq", { min: 1, max: 7 });
      const indices = b.input("indices", tensorType(element, [1, symbolic("seq")]));
      const table = b.constant(randomQuantized(random, [11, depth], scheme));
      b.output("y", b.add("gather", [table, indices], { axis: 0 }));
      const graph = b.finish("quant");
      const running = await startOnGpu(graph);
      assert.match(running.program.steps[0].kernel.id, /^gather\.rows\(/);
      for (const list of [[4], [0, -1, 10, -11, 3]]) {
        const given = element === "i64"
          ? plainTensor("i64", [1, list.length], BigInt64Array.from(list, BigInt))
          : plainTensor("i32", [1, list.length], Int32Array.from(list));
        const [expected] = tensorParts(evaluateGraph(graph, { indices: given }).outputs.y);
        const [actual] = tensorParts((await running.run({ indices: given })).y);
        assert.deepEqual(actual.tensor, expected.tensor);
      }
      running.dispose();
    },
  );
}

await gpuTest("a table that is the head's matrix too lies in the weights once", async () => {
  const random = uniform(3);
  const scheme: QuantScheme = { format: int8, block: [1, 32], step: "f16", zeroPoint: false, range: "static" };
  const b = new GraphBuilder("tied");
  const table = b.constant(randomQuantized(random, [40, 64], scheme));
  const indices = b.input("indices", tensorType("i32", [3]));
  const rows = b.add("gather", [table, indices], { axis: 0 });
  b.output("y", b.add("matmul", [rows, table], { transposeB: true, hasBias: false, result: { kind: "real" } }));
  const running = await startOnGpu(b.finish("quant"));
  const { weights } = running.program;
  assert.equal(weights.length, 1);
  assert.equal(weights[0].bytes.byteLength, 40 * 64 + 2 * 40 * 2);
  running.dispose();
});

await gpuTest("a float table keeps the loop form", async () => {
  const b = new GraphBuilder("float");
  const table = b.constant(randomFloats(uniform(1), [5, 4]));
  b.output("y", b.add("gather", [table, b.input("indices", tensorType("i32", [2]))], { axis: 0 }));
  const running = await startOnGpu(b.finish());
  assert.equal(running.program.steps[0].kernel.id, "loops.gather");
  running.dispose();
});
