/** Every real float ONNX model at `as-is` on WebGPU, tuned kernels on, against onnxruntime's outputs. */

import assert from "node:assert/strict";
import { prepareImported } from "../../compiler/driver.ts";
import { importModel } from "../../compiler/import/mod.ts";
import { runOnGpu } from "../../targets/wgsl/run_graph.ts";
import { cosine } from "../support/compare.ts";
import { gpuTest } from "../support/gpu.ts";
import { sharedFile } from "../support/models.ts";
import { runOnnxRuntime } from "../support/onnxruntime.ts";
import { expectOk } from "../support/vision.ts";
import { zoo, zooFile } from "../support/zoo.ts";

/** The bar that the project sets for float models on WebGPU. */
const leastCosine = 0.9999;

for (const model of zoo) {
  const file = zooFile(model);
  const missing = [
    ...(file === undefined ? [model.path] : []),
    ...model.data.filter((path) => sharedFile(path) === undefined),
  ];
  if (file === undefined || missing.length > 0) {
    console.log(`skipped: ${model.name} on WebGPU needs ${missing.join(", ")}`);
    continue;
  }
  await gpuTest(`${model.name} as-is agrees with onnxruntime on WebGPU`, async () => {
    const [sample] = model.samples(1);
    const [expected] = await runOnnxRuntime(file, [sample]);
    const imported = expectOk(await importModel(file, { bind: model.bind }));
    const { graph } = expectOk(await prepareImported(imported, { recipe: "as-is", target: "wgsl" }));
    const actual = await runOnGpu(graph, sample);
    assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort());
    for (const [name, reference] of Object.entries(expected)) {
      const tensor = actual[name];
      assert.ok(tensor.kind === "plain");
      assert.deepEqual(tensor.shape, reference.shape, `shape of ${name}`);
      const agreement = cosine(Float64Array.from(reference.data, Number), Float64Array.from(tensor.data, Number));
      assert.ok(agreement >= leastCosine, `${name} has cosine ${agreement}`);
    }
  });
}
