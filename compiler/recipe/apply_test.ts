import assert from "node:assert/strict";
import { normalArray } from "../../tests/support/random.ts";
import { InvariantError } from "../diagnostics.ts";
import { passes } from "../../passes/mod.ts";
import { GraphBuilder } from "../ir/build.ts";
import { evaluateGraph } from "../ir/evaluate/mod.ts";
import { binary, input, literal } from "../ir/expression.ts";
import type { Graph } from "../ir/graph.ts";
import { printGraph } from "../ir/print.ts";
import { floatTensor } from "../ir/tensor.ts";
import { tensorType } from "../ir/types.ts";
import { definePass, plainContext } from "../rewrite/pass.ts";
import { applyRecipe, runChecked } from "./apply.ts";
import { builtinRecipes } from "./builtin.ts";
import { loadRecipe, parseRecipe } from "./load.ts";
import type { Recipe } from "./schema.ts";

function recipeOf(text: string): Recipe {
  const outcome = parseRecipe(text, "mine.jsonc");
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  return outcome.value;
}

/** Two linear layers with a relu between. */
function perceptron(): Graph {
  const builder = new GraphBuilder("perceptron");
  const x = builder.input("x", tensorType("f32", [1, 8]));
  const linear = (value: string, rows: number, columns: number, origin: string) =>
    builder.add("matmul", [value, builder.constant(floatTensor([rows, columns], normalArray(rows * columns, rows)))], {
      transposeB: false,
      hasBias: false,
      result: { kind: "real" },
    }, { origin: [origin] });
  const hidden = linear(x, 8, 16, "first");
  const active = builder.map(binary("max", input(0), literal(0)), [hidden], { origin: ["relu"] });
  builder.output("y", linear(active, 16, 4, "second"));
  return builder.finish();
}

const samples = Array.from({ length: 6 }, (_, index) => ({ x: floatTensor([1, 8], normalArray(8, index + 1)) }));

Deno.test("applyRecipe runs every shipped recipe, and the resolved recipe gives the same graph again", async () => {
  for (const name of builtinRecipes) {
    const recipe = loadRecipe(name);
    assert.ok(recipe.ok);
    const first = await applyRecipe(perceptron(), recipe.value, { calibration: samples });
    assert.ok(first.ok, JSON.stringify(first.diagnostics));
    assert.equal(first.value.log.length, first.value.recipe.passes.length);
    const again = await applyRecipe(perceptron(), first.value.recipe, { calibration: samples });
    assert.ok(again.ok);
    assert.equal(printGraph(again.value.graph), printGraph(first.value.graph), name);
  }
});

Deno.test("as-is leaves the function of a float graph as it was, bit for bit", async () => {
  const recipe = loadRecipe("as-is");
  assert.ok(recipe.ok);
  const outcome = await applyRecipe(perceptron(), recipe.value);
  assert.ok(outcome.ok);
  for (const sample of samples) {
    assert.deepEqual(evaluateGraph(outcome.value.graph, sample).outputs, evaluateGraph(perceptron(), sample).outputs);
  }
});

Deno.test("applyRecipe reports progress that only grows and ends at 1", async () => {
  const recipe = loadRecipe("w8a8-static");
  assert.ok(recipe.ok);
  const seen: number[] = [];
  const outcome = await applyRecipe(perceptron(), recipe.value, {
    calibration: samples,
    onProgress: ({ fraction }) => seen.push(fraction),
  });
  assert.ok(outcome.ok);
  assert.ok(seen.every((fraction, index) => index === 0 || fraction >= seen[index - 1]));
  assert.equal(seen.at(-1), 1);
});

Deno.test("a selector that matches nothing is an error with its place and the nearest name", async () => {
  const recipe = recipeOf(`{ "recipe": 1, "passes": [{ "use": "quantize-weights", "ignore": ["secnd"] }] }`);
  const outcome = await applyRecipe(perceptron(), recipe);
  assert.ok(!outcome.ok);
  const [fault] = outcome.diagnostics;
  assert.equal(fault.code, "Q0306");
  assert.match(fault.node ?? "", /mine.jsonc:1:\d+ \(offset \d+\)/);
  assert.equal(fault.help, 'Did you mean "second"?');
});

Deno.test("selectors choose nodes by name, by pattern and by op", async () => {
  const weightsOf = async (selectors: string) => {
    const recipe = recipeOf(`{ "recipe": 1, "passes": [{ "use": "quantize-weights", ${selectors} }] }`);
    const outcome = await applyRecipe(perceptron(), recipe);
    assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
    const { graph } = outcome.value;
    return graph.nodes.filter((node) => node.op === "matmul")
      .map((node) => graph.types.get(node.inputs[1])?.encoding.kind);
  };
  assert.deepEqual(await weightsOf(`"targets": ["first"]`), ["quantized", "plain"]);
  assert.deepEqual(await weightsOf(`"targets": ["re:^sec"]`), ["plain", "quantized"]);
  assert.deepEqual(await weightsOf(`"targets": ["matmul"], "ignore": ["second"]`), ["quantized", "plain"]);
});

Deno.test("a recipe that calibrates needs samples", async () => {
  const recipe = loadRecipe("w8a8-static");
  assert.ok(recipe.ok);
  const outcome = await applyRecipe(perceptron(), recipe.value);
  assert.ok(!outcome.ok);
  assert.equal(outcome.diagnostics[0].code, "Q0309");
});

Deno.test("static activations without a calibrate pass are an error", async () => {
  const recipe = recipeOf(
    `{ "recipe": 1, "passes": [{ "use": "quantize-weights" }, { "use": "quantize-activations", "range": "static" }] }`,
  );
  const outcome = await applyRecipe(perceptron(), recipe, { calibration: samples });
  assert.ok(!outcome.ok);
  assert.equal(outcome.diagnostics[0].code, "Q0309");
});

Deno.test("calibration samples that do not fit the model are diagnostics", async () => {
  const recipe = loadRecipe("w8a8-static");
  assert.ok(recipe.ok);
  const outcome = await applyRecipe(perceptron(), recipe.value, {
    calibration: [{ x: floatTensor([1, 7], normalArray(7, 1)) }],
  });
  assert.ok(!outcome.ok);
});

Deno.test("a pass over float graphs refuses a graph that holds codes", async () => {
  const quantized = await applyRecipe(
    perceptron(),
    recipeOf(`{ "recipe": 1, "passes": [{ "use": "quantize-weights" }] }`),
  );
  assert.ok(quantized.ok);
  const floatOnly = passes.find((pass) => pass.from === "float");
  assert.ok(floatOnly !== undefined);
  const outcome = await applyRecipe(
    quantized.value.graph,
    recipeOf(`{ "recipe": 1, "passes": [{ "use": "${floatOnly.name}" }] }`),
    { calibration: samples },
  );
  assert.ok(!outcome.ok);
  assert.equal(outcome.diagnostics[0].code, "Q0313");
});

Deno.test("a pass that breaks the graph is our bug: its name and the graph before it are in the error", async () => {
  const breaking = definePass({
    name: "break",
    summary: "Drop the first node and keep its readers",
    from: "any",
    to: "any",
    exactness: "exact",
    needs: [],
    options: {},
    run: (graph) => ({
      graph: { ...graph, nodes: graph.nodes.slice(1) },
      applied: [],
      declined: [],
      metrics: {},
    }),
  });
  const graph = perceptron();
  await assert.rejects(runChecked(breaking, graph, plainContext()), (error) => {
    assert.ok(error instanceof InvariantError);
    assert.equal(error.passName, "break");
    assert.equal(error.graphText, printGraph(graph));
    return true;
  });
});
