/** The weights of a Hugging Face directory: one safetensors file, or shards listed by an index. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Diagnostic, DiagnosticError, errorDiagnostic, fail } from "../../diagnostics.ts";
import { isObject, parseJsonObject, shown } from "../fields.ts";
import { type ByteSource, openFile } from "../files.ts";
import { readSafetensorsHeader, type SafetensorsEntry } from "./safetensors.ts";

export interface Checkpoint {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  close(): void;
}

const singleName = "model.safetensors";
const indexName = "model.safetensors.index.json";
const maximumJsonBytes = 100_000_000;

/** Opens the checkpoint of a directory. Throws a DiagnosticError that lists every fault. */
export function openCheckpoint(directory: string): Checkpoint {
  if (existsSync(join(directory, singleName))) return openShards(directory, [singleName]);
  if (existsSync(join(directory, indexName))) return openIndexed(directory);
  return fail("Q0422", `"${directory}" has neither ${singleName} nor ${indexName}`, {
    node: directory,
    help: "Convert the weights to safetensors first",
  });
}

/** A small JSON file of the directory; undefined when there is none. */
export function readJsonFile(path: string): Readonly<Record<string, unknown>> | undefined {
  if (!existsSync(path)) return undefined;
  return parseJsonObject(readWhole(path), path);
}

/** The bytes of a file that must fit in memory many times over. */
export function readWhole(path: string): Uint8Array<ArrayBuffer> {
  const source = openFile(path);
  try {
    if (source.size > maximumJsonBytes) {
      fail("Q0401", `"${path}" has ${source.size} bytes, more than ${maximumJsonBytes}`, { node: path });
    }
    return source.read(0, source.size);
  } finally {
    source.close();
  }
}

function openIndexed(directory: string): Checkpoint {
  const path = join(directory, indexName);
  const map = parseJsonObject(readWhole(path), path).weight_map;
  if (!isObject(map)) return fail("Q0422", `"${path}" has no weight_map`, { node: path });
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
  const checkpoint = openShards(directory, files);
  const misplaced = Object.entries(map).flatMap(([tensor, file]) => {
    const entry = checkpoint.entries.get(tensor);
    if (entry !== undefined && entry.source.name === join(directory, String(file))) return [];
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

function openShards(directory: string, files: readonly string[]): Checkpoint {
  const sources: ByteSource[] = [];
  const close = () => sources.forEach((source) => source.close());
  try {
    const entries = new Map<string, SafetensorsEntry>();
    for (const file of files) {
      const source = openFile(join(directory, file));
      sources.push(source);
      for (const [name, entry] of readSafetensorsHeader(source)) {
        if (entries.has(name)) fail("Q0422", `"${name}" is in two shards`, { node: name });
        entries.set(name, entry);
      }
    }
    return { entries, close };
  } catch (error) {
    close();
    throw error;
  }
}
