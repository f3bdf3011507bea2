/**
 * `deno task accuracy [--only MODEL] [--recipes NAME,...] [--row TEXT]`: measures the gallery and writes docs/accuracy.md with its plots.
 * A part run replaces its own rows; the others stay, from docs/accuracy.json.
 */

import { join } from "node:path";
import { Command } from "commander";
import { fetchedFile, mayFetch, smollm2 } from "../support/fetched.ts";
import { collected } from "../../compiler/commands/common.ts";
import { sharedFile } from "../support/models.ts";
import { checkoutRoot, zooFile, zooModel } from "../support/zoo.ts";
import type { AccuracyCase, AccuracyModel } from "./case.ts";
import { accuracyModels } from "./cases.ts";
import { measure, type Measured } from "./measure.ts";
import { accuracyPlot } from "./plot.ts";
import { accuracyPage, resultKey } from "./table.ts";

const docs = join(checkoutRoot, "docs");
const page = join(docs, "accuracy.md");
const store = join(docs, "accuracy.json");

function stored(): Map<string, Measured> {
  try {
    const rows: readonly Measured[] = JSON.parse(Deno.readTextFileSync(store));
    return new Map(rows.map((row) => [resultKey(row.model, row.name), row]));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Map();
    throw error;
  }
}

function isPresent({ name, kind }: AccuracyModel): boolean {
  if (name === "smollm2") return fetchedFile(smollm2) !== undefined || mayFetch();
  return kind === "language" ? sharedFile(name) !== undefined : zooFile(zooModel(name)) !== undefined;
}

interface Choice {
  readonly recipes: readonly string[];
  readonly rows: readonly string[];
}

function isChosen({ recipe, name }: AccuracyCase, { recipes, rows }: Choice): boolean {
  return (recipes.length === 0 || recipes.includes(recipe)) &&
    (rows.length === 0 || rows.some((text) => name.includes(text)));
}

async function measureAll(models: readonly AccuracyModel[], choice: Choice): Promise<void> {
  for (const model of models) {
    if (!isPresent(model)) {
      console.error(`${model.name}: skipped, the model is not beside the checkout`);
      continue;
    }
    for (const entry of model.cases) {
      if (!isChosen(entry, choice)) continue;
      console.error(`${model.name}: ${entry.name} ...`);
      const row = steadied(await measure(model, entry), stored().get(resultKey(model.name, entry.name)));
      console.error(`${model.name}: ${entry.name}: ${row.error ?? "exact"}, ${row.seconds} s`);
      // Read anew: another run may have measured another model meanwhile.
      write(new Map([...stored(), [resultKey(model.name, entry.name), row]]));
    }
  }
  write(stored());
}

/** Keeps the time of an earlier run unless the new one is twice as long or short: times of a busy machine are no news. */
function steadied(row: Measured, before: Measured | undefined): Measured {
  const ratio = row.seconds / (before?.seconds ?? Infinity);
  return before !== undefined && ratio > 0.5 && ratio < 2 ? { ...row, seconds: before.seconds } : row;
}

/** Rows in the gallery's order, so that the files do not depend on the order of runs. */
function write(results: ReadonlyMap<string, Measured>): void {
  const rows = accuracyModels.flatMap((model) =>
    model.cases.flatMap((entry) => results.get(resultKey(model.name, entry.name)) ?? [])
  );
  Deno.writeTextFileSync(store, `[\n${rows.map((row) => `  ${JSON.stringify(row)}`).join(",\n")}\n]\n`);
  Deno.writeTextFileSync(page, accuracyPage(accuracyModels, results));
  for (const model of accuracyModels) {
    const plot = accuracyPlot(model, results);
    if (plot !== undefined) Deno.writeTextFileSync(join(docs, `accuracy-${model.name}.svg`), plot);
  }
  const { success } = new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", page, store] }).outputSync();
  if (!success) throw new Error(`deno fmt refuses ${page}`);
}

function listed(text: string): string[] {
  return text.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

const program = new Command("accuracy")
  .description("Measure recipes on real models and write docs/accuracy.md")
  .option("--only <models>", `models: ${accuracyModels.map(({ name }) => name).join(", ")}`, listed, [])
  .option("--recipes <names>", "recipes, by name", listed, [])
  .option("--row <text>", "rows whose name holds this text (repeatable)", collected);
program.parse(["deno", "accuracy", ...Deno.args]);
const { only, recipes, row: rows = [] } = program.opts<{
  readonly only: readonly string[];
  readonly recipes: readonly string[];
  readonly row?: readonly string[];
}>();
const unknown = only.filter((name) => !accuracyModels.some((model) => model.name === name));
if (unknown.length > 0) program.error(`There is no model ${unknown.join(", ")} in the gallery`);
await measureAll(accuracyModels.filter(({ name }) => only.length === 0 || only.includes(name)), {
  recipes,
  rows,
});
