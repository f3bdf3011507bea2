/** Reads a graph from its `.qir` text. */

import { readFileSync } from "node:fs";
import { errorDiagnostic, failure, nearestName, type Outcome, success } from "../diagnostics.ts";
import { parseGraph } from "../ir/parse.ts";
import { verify } from "../ir/verify.ts";
import type { ImportedModel, ImportOptions } from "./model.ts";

/** Imports a `.qir` file. Its symbols have their ranges in the text, so `bind` may not name any. */
export function importQir(path: string, options: ImportOptions): Outcome<ImportedModel> {
  const parsed = parseGraph(readFileSync(path, "utf8"));
  if (!parsed.ok) return parsed;
  const graph = parsed.value;
  const faults = verify(graph);
  const symbols = Object.keys(graph.symbols);
  const bindFaults = Object.keys(options.bind).map((name) => {
    const nearest = nearestName(name, symbols);
    return errorDiagnostic("Q1042", `"${name}" cannot be bound: a .qir file states the ranges of its symbols itself`, {
      help: nearest === undefined ? undefined : `Change the range of "${nearest}" in the file`,
    });
  });
  const diagnostics = [...parsed.diagnostics, ...faults, ...bindFaults];
  if (diagnostics.some(({ severity }) => severity === "error")) return failure(...diagnostics);
  return success<ImportedModel>({ graph, format: "qir", assets: {}, metadata: {} }, diagnostics);
}
