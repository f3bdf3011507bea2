/** The tuned WebGPU kernels in Chromium: Tint takes every variant without a warning, and subgroups sum as workgroups do. */

import assert from "node:assert/strict";
import { evaluateGraph, StateMemory } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import { tensorParts } from "../../compiler/ir/tensor.ts";
import { lowerWgsl, type WgslProgram } from "../../targets/wgsl/program.ts";
import { wgslKernels } from "../../targets/wgsl/select.ts";
import { difference, toleranceOf } from "../conformance/compare.ts";
import { hasChromium, openChromiumGpu } from "../support/chromium_gpu.ts";
import { buildDotCase, dotCaseBound, dotCaseName, dotCases } from "../support/dot_cases.ts";
import { randomInputs } from "../support/op_samples.ts";
import { workgroupCases, workgroupGraph } from "../support/workgroup_cases.ts";

if (!hasChromium) console.log('Skipped "kernels in Chromium": needs Debian\'s chromium');

function evaluate(graph: Graph, runs: readonly Readonly<Record<string, Tensor>>[]) {
  const states = new StateMemory(graph.states, graph.symbols);
  return runs.map((inputs) => evaluateGraph(graph, inputs, { states }).outputs);
}

/** The same program with one variant of each shader, that of the given needs where it has one. */
function onlyVariant(program: WgslProgram, subgroups: boolean): WgslProgram {
  if (subgroups) return program;
  const shaders = program.shaders.map((shader) => ({ ...shader, variants: shader.variants.slice(-1) }));
  const steps = program.steps.map((step) => ({
    ...step,
    shader: shaders[program.shaders.indexOf(step.shader)],
    workgroups: step.workgroups.slice(-1),
  }));
  return { ...program, shaders, steps };
}

Deno.test({
  name: "kernels in Chromium agree with the evaluator, with the features of the adapter and with none",
  ignore: !hasChromium,
  fn: async (test) => {
    const gpu = await openChromiumGpu();
    try {
      assert.ok(gpu.features.includes("subgroups"), gpu.features.join());
      for (const subgroups of [true, false]) {
        const on = subgroups ? "with subgroups" : "without features";
        for (const [index, of] of dotCases.entries()) {
          await test.step(`matmul ${on}: ${dotCaseName(of)}`, async () => {
            const { graph, inputs, magnitude } = buildDotCase(of, index + 1);
            const [actual] = await gpu.run(onlyVariant(lowerWgsl(graph, wgslKernels), subgroups), [inputs]);
            const [expected] = evaluate(graph, [inputs]);
            const bound = dotCaseBound(of, magnitude);
            const parts = tensorParts(actual.y);
            tensorParts(expected.y).forEach(({ tensor }, part) => {
              const wrong = Array.from(tensor.data, Number)
                .filter((value, at) => !(Math.abs(Number(parts[part].tensor.data[at]) - value) <= bound));
              assert.equal(wrong.length, 0);
            });
          });
        }
        for (const of of workgroupCases) {
          await test.step(`${of.name} ${on}`, async () => {
            const graph = workgroupGraph(of);
            const runs = (of.runs ?? [{}]).map((symbols, index) => randomInputs(graph, index + 1, symbols));
            const actual = await gpu.run(onlyVariant(lowerWgsl(graph, wgslKernels), subgroups), runs);
            evaluate(graph, runs).forEach((expected, run) => {
              const parts = tensorParts(actual[run].y);
              tensorParts(expected.y).forEach(({ tensor }, part) => {
                assert.equal(difference(parts[part].tensor, tensor, toleranceOf(tensor.element, 1024)), undefined);
              });
            });
          });
        }
      }
    } finally {
      await gpu.close();
    }
  },
});
