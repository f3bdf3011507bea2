/** Small graphs as artifacts on disk, for tests of the runtime and of the folder itself. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { Recipe } from "../../compiler/recipe/schema.ts";
import type { LoadOptions, Model } from "../../runtime/api.ts";
import { type Artifact, buildArtifact } from "../../targets/artifact/build.ts";
import { makeSelfTest } from "../../targets/artifact/selftest.ts";
import { writeArtifact } from "../../targets/artifact/write.ts";
import { emitForms } from "../../targets/emit.ts";
import type { Target } from "../../targets/target.ts";
import { wasmTarget } from "../../targets/wasm/target.ts";

const recipe: Recipe = { name: "as-is", summary: "", seed: 0, pipeline: "explicit", passes: [] };

/** The artifact of a graph as it stands. */
export async function artifactOf(graph: Graph, targets: readonly Target[] = [wasmTarget]): Promise<Artifact> {
  const emitted = await emitForms(targets.map((target) => ({ target, graph })));
  return await buildArtifact(emitted, {
    name: graph.name,
    compiler: "Quern test",
    source: "qir",
    recipe,
    passes: [],
    regions: { regions: [], declined: [] },
    diagnostics: [],
    metadata: {},
    assets: {},
    selfTest: makeSelfTest(emitted.targets[0].graph),
  });
}

/** Runs `body` with a fresh folder that is removed afterwards. */
export async function inFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "quern-test-"));
  try {
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Writes a graph's artifact to `folder`/model and gives that path. */
export async function writeModel(folder: string, graph: Graph, targets?: readonly Target[]): Promise<string> {
  const path = join(folder, "model");
  await writeArtifact(path, (await artifactOf(graph, targets)).files);
  return path;
}

/** Loads an artifact through its own mod.js. */
export async function loadArtifact(path: string, options: LoadOptions = {}): Promise<Model> {
  // mod.js is written by the compiler with exactly this export.
  const module = await import(pathToFileURL(join(path, "mod.js")).href) as {
    load: (options?: LoadOptions) => Promise<Model>;
  };
  return await module.load(options);
}
