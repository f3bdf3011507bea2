import assert from "node:assert/strict";
import fc from "fast-check";
import { fuzzParameters, mutate, mutations } from "../../../tests/support/fuzz.ts";
import { changeFields, fieldChanges } from "../../../tests/support/onnx_fields.ts";
import { onnxBytes } from "../../../tests/support/onnx_builder.ts";
import { onnxSeeds } from "../../../tests/support/onnx_seeds.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { evaluateGraph } from "../../ir/evaluate/mod.ts";
import { shapeBound } from "../../ir/extent.ts";
import { type Graph, typeOf } from "../../ir/graph.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { verify } from "../../ir/verify.ts";
import { importOnnxBytes } from "./import_onnx.ts";

const bind = { t: { min: 1, max: 5 } };
const seeds = Object.entries(onnxSeeds).map(([name, spec]) => ({ name, bytes: onnxBytes(spec) }));

function bindOf(name: string): typeof bind | Record<never, never> {
  return name === "shapes" ? bind : {};
}

/** Entries up to which a mutant's graph is also run. */
const runLimit = 1 << 16;

function isSmall(graph: Graph): boolean {
  return [...graph.types.values()].every(({ shape }) => sizeOf(shapeBound(shape, graph.symbols)) <= runLimit);
}

function run(graph: Graph): void {
  const symbols = { seq: 3 };
  const inputs = graph.inputs.map(({ name, value }, index) => {
    return [name, randomTensor(typeOf(graph, value), index + 1, symbols)] as const;
  });
  const { outputs } = evaluateGraph(graph, Object.fromEntries(inputs), { symbols });
  for (const { name, value } of graph.outputs) assert.equal(outputs[name].element, typeOf(graph, value).element);
}

/** A mutant is imported or refused with diagnostics; what is imported is a sound graph, and runs. */
function checkMutant(bytes: Uint8Array, name: string): void {
  const outcome = importOnnxBytes(bytes, { bind: bindOf(name) });
  if (!outcome.ok) {
    assert.ok(outcome.diagnostics.some(({ severity }) => severity === "error"));
    return;
  }
  assert.deepEqual(verify(outcome.value.graph), []);
  if (isSmall(outcome.value.graph)) run(outcome.value.graph);
}

Deno.test("mutated ONNX files give a sound graph or diagnostics", () => {
  const { numRuns, seed } = fuzzParameters("mutated ONNX files", 600);
  fc.assert(
    fc.property(fc.constantFrom(...seeds), mutations, ({ name, bytes }, changes) => {
      checkMutant(mutate(bytes, changes), name);
    }),
    { numRuns, seed },
  );
});

Deno.test("ONNX files with changed fields give a sound graph or diagnostics", () => {
  const { numRuns, seed } = fuzzParameters("ONNX files with changed fields", 600);
  fc.assert(
    fc.property(fc.constantFrom(...seeds), fieldChanges, ({ name, bytes }, changes) => {
      checkMutant(changeFields(bytes, changes), name);
    }),
    { numRuns, seed },
  );
});

for (const { name, bytes } of seeds) {
  Deno.test(`the seed model "${name}" of the fuzz test imports and runs`, () => {
    const outcome = importOnnxBytes(bytes, { bind: bindOf(name) });
    assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
    assert.deepEqual(verify(outcome.value.graph), []);
    run(outcome.value.graph);
  });
}
