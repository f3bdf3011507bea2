/** SmolLM2-135M-Instruct, compiled once per recipe and kept in the cache for the tests that follow. */

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { compileModel } from "../../compiler/driver.ts";
import type { Model } from "../../runtime/api.ts";
import { cacheFolder, fetchedFile, fetchModel, mayFetch, smollm2 } from "./fetched.ts";

const compiled = new Map<string, Promise<string>>();

/** Folder of the compiled model; undefined where the model is not in the cache and may not be fetched. */
export async function smolArtifact(recipe: string, logits: "all" | "last" = "last"): Promise<string | undefined> {
  const model = mayFetch() ? await fetchModel(smollm2) : fetchedFile(smollm2);
  if (model === undefined) return undefined;
  const key = `${recipe}-${logits}`;
  const known = compiled.get(key) ?? compile(model, recipe, logits);
  compiled.set(key, known);
  return await known;
}

async function compile(model: string, recipe: string, logits: "all" | "last"): Promise<string> {
  // A folder of this process alone: test files run side by side.
  const out = join(cacheFolder(), "compiled", `smollm2-${recipe}-${logits}-${Deno.pid}-${crypto.randomUUID()}`);
  const result = await compileModel({ model, recipe, logits, bind: { seq: { min: 1, max: 128 }, total: 1024 }, out });
  if (!result.ok) throw new Error(result.diagnostics.map(formatDiagnostic).join("\n"));
  globalThis.addEventListener("unload", () => Deno.removeSync(out, { recursive: true }));
  return out;
}

export interface SmolModel {
  readonly model: Model;
  readonly tokenizer: object;
  readonly config: object;
}

/** The compiled model, loaded, with its tokenizer files. Throws where the model may not be fetched. */
export async function openSmol(recipe: string, logits: "all" | "last"): Promise<SmolModel> {
  const folder = await smolArtifact(recipe, logits);
  if (folder === undefined) throw new Error("SmolLM2 is not in the cache: set QUERN_FETCH=1");
  const module: { load(): Promise<Model> } = await import(pathToFileURL(join(folder, "mod.js")).href);
  const json = (file: string) => JSON.parse(Deno.readTextFileSync(join(folder, file)));
  return { model: await module.load(), tokenizer: json("tokenizer.json"), config: json("tokenizer_config.json") };
}
