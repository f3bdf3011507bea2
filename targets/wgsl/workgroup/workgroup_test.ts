import assert from "node:assert/strict";
import { evaluateGraph, StateMemory } from "../../../compiler/ir/evaluate/mod.ts";
import { tensorParts } from "../../../compiler/ir/tensor.ts";
import { difference, toleranceOf } from "../../../tests/conformance/compare.ts";
import { gpuTest } from "../../../tests/support/gpu.ts";
import { randomInputs } from "../../../tests/support/op_samples.ts";
import { workgroupCases, workgroupGraph } from "../../../tests/support/workgroup_cases.ts";
import { kernelFamilies } from "../kernels.ts";
import { startOnGpu } from "../run_graph.ts";
import { selectWorkgroup } from "./select.ts";

for (const sample of workgroupCases) {
  await gpuTest(`${sample.name} in a workgroup agrees with the evaluator`, async () => {
    const graph = workgroupGraph(sample);
    const running = await startOnGpu(graph);
    assert.ok(running.program.steps.some(({ kernel }) => kernel.id.startsWith("workgroup.")), "the loop form ran");
    const states = new StateMemory(graph.states, graph.symbols);
    for (const [index, symbols] of (sample.runs ?? [{}]).entries()) {
      const inputs = randomInputs(graph, index + 1, symbols);
      const { outputs } = evaluateGraph(graph, inputs, { states });
      const actual = await running.run(inputs);
      const parts = tensorParts(actual.y);
      tensorParts(outputs.y).forEach(({ role, tensor }, part) => {
        // No sum has more terms than the longest row of the samples.
        const tolerance = toleranceOf(tensor.element, 1024);
        assert.equal(difference(parts[part].tensor, tensor, tolerance), undefined, role);
      });
    }
    running.dispose();
  });
}

Deno.test("every op of the family has a sample", () => {
  const family = kernelFamilies.find(({ select }) => select === selectWorkgroup);
  assert.deepEqual(new Set(workgroupCases.map(({ op }) => op)), new Set(family?.ops));
});
