/** manifest.json: what is in the folder, for tools. */

import { present } from "../../compiler/diagnostics.ts";
import { typeOf } from "../../compiler/ir/graph.ts";
import { printType } from "../../compiler/ir/types.ts";
import { schemeOf } from "../../compiler/ir/types.ts";
import { printScheme } from "../../compiler/numeric/scheme.ts";
import { printRecipe, type Recipe } from "../../compiler/recipe/schema.ts";
import type { EmittedModel, EmittedTarget } from "../emit.ts";
import type { ArtifactFile, BorderEntry } from "../target.ts";
import { fileBytes, sha256 } from "./files.ts";
import { artifactMarker, artifactVersion } from "./write.ts";

export interface ManifestFacts {
  readonly name: string;
  readonly compiler: string;
  readonly source: string;
  readonly recipe: Recipe;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** All other files of the artifact. */
  readonly files: readonly ArtifactFile[];
}

export function manifestOf(emitted: EmittedModel, facts: ManifestFacts): Readonly<Record<string, unknown>> {
  const [{ graph, inputs, outputs }] = emitted.targets;
  const border = ({ name, element, shape }: BorderEntry) => ({ name, element, shape });
  return {
    [artifactMarker]: artifactVersion,
    compiler: facts.compiler,
    name: facts.name,
    source: facts.source,
    targets: emitted.targets.map(targetEntry),
    inputs: inputs.map(border),
    outputs: outputs.map(border),
    symbols: graph.symbols,
    states: graph.states.map(({ name, type, axis }) => ({ name, type: printType(type), axis })),
    recipe: JSON.parse(printRecipe(facts.recipe)),
    metadata: facts.metadata,
    tensors: tensorTable(emitted),
    files: facts.files.map((file) => ({ path: file.path, bytes: fileBytes(file), sha256: sha256(file.chunks) })),
  };
}

function targetEntry(
  { target: { name, capabilities }, rows, memory }: EmittedTarget,
): Readonly<Record<string, unknown>> {
  return { name, variants: capabilities.variants, kernels: kernelTable(rows), memory };
}

/** Every tensor of every file of weights. */
function tensorTable({ weights, targets }: EmittedModel): readonly unknown[] {
  return weights.flatMap(({ path, offset: start, entries, targets: [first] }) => {
    const graph = present(targets.find(({ target }) => target.name === first), `target ${first}`).graph;
    return entries.map(({ key, value, layout, offset, bytes }) => {
      const type = typeOf(graph, value);
      const scheme = schemeOf(type);
      return {
        name: value,
        type: printType(type),
        ...(scheme === undefined ? {} : { scheme: printScheme(scheme) }),
        layout,
        key,
        file: path,
        offset: offset - start,
        bytes: bytes.byteLength,
        sha256: sha256([bytes]),
      };
    });
  });
}

/** Kernel functions with the calls that share each. */
function kernelTable(rows: EmittedTarget["rows"]): readonly unknown[] {
  const byName = new Map<string, { kernel: string; calls: number }>();
  for (const { functionName, kernel } of rows) {
    const entry = byName.get(functionName) ?? { kernel, calls: 0 };
    entry.calls++;
    byName.set(functionName, entry);
  }
  return [...byName].map(([name, { kernel, calls }]) => ({ name, kernel, calls }));
}
