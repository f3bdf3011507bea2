/** Every real float ONNX model at `as-is`: the evaluator and compiled WebAssembly against onnxruntime's outputs. */

import assert from "node:assert/strict";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { importModel } from "../../compiler/import/mod.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Tensor } from "../../compiler/ir/tensor.ts";
import { applyRecipe } from "../../compiler/recipe/apply.ts";
import { loadRecipe } from "../../compiler/recipe/load.ts";
import { wasmVariants } from "../../targets/wasm/kernel.ts";
import { runCompiled } from "../../targets/wasm/run_graph.ts";
import { cosine } from "../support/compare.ts";
import { sharedTest } from "../support/models.ts";
import { runOnnxRuntime } from "../support/onnxruntime.ts";
import { zoo, zooFile, type ZooModel } from "../support/zoo.ts";

/** The bar that the project sets for float models. */
const leastCosine = 0.99999;

async function graphOf(model: ZooModel): Promise<Graph> {
  const file = zooFile(model);
  assert.ok(file !== undefined);
  const imported = await importModel(file, { bind: model.bind });
  assert.ok(imported.ok, imported.diagnostics.map(formatDiagnostic).join("\n"));
  const recipe = loadRecipe("as-is");
  assert.ok(recipe.ok);
  const applied = await applyRecipe(imported.value.graph, recipe.value);
  assert.ok(applied.ok, applied.diagnostics.map(formatDiagnostic).join("\n"));
  return applied.value.graph;
}

function assertAgrees(
  runner: string,
  actual: Readonly<Record<string, Tensor>>,
  expected: Readonly<Record<string, Tensor>>,
): void {
  assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort());
  for (const [name, reference] of Object.entries(expected)) {
    const tensor = actual[name];
    assert.ok(tensor.kind === "plain" && reference.kind === "plain");
    assert.deepEqual(tensor.shape, reference.shape, `${runner}: shape of ${name}`);
    const agreement = cosine(Float64Array.from(reference.data, Number), Float64Array.from(tensor.data, Number));
    assert.ok(agreement >= leastCosine, `${runner}: ${name} has cosine ${agreement}`);
  }
}

for (const model of zoo) {
  const needs = [...(model.path.startsWith("npm:") ? [] : [model.path]), ...model.data];
  sharedTest(
    `${model.name} as-is agrees with onnxruntime on the evaluator and on both WebAssembly variants`,
    needs,
    async () => {
      const samples = model.samples(1);
      const [expected] = await runOnnxRuntime(zooFile(model) ?? "", samples);
      const graph = await graphOf(model);
      assertAgrees("evaluator", evaluateGraph(graph, samples[0]).outputs, expected);
      for (const variant of wasmVariants) {
        assertAgrees(`wasm ${variant}`, await runCompiled(graph, samples[0], { variant }), expected);
      }
    },
  );
}
