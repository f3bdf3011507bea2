/** Imports TensorFlow.js models: layers models and graph models. */

import { dirname } from "node:path";
import { DiagnosticError, failure, type Outcome, success } from "../../diagnostics.ts";
import { parseJsonObject } from "../fields.ts";
import type { ImportedModel, ImportOptions } from "../model.ts";
import { openFile, readWhole } from "../files.ts";
import { importGraphModel } from "./graph/importer.ts";
import { importLayersModel } from "./layers/importer.ts";
import { readLayersModel } from "./layers/model.ts";
import { type ModelJson, readModelJson } from "./model_json.ts";
import { readWeights, type ShardOpener, shardsBeside } from "./weights.ts";

/** The model that `path` (a model.json) describes; its shards lie beside it. Every fault is a diagnostic. */
export function importTfjs(path: string, options: ImportOptions): Promise<Outcome<ImportedModel>> {
  try {
    return Promise.resolve(importTfjsSource(readWhole(openFile(path)), path, shardsBeside(dirname(path)), options));
  } catch (error) {
    if (error instanceof DiagnosticError) return Promise.resolve(failure(...error.diagnostics));
    return Promise.reject(error);
  }
}

/** As `importTfjs`, from bytes. Throws a DiagnosticError. */
export function importTfjsSource(
  json: Uint8Array,
  place: string,
  open: ShardOpener,
  options: ImportOptions,
): Outcome<ImportedModel> {
  const model: ModelJson = readModelJson(parseJsonObject(json, place), place);
  const weights = readWeights(model.groups, open);
  if (model.kind === "graph") return importGraphModel(model, weights, options);
  const graph = importLayersModel(readLayersModel(model.topology), weights, options);
  return success<ImportedModel>({ graph, format: "tfjs", assets: {}, metadata: { kind: "layers" } });
}
