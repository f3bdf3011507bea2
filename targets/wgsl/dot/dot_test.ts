import assert from "node:assert/strict";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { evaluateGraph } from "../../../compiler/ir/evaluate/mod.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import { tensorParts } from "../../../compiler/ir/tensor.ts";
import { quantizedType } from "../../../compiler/ir/types.ts";
import { int4, int8 } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { buildDotCase, dotCaseBound, dotCaseName, dotCases } from "../../../tests/support/dot_cases.ts";
import { gpuTest } from "../../../tests/support/gpu.ts";
import { uniform } from "../../../tests/support/random.ts";
import { randomQuantized } from "../../../tests/support/wasm_kernels.ts";
import { runOnGpu, startOnGpu } from "../run_graph.ts";

for (const [index, of] of dotCases.entries()) {
  await gpuTest(`matmul on the GPU: ${dotCaseName(of)}`, async () => {
    const { graph, inputs, magnitude } = buildDotCase(of, index + 1);
    const running = await startOnGpu(graph);
    const ids = running.program.steps.map(({ kernel }) => kernel.id);
    assert.ok(ids[0].startsWith(`matmul.${of.form}(`), ids.join());
    assert.equal(running.program.steps.length, ids.length);
    const expected = evaluateGraph(graph, inputs).outputs.y;
    const actual = (await running.run(inputs)).y;
    running.dispose();
    const bound = dotCaseBound(of, magnitude);
    const parts = tensorParts(actual);
    tensorParts(expected).forEach(({ role, tensor }, part) => {
      assert.equal(parts[part].role, role);
      const wrong = Array.from(tensor.data, Number).flatMap((value, at) => {
        const got = Number(parts[part].tensor.data[at]);
        return Math.abs(got - value) <= bound ? [] : [[at, got, value]];
      });
      assert.deepEqual(wrong.slice(0, 3), [], `${role}: ${wrong.length} of ${tensor.data.length} differ`);
    });
  });
}

await gpuTest("rows of a run choose between few columns of one row and tiles: one dispatch does the work", async () => {
  const random = uniform(5);
  const b = new GraphBuilder("rows");
  b.symbol("seq", { min: 1, max: 20 });
  const scheme: QuantScheme = { format: int4, block: [1, 32], step: "f16", zeroPoint: false, range: "static" };
  const left: QuantScheme = { format: int8, block: [1, 1, "all"], step: "f32", zeroPoint: false, range: "static" };
  const x = b.input("x", quantizedType(left, [1, symbolic("seq"), 64]));
  const w = b.constant(randomQuantized(random, [40, 64], scheme));
  b.output("y", b.add("matmul", [x, w], { transposeB: true, hasBias: false, result: { kind: "real" } }));
  const graph = b.finish("quant");
  for (const rows of [1, 4, 5, 17]) {
    const inputs = { x: randomQuantized(random, [1, rows, 64], left) };
    const [expected] = tensorParts(evaluateGraph(graph, inputs).outputs.y);
    const [actual] = tensorParts((await runOnGpu(graph, inputs)).y);
    assert.deepEqual(actual.tensor.data, expected.tensor.data);
  }
});
