/** ONNX backend node tests: a model and data sets of inputs and expected outputs, from an archive or a folder. */

import { readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { list, type ReadEntry } from "tar";

/** One test. A data set holds serialized TensorProtos in the order of the graph's inputs and outputs. */
export interface NodeCase {
  /** Without the leading `test_`. */
  readonly name: string;
  readonly model: Uint8Array;
  readonly dataSets: readonly DataSet[];
}

export interface DataSet {
  readonly inputs: readonly Uint8Array[];
  readonly outputs: readonly Uint8Array[];
}

/** Reads every test under `path`, a `.tar.gz` or a folder, sorted by name. */
export async function readCases(path: string): Promise<readonly NodeCase[]> {
  const files = statSync(path).isDirectory() ? readFolder(path) : await readArchive(path);
  const byTest = new Map<string, Map<string, Uint8Array>>();
  for (const [name, bytes] of files) {
    const match = /(?:^|\/)test_([^/]+)\/(model\.onnx|test_data_set_\d+\/(?:input|output)_\d+\.pb)$/.exec(name);
    if (match === null) continue;
    const parts = byTest.get(match[1]) ?? new Map<string, Uint8Array>();
    parts.set(match[2], bytes);
    byTest.set(match[1], parts);
  }
  return [...byTest].flatMap(([name, parts]) => {
    const model = parts.get("model.onnx");
    return model === undefined ? [] : [{ name, model, dataSets: dataSetsOf(parts) }];
  }).sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

async function readArchive(path: string): Promise<readonly (readonly [string, Uint8Array])[]> {
  const files: Promise<readonly [string, Uint8Array]>[] = [];
  const onReadEntry = (entry: ReadEntry) => {
    if (entry.type === "File") files.push(entry.concat().then((data) => [entry.path, data] as const));
  };
  await list({ file: path, onReadEntry });
  return await Promise.all(files);
}

function readFolder(path: string): readonly (readonly [string, Uint8Array])[] {
  return readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((file) => [join("/", relative(join(path, ".."), file)), Deno.readFileSync(file)]);
}

function dataSetsOf(parts: ReadonlyMap<string, Uint8Array>): readonly DataSet[] {
  const sets = new Map<string, { inputs: Uint8Array[]; outputs: Uint8Array[] }>();
  for (const [name, bytes] of parts) {
    const match = /^(test_data_set_\d+)\/(input|output)_(\d+)\.pb$/.exec(name);
    if (match === null) continue;
    const set = sets.get(match[1]) ?? { inputs: [], outputs: [] };
    set[match[2] === "input" ? "inputs" : "outputs"][Number(match[3])] = bytes;
    sets.set(match[1], set);
  }
  return [...sets].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, set]) => set);
}
