/** The weights of a Hugging Face directory: one safetensors file, or shards listed by an index. */

import { type Diagnostic, DiagnosticError, errorDiagnostic, fail } from "../../diagnostics.ts";
import { isObject, parseJsonObject, shown } from "../fields.ts";
import { type ByteSource, type ModelFolder, readWhole } from "../files.ts";
import { readSafetensorsHeader, type SafetensorsEntry } from "./safetensors.ts";

export interface Checkpoint {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  /** Name of the file that holds an entry. */
  fileOf(entry: SafetensorsEntry): string | undefined;
  close(): void;
}

const singleName = "model.safetensors";
const indexName = "model.safetensors.index.json";

/** Opens the checkpoint of a folder. Throws a DiagnosticError that lists every fault. */
export function openCheckpoint(folder: ModelFolder): Checkpoint {
  if (folder.has(singleName)) return openShards(folder, [singleName]);
  if (folder.has(indexName)) return openIndexed(folder);
  return fail("Q0422", `"${folder.place}" has neither ${singleName} nor ${indexName}`, {
    node: folder.place,
    help: "Convert the weights to safetensors first",
  });
}

function openIndexed(folder: ModelFolder): Checkpoint {
  const map = parseJsonObject(readWhole(folder.open(indexName)), indexName).weight_map;
  if (!isObject(map)) return fail("Q0422", `"${indexName}" has no weight_map`, { node: indexName });
  const faults: Diagnostic[] = [];
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file === "string" && isPlainFileName(file)) continue;
    faults.push(errorDiagnostic("Q0422", `"${tensor}" lies in ${shown(file)}, wants a file name of the same folder`, {
      node: tensor,
    }));
  }
  if (faults.length > 0) throw new DiagnosticError(faults);
  // The loop above has shown that every entry is a string.
  const files = [...new Set(Object.values(map) as string[])].sort();
  const checkpoint = openShards(folder, files);
  const misplaced = Object.entries(map).flatMap(([tensor, file]) => {
    const entry = checkpoint.entries.get(tensor);
    if (entry !== undefined && checkpoint.fileOf(entry) === file) return [];
    return [
      errorDiagnostic("Q0422", `The index puts "${tensor}" in ${shown(file)}, which does not hold it`, {
        node: tensor,
      }),
    ];
  });
  if (misplaced.length > 0) {
    checkpoint.close();
    throw new DiagnosticError(misplaced);
  }
  return checkpoint;
}

function isPlainFileName(name: string): boolean {
  return name.endsWith(".safetensors") && !/[\\/\0]/.test(name);
}

function openShards(folder: ModelFolder, files: readonly string[]): Checkpoint {
  const sources: ByteSource[] = [];
  const close = () => sources.forEach((source) => source.close());
  try {
    const entries = new Map<string, SafetensorsEntry>();
    for (const file of files) {
      const source = folder.open(file);
      sources.push(source);
      for (const [name, entry] of readSafetensorsHeader(source)) {
        if (entries.has(name)) fail("Q0422", `"${name}" is in two shards`, { node: name });
        entries.set(name, entry);
      }
    }
    return { entries, fileOf: (entry) => files[sources.indexOf(entry.source)], close };
  } catch (error) {
    close();
    throw error;
  }
}
