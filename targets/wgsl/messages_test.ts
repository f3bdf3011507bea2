/** What the shader compiler of this engine (naga in Deno) says to the shaders of every op and kernel: nothing. */

import assert from "node:assert/strict";
import type { Graph } from "../../compiler/ir/graph.ts";
import { buildDotCase, dotCases } from "../../tests/support/dot_cases.ts";
import { gpuTest } from "../../tests/support/gpu.ts";
import { allSamples } from "../../tests/support/op_samples.ts";
import { workgroupCases, workgroupGraph } from "../../tests/support/workgroup_cases.ts";
import type { GpuFeature } from "./kernel.ts";
import { lowerWgsl } from "./program.ts";
import { gpuDevice } from "./run_program.ts";
import { wgslKernels, wgslLoops } from "./select.ts";

async function messagesOf(device: GPUDevice, code: string): Promise<string[]> {
  device.pushErrorScope("validation");
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
  await device.popErrorScope();
  return messages.map(({ type, message }) => `${type}: ${message}`);
}

function takes(device: GPUDevice, feature: GpuFeature): boolean {
  if (feature !== "packed-dot") return device.features.has(feature);
  return navigator.gpu.wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") ?? false;
}

/** Texts of all variants that the device takes. */
function textsOf(graphs: readonly Graph[], device: GPUDevice): ReadonlySet<string> {
  return new Set(
    graphs.flatMap((graph) => [wgslKernels, wgslLoops].flatMap((choice) => lowerWgsl(graph, choice).shaders))
      .flatMap(({ variants }) => variants)
      .filter(({ needs }) => needs.every((feature) => takes(device, feature)))
      .map(({ text }) => text),
  );
}

await gpuTest("the shader compiler has no messages for the shaders of any op or tuned kernel", async () => {
  const device = await gpuDevice();
  assert.ok(device !== undefined);
  const graphs = [
    ...allSamples().map(({ graph }) => graph),
    ...workgroupCases.map(workgroupGraph),
    ...dotCases.map((of, index) => buildDotCase(of, index + 1).graph),
  ];
  const texts = textsOf(graphs, device);
  assert.ok(texts.size > 100, `${texts.size} shaders`);
  for (const text of texts) assert.deepEqual(await messagesOf(device, text), [], text);
  // The compiler does report: a text with a fault gives a message.
  assert.notDeepEqual(await messagesOf(device, "fn f() -> i32 { return 1.5f; }"), []);
});
