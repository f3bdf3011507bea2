import assert from "node:assert/strict";
import type { Diagnostic } from "../diagnostics.ts";
import { builtinRecipes } from "./builtin.ts";
import { loadRecipe, parseRecipe } from "./load.ts";

function faultsOf(text: string): readonly Diagnostic[] {
  const outcome = parseRecipe(text, "mine.jsonc");
  assert.ok(!outcome.ok, "the recipe is accepted");
  return outcome.diagnostics;
}

Deno.test("loadRecipe reads every shipped recipe, each with a summary", () => {
  for (const name of builtinRecipes) {
    const outcome = loadRecipe(name);
    assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
    assert.equal(outcome.value.name, name);
    assert.notEqual(outcome.value.summary, "");
  }
});

Deno.test("loadRecipe names the nearest recipe", () => {
  const outcome = loadRecipe("w8a8-statics");
  assert.ok(!outcome.ok);
  assert.equal(outcome.diagnostics[0].code, "Q0301");
  assert.equal(outcome.diagnostics[0].help, 'Did you mean "w8a8-static"?');
  assert.ok(!loadRecipe("nowhere/recipe.jsonc").ok);
});

Deno.test("parseRecipe reads options, selectors, seed and target", () => {
  const outcome = parseRecipe(
    `// mine
    { "recipe": 1, "seed": 7,
      "passes": [ { "use": "quantize-weights", "format": "int4", "targets": ["re:.*proj"], "ignore": ["lm_head"] }, ],
      "target": { "use": "wasm", "features": ["simd128"] } }`,
    "folder/mine.jsonc",
  );
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  const { name, seed, passes, target } = outcome.value;
  assert.deepEqual({ name, seed, target }, {
    name: "mine",
    seed: 7,
    target: { use: "wasm", features: ["simd128"] },
  });
  assert.deepEqual(passes[0].options, { format: "int4" });
  assert.deepEqual(passes[0].selector, { targets: ["re:.*proj"], ignore: ["lm_head"] });
});

Deno.test("parseRecipe locates an unknown key and names the nearest", () => {
  const [fault] = faultsOf(`{ "recipe": 1,\n  "pases": [] }`);
  assert.equal(fault.code, "Q0303");
  assert.equal(fault.node, "mine.jsonc:2:3 (offset 17)");
  assert.equal(fault.help, 'Did you mean "passes"?');
});

Deno.test("parseRecipe locates an unknown pass and names the nearest", () => {
  const [fault] = faultsOf(`{ "recipe": 1, "passes": [ { "use": "quantise-weights" } ] }`);
  assert.equal(fault.code, "Q0304");
  assert.match(fault.node ?? "", /offset 36/);
  assert.equal(fault.help, 'Did you mean "quantize-weights"?');
});

Deno.test("parseRecipe reports every fault of a pass's options", () => {
  const faults = faultsOf(
    `{ "recipe": 1, "passes": [ { "use": "quantize-weights", "blok": 32, "block": 0.5, "granularity": "chanel" } ] }`,
  );
  assert.deepEqual(faults.map((fault) => fault.code), ["Q0305", "Q0305", "Q0305"]);
  assert.deepEqual(faults.map((fault) => fault.help), ['Did you mean "block"?', undefined, 'Did you mean "channel"?']);
});

Deno.test("parseRecipe refuses what is no recipe", () => {
  const cases: readonly [string, string][] = [
    ["", "Q0302"],
    ["{", "Q0302"],
    ["[]", "Q0303"],
    ["3", "Q0303"],
    [`{ "passes": [] }`, "Q0307"],
    [`{ "recipe": 2, "passes": [] }`, "Q0307"],
    [`{ "recipe": 1 }`, "Q0303"],
    [`{ "recipe": 1, "passes": {} }`, "Q0305"],
    [`{ "recipe": 1, "passes": [3] }`, "Q0303"],
    [`{ "recipe": 1, "passes": [{}] }`, "Q0303"],
    [`{ "recipe": 1, "recipe": 1, "passes": [] }`, "Q0303"],
    [`{ "recipe": 1, "passes": [], "seed": -1 }`, "Q0305"],
    [`{ "recipe": 1, "passes": [], "pipeline": "none" }`, "Q0305"],
    [`{ "recipe": 1, "passes": [], "target": { "feature": [] } }`, "Q0303"],
    [`{ "recipe": 1, "passes": [{ "use": "fuse-maps", "targets": [3] }] }`, "Q0305"],
    [`{ "recipe": 1, "passes": [{ "use": "fuse-maps", "targets": ["re:("] }] }`, "Q0305"],
  ];
  for (const [text, code] of cases) assert.equal(faultsOf(text)[0].code, code, text);
});
