import assert from "node:assert/strict";
import { completion, preparation } from "../../passes/mod.ts";
import { builtinRecipes } from "./builtin.ts";
import { loadRecipe, parseRecipe } from "./load.ts";
import { resolveRecipe } from "./resolve.ts";
import { printRecipe, type Recipe } from "./schema.ts";

function parsed(text: string): Recipe {
  const outcome = parseRecipe(text, "mine");
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  return outcome.value;
}

function resolved(recipe: Recipe, overrides: readonly string[] = []): Recipe {
  const outcome = resolveRecipe(recipe, overrides);
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  return outcome.value;
}

Deno.test("resolveRecipe puts the standard passes around the recipe's own and fills in defaults", () => {
  const recipe = resolved(parsed(`{ "recipe": 1, "passes": [{ "use": "quantize-weights", "block": 64 }] }`));
  const names = recipe.passes.map((step) => step.use);
  assert.deepEqual(names, [
    ...preparation.map((pass) => pass.name),
    "quantize-weights",
    ...completion.map((pass) => pass.name),
  ]);
  const step = recipe.passes.find((candidate) => candidate.use === "quantize-weights");
  assert.equal(step?.options.block, 64);
  assert.equal(step?.options.format, "int8");
});

Deno.test("resolveRecipe keeps the options of a standard pass that the recipe lists", () => {
  const recipe = resolved(parsed(`{ "recipe": 1, "passes": [{ "use": "fuse-maps", "operands": 3 }] }`));
  const operands = recipe.passes.filter((step) => step.use === "fuse-maps").map((step) => step.options.operands);
  assert.ok(operands.length > 0 && operands.every((count) => count === 3));
});

Deno.test("a printed resolved recipe reads back as itself, for every shipped recipe", () => {
  for (const name of builtinRecipes) {
    const loaded = loadRecipe(name);
    assert.ok(loaded.ok);
    const text = printRecipe(resolved(loaded.value));
    const again = parseRecipe(text, name);
    assert.ok(again.ok, JSON.stringify(again.diagnostics));
    assert.equal(printRecipe(resolved(again.value)), text);
  }
});

Deno.test("overrides set options, lists of selectors and every step of a pass", () => {
  const recipe = parsed(`{ "recipe": 1, "passes": [{ "use": "quantize-weights" }] }`);
  const { passes } = resolved(recipe, [
    "quantize-weights.bits=3",
    "quantize-weights.format=int4",
    'quantize-weights.ignore=["lm_head"]',
    "fuse-maps.operands=5",
  ]);
  const step = passes.find((candidate) => candidate.use === "quantize-weights");
  assert.equal(step?.options.bits, 3);
  assert.equal(step?.options.format, "int4");
  assert.deepEqual(step?.selector.ignore, ["lm_head"]);
  assert.ok(passes.filter((candidate) => candidate.use === "fuse-maps").every((one) => one.options.operands === 5));
});

Deno.test("overrides that fit nothing are diagnostics", () => {
  const recipe = parsed(`{ "recipe": 1, "passes": [{ "use": "quantize-weights" }] }`);
  const cases: readonly [string, RegExp][] = [
    ["quantize-weights", /not of the form/],
    ["quantise-weights.bits=3", /has no pass/],
    ["quantize-weights.bit=3", /no option "bit"/],
    ["quantize-weights.bits=9", /wants an integer from 2 to 8/],
  ];
  for (const [override, message] of cases) {
    const outcome = resolveRecipe(recipe, [override]);
    assert.ok(!outcome.ok, override);
    assert.equal(outcome.diagnostics[0].code, "Q0312");
    assert.match(outcome.diagnostics[0].message, message);
  }
});

Deno.test("resolveRecipe warns of an order that defeats the methods", () => {
  const recipe = parsed(
    `{ "recipe": 1, "passes": [{ "use": "quantize-activations" }, { "use": "quantize-weights" }] }`,
  );
  const outcome = resolveRecipe(recipe);
  assert.ok(outcome.ok);
  assert.deepEqual(outcome.diagnostics.map(({ code, severity }) => ({ code, severity })), [
    { code: "Q0311", severity: "warning" },
  ]);
});
