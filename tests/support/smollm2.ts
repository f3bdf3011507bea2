/** SmolLM2-135M-Instruct, compiled once per recipe and kept in the cache for the tests that follow. */

import { join } from "node:path";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { compileModel } from "../../compiler/driver.ts";
import { cacheFolder, fetchedFile, fetchModel, mayFetch, smollm2 } from "./fetched.ts";

const compiled = new Map<string, Promise<string>>();

/** Folder of the compiled model; undefined where the model is not in the cache and may not be fetched. */
export async function smolArtifact(recipe: string): Promise<string | undefined> {
  const model = mayFetch() ? await fetchModel(smollm2) : fetchedFile(smollm2);
  if (model === undefined) return undefined;
  const known = compiled.get(recipe) ?? compile(model, recipe);
  compiled.set(recipe, known);
  return await known;
}

async function compile(model: string, recipe: string): Promise<string> {
  const out = join(cacheFolder(), "compiled", `smollm2-${recipe}`);
  const result = await compileModel({ model, recipe, bind: { seq: { min: 1, max: 128 }, total: 1024 }, out });
  if (!result.ok) throw new Error(result.diagnostics.map(formatDiagnostic).join("\n"));
  return out;
}
