/** What evaluation runs: the artifact itself, as a user would load it, and the float model. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { LoadOptions, Model } from "../../runtime/api.ts";
import { writeArtifact } from "../../targets/artifact/write.ts";
import type { ArtifactFile } from "../../targets/target.ts";
import { InvariantError } from "../diagnostics.ts";
import { StateMemory } from "../ir/evaluate/mod.ts";
import type { Graph } from "../ir/graph.ts";
import { FloatReference } from "../reference/tfjs.ts";
import type { Sample } from "../data/samples.ts";

/** Numbers of one output, row-major. */
export interface RunOutput {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
}

/** A model that keeps its states from run to run. */
export interface Runner {
  readonly name: string;
  run(inputs: Sample): Promise<Readonly<Record<string, RunOutput>>>;
  reset(): void;
  dispose(): Promise<void>;
}

/** The module of an artifact. */
export interface ArtifactModule {
  readonly load: (options?: LoadOptions) => Promise<Model>;
}

/** Loads an artifact from a folder of its own, through its mod.js. */
export async function artifactRunner(
  name: string,
  files: readonly ArtifactFile[],
  options: LoadOptions,
): Promise<Runner & { readonly model: Model }> {
  const folder = await mkdtemp(join(tmpdir(), "quern-"));
  const home = join(folder, "model");
  await writeArtifact(home, files);
  // mod.js is written by the compiler with exactly this export.
  const module = await import(pathToFileURL(join(home, "mod.js")).href) as ArtifactModule;
  const model = await module.load(options);
  return {
    name,
    model,
    run: async (inputs) => {
      const given = Object.entries(inputs).map(([input, { data, shape }]) => [input, { data, shape }]);
      const outputs = await model.run(Object.fromEntries(given));
      return Object.fromEntries(
        Object.entries(outputs).map(([output, { data, shape }]) => [output, { data: numbersOf(data), shape }]),
      );
    },
    reset: () => model.state.reset(),
    dispose: async () => {
      model.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The float model on tfjs; quantized parts count as the real numbers that they stand for. */
export async function floatRunner(graph: Graph): Promise<Runner> {
  const reference = await FloatReference.create(graph);
  let states = new StateMemory(graph.states, graph.symbols);
  return {
    name: "float (tfjs)",
    run: (inputs) => {
      const outputs = reference.run(inputs, { states });
      return Promise.resolve(Object.fromEntries(
        Object.entries(outputs).map(([output, tensor]) => {
          if (tensor.kind !== "plain") throw new InvariantError(`The float model's output "${output}" is quantized`);
          return [output, { data: numbersOf(tensor.data), shape: tensor.shape }];
        }),
      ));
    },
    reset: () => {
      states = new StateMemory(graph.states, graph.symbols);
    },
    dispose: () => {
      reference.dispose();
      return Promise.resolve();
    },
  };
}

function numbersOf(data: ArrayLike<number> | ArrayLike<bigint>): ArrayLike<number> {
  return typeof data[0] === "bigint" ? Float64Array.from(data, Number) : data as ArrayLike<number>;
}
