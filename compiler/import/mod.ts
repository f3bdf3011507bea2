/** Imports a model of any kind that Quern reads. */

import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  type Diagnostic,
  DiagnosticError,
  errorDiagnostic,
  failure,
  nearestName,
  type Outcome,
} from "../diagnostics.ts";
import { openFile } from "./files.ts";
import { importGguf } from "./gguf/mod.ts";
import { importHuggingFace } from "./huggingface/mod.ts";
import type { ImportedModel, ImportOptions } from "./model.ts";
import { importOnnx } from "./onnx/import_onnx.ts";
import { importQir } from "./qir.ts";
import { fileKind, headLength } from "./source_kind.ts";
import { importTfjs } from "./tfjs/mod.ts";

export type { Binding, ImportedModel, ImportOptions, ImportProgress, ModelFormat } from "./model.ts";

/** Imports the model at `path`: a file, or a folder as Hugging Face and TensorFlow.js lay it out. */
export async function importModel(path: string, options: ImportOptions): Promise<Outcome<ImportedModel>> {
  try {
    const kind = pathKind(path);
    if (kind === "absent") return failure(absent(path));
    return await (kind === "folder" ? importFolder(path, options) : importFile(path, options));
  } catch (error) {
    if (error instanceof DiagnosticError) return failure(...error.diagnostics);
    const reason = systemReason(error);
    if (reason === undefined) throw error;
    return failure(errorDiagnostic("Q1000", `Cannot read ${path}: ${reason}`));
  }
}

/** The code of a file system error; undefined for any other. */
function systemReason(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return undefined;
  return /^E[A-Z0-9]+$/.test(error.code) ? error.code : undefined;
}

function pathKind(path: string): "file" | "folder" | "absent" {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) return "absent";
  return status.isDirectory() ? "folder" : "file";
}

function absent(path: string): Diagnostic {
  const folder = dirname(path);
  const siblings = pathKind(folder) === "folder" ? readdirSync(folder) : [];
  const nearest = nearestName(basename(path), siblings);
  return errorDiagnostic("Q1000", `There is no file or folder ${path}`, {
    help: nearest === undefined ? undefined : `Did you mean ${join(folder, nearest)}?`,
  });
}

async function importFile(path: string, options: ImportOptions): Promise<Outcome<ImportedModel>> {
  const kind = fileKind(path, headOf(path));
  if (!("format" in kind)) {
    return failure(errorDiagnostic("Q1009", `${path} looks like ${kind.looksLike}`, { help: kind.help }));
  }
  switch (kind.format) {
    case "onnx":
      return await importOnnx(path, options);
    case "gguf":
      return await importGguf(path, options);
    case "tfjs":
      return await importTfjs(path, options);
    case "qir":
      return importQir(path, options);
    case "safetensors":
      return await importHuggingFace(dirname(path), options);
  }
}

function headOf(path: string): Uint8Array {
  const source = openFile(path);
  try {
    return source.read(0, Math.min(source.size, headLength));
  } finally {
    source.close();
  }
}

function importFolder(path: string, options: ImportOptions): Promise<Outcome<ImportedModel>> {
  const names = readdirSync(path);
  if (names.includes("config.json") && names.some((name) => /\.safetensors(\.index\.json)?$/.test(name))) {
    return importHuggingFace(path, options);
  }
  if (names.includes("model.json")) return importFile(join(path, "model.json"), options);
  const models = names.filter((name) => /\.(onnx|gguf|qir)$/i.test(name));
  if (models.length === 1) return importFile(join(path, models[0]), options);
  if (names.includes("config.json")) return importHuggingFace(path, options);
  return Promise.resolve(failure(errorDiagnostic("Q1009", `The folder ${path} holds ${describe(models)}`, {
    help: models.length > 1
      ? `Give one of ${models.join(", ")}`
      : "A Hugging Face folder has config.json and model.safetensors, a TensorFlow.js folder has model.json",
  })));
}

function describe(models: readonly string[]): string {
  return models.length > 1 ? `${models.length} models` : "no model that Quern reads";
}
