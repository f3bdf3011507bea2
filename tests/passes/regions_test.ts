/** Regions of real models from every importer: how many are found, and why places decline. */

import assert from "node:assert/strict";
import { importModel } from "../../compiler/import/mod.ts";
import type { Binding } from "../../compiler/import/model.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { applyRecipe } from "../../compiler/recipe/apply.ts";
import { loadRecipe } from "../../compiler/recipe/load.ts";
import type { Regions } from "../../compiler/rewrite/region/region.ts";
import { sharedTest } from "../support/models.ts";

type Counts = Readonly<Record<string, number>>;

interface Expected {
  readonly path: string;
  readonly bind?: Readonly<Record<string, Binding>>;
  readonly found: Counts;
  /** Places that decline by kind, and what each of their reasons says. */
  readonly declined?: Readonly<Record<string, readonly [count: number, reason: RegExp]>>;
}

const gains: Expected["declined"] = { residual: [1, /has a gain: it must be folded/] };

const decoder: Counts = { norm: 11, valueOutput: 5, queryKey: 5, upDown: 5 };

const exported = { sequence_length: 32, past_sequence_length: 0 };

const models: readonly Expected[] = [
  { path: "stories260k", found: decoder, declined: gains },
  { path: "gguf-stories260k/stories260k.f16.gguf", found: decoder, declined: gains },
  { path: "gguf-stories260k/stories260k.q8_0.gguf", found: decoder, declined: gains },
  {
    path: "stories260k/model_T256.onnx",
    found: { norm: 11, valueOutput: 5, upDown: 5 },
    declined: { queryKey: [5, /concat/], ...gains },
  },
  { path: "lm-stories260k/optimum/model.onnx", bind: exported, found: { norm: 11, upDown: 5 }, declined: gains },
  {
    path: "lm-stories260k/torch-dynamo-opset23/model.onnx",
    bind: { ...exported, total_sequence_length: 32 },
    found: { norm: 11, upDown: 5 },
    declined: { valueOutput: [5, /reshape/], queryKey: [5, /reshape/], ...gains },
  },
  {
    path: "vit-pgd-2-3-16/vit_pgd_2_3_16.onnx",
    found: { valueOutput: 2, queryKey: 2, upDown: 2 },
    declined: { convConv: [1, /concat/] },
  },
  {
    path: "dit-mnist-simpledit/model.onnx",
    bind: { batch_size: 1 },
    found: { valueOutput: 3, upDown: 3 },
    declined: {
      norm: [15, /one entry per channel|map is not linear|slice is not linear/],
      upDown: [2, /not homogeneous/],
      convConv: [2, /not homogeneous/],
      queryKey: [3, /map is not linear/],
    },
  },
  {
    path: "llm-rwkv5-730k/rwkv5_730K_step.onnx",
    found: { norm: 1 },
    declined: {
      norm: [37, /norm is not linear|map is not linear|no gain/],
      upDown: [24, /not homogeneous/],
      residual: [1, /layer norm/],
    },
  },
];

async function regionsOf(path: string, bind: Readonly<Record<string, Binding>>): Promise<Regions> {
  const imported = await importModel(path, { bind });
  assert.ok(imported.ok, JSON.stringify(imported.diagnostics));
  return (await prepared(imported.value.graph)).regions;
}

async function prepared(graph: Graph): Promise<{ readonly graph: Graph; readonly regions: Regions }> {
  const recipe = loadRecipe("as-is");
  assert.ok(recipe.ok);
  const applied = await applyRecipe(graph, recipe.value);
  assert.ok(applied.ok);
  return applied.value;
}

function counted(kinds: readonly { readonly kind: string }[]): Counts {
  const counts = new Map<string, number>();
  for (const { kind } of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return Object.fromEntries(counts);
}

for (const { path, bind = {}, found, declined = {} } of models) {
  sharedTest(`regions of ${path}`, [path], async ([file]) => {
    const regions = await regionsOf(file, bind);
    assert.deepEqual(counted(regions.regions), found);
    const expected = Object.fromEntries(Object.entries(declined).map(([kind, [count]]) => [kind, count]));
    assert.deepEqual(counted(regions.declined), expected);
    for (const { kind, name, reason } of regions.declined) {
      assert.match(reason, declined[kind][1], `${kind} at ${name}`);
    }
  });
}
