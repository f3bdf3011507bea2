/** Every pass that must keep the function keeps that of the real models. */

import assert from "node:assert/strict";
import { importModel } from "../../compiler/import/mod.ts";
import { plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { runFloat } from "../../compiler/reference/tfjs.ts";
import { applyRecipe, runChecked } from "../../compiler/recipe/apply.ts";
import { loadRecipe } from "../../compiler/recipe/load.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { type Pass, type PassStep, plainContext } from "../../compiler/rewrite/pass.ts";
import { everyNode } from "../../compiler/rewrite/selector.ts";
import { methods } from "../../passes/mod.ts";
import { quantizeWeights } from "../../passes/quantize/quantize_weights.ts";
import { maxRelativeDifference } from "../support/compare.ts";
import { sharedTest } from "../support/models.ts";
import { type Sample, zoo } from "../support/zoo.ts";

/** What searches try: narrow codes, so that they choose factors that are not one. */
const later: readonly PassStep[] = [{
  pass: quantizeWeights,
  options: { format: "int3", granularity: "channel", clip: "none" },
  selector: everyNode,
}];

/** Passes that promise the same function. */
const keeping = methods.filter(({ exactness, name }) => exactness !== "lossy" && name !== "calibrate");

/** Options that make a pass do all it can, in reasonable time. */
function optionsOf({ name }: Pass): Readonly<Record<string, Json>> {
  if (name === "smooth") return { outputs: true, downs: true };
  return name === "awq" ? { ratios: 3 } : {};
}

interface Model {
  readonly name: string;
  readonly path: string;
  readonly bind: Readonly<Record<string, number>>;
  readonly data: readonly string[];
  readonly samples: (count: number) => readonly Sample[];
}

function text(name: string, length: number, element: "i32" | "i64"): Model["samples"] {
  return (count) =>
    Array.from({ length: count }, (_, sample) => {
      const ids = Array.from({ length }, (_, index) => 3 + (index * 37 + sample * 101) % 500);
      const tensor: Tensor & { readonly kind: "plain" } = element === "i32"
        ? plainTensor("i32", [1, length], Int32Array.from(ids))
        : plainTensor("i64", [1, length], BigInt64Array.from(ids, BigInt));
      return { [name]: tensor };
    });
}

const named = (...names: readonly string[]) => zoo.filter(({ name }) => names.includes(name));

const models: readonly Model[] = [
  { name: "stories260k from Hugging Face", path: "stories260k", bind: {}, data: [], samples: text("ids", 16, "i32") },
  {
    name: "stories260k from GGUF",
    path: "gguf-stories260k/stories260k.f16.gguf",
    bind: {},
    data: [],
    samples: text("ids", 16, "i32"),
  },
  ...named("vit-pgd", "rwkv5-step", "dit-mnist", "resnet20", "mnist8"),
];

/**
 * Each node rounds once to 2^-24 of its largest magnitude; norms, softmax and additions that cancel amplify that by at
 * most the ratio of the largest to the typical magnitude, some tens: 2^-24 · 32 for every node.
 */
function boundOf(nodes: number): number {
  return nodes * 32 * 2 ** -24;
}

for (const { name, path, bind, data, samples } of models) {
  sharedTest(`${name}: passes that keep the function do`, [path, ...data], async ([file]) => {
    const imported = await importModel(file, { bind });
    assert.ok(imported.ok, JSON.stringify(imported.diagnostics));
    const recipe = loadRecipe("as-is");
    assert.ok(recipe.ok);
    const applied = await applyRecipe(imported.value.graph, recipe.value);
    assert.ok(applied.ok);
    const { graph } = applied.value;
    const [sample, ...calibration] = samples(3);
    const wanted = await runFloat(graph, sample);
    for (const pass of keeping) {
      const result = await runChecked(pass, graph, { ...plainContext(optionsOf(pass)), seed: 3, calibration, later });
      const given = await runFloat(result.graph, sample);
      for (const { name: output } of graph.outputs) {
        const [before, after] = [wanted[output], given[output]];
        if (before.kind !== "plain" || after.kind !== "plain") continue;
        const moved = maxRelativeDifference(Array.from(before.data, Number), Array.from(after.data, Number));
        assert.ok(moved <= boundOf(graph.nodes.length), `${pass.name} moves "${output}" by ${moved}`);
      }
    }
  });
}
