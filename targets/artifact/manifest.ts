/** manifest.json: what is in the folder, for tools. */

import { typeOf } from "../../compiler/ir/graph.ts";
import { printType } from "../../compiler/ir/types.ts";
import { schemeOf } from "../../compiler/ir/types.ts";
import { printScheme } from "../../compiler/numeric/scheme.ts";
import { printRecipe, type Recipe } from "../../compiler/recipe/schema.ts";
import type { ArtifactFile, BorderEntry, Emitted } from "../target.ts";
import { fileBytes, sha256 } from "./files.ts";
import { artifactMarker, artifactVersion } from "./write.ts";

export interface ManifestFacts {
  readonly name: string;
  readonly compiler: string;
  readonly source: string;
  readonly recipe: Recipe;
  readonly target: { readonly name: string; readonly variants: readonly string[] };
  readonly metadata: Readonly<Record<string, unknown>>;
  /** All other files of the artifact. */
  readonly files: readonly ArtifactFile[];
}

export function manifestOf(emitted: Emitted, facts: ManifestFacts): Readonly<Record<string, unknown>> {
  const { graph } = emitted;
  const border = ({ name, element, shape }: BorderEntry) => ({ name, element, shape });
  return {
    [artifactMarker]: artifactVersion,
    compiler: facts.compiler,
    name: facts.name,
    source: facts.source,
    target: facts.target,
    inputs: emitted.inputs.map(border),
    outputs: emitted.outputs.map(border),
    symbols: graph.symbols,
    states: graph.states.map(({ name, type, axis }) => ({ name, type: printType(type), axis })),
    recipe: JSON.parse(printRecipe(facts.recipe)),
    metadata: facts.metadata,
    tensors: emitted.weights.map(({ key, value, layout, offset, bytes }) => {
      const type = typeOf(graph, value);
      const scheme = schemeOf(type);
      return {
        name: value,
        type: printType(type),
        ...(scheme === undefined ? {} : { scheme: printScheme(scheme) }),
        layout,
        key,
        offset,
        bytes: bytes.byteLength,
        sha256: sha256([bytes]),
      };
    }),
    kernels: kernelTable(emitted),
    memory: emitted.memory,
    files: facts.files.map((file) => ({ path: file.path, bytes: fileBytes(file), sha256: sha256(file.chunks) })),
  };
}

/** Kernel functions with the calls that share each. */
function kernelTable({ rows }: Emitted): readonly unknown[] {
  const byName = new Map<string, { kernel: string; calls: number }>();
  for (const { functionName, kernel } of rows) {
    const entry = byName.get(functionName) ?? { kernel, calls: 0 };
    entry.calls++;
    byName.set(functionName, entry);
  }
  return [...byName].map(([name, { kernel, calls }]) => ({ name, kernel, calls }));
}
