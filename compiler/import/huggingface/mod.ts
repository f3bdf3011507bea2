/** Imports a Hugging Face directory: config.json, safetensors weights, tokenizer files. */

import {
  type Diagnostic,
  DiagnosticError,
  errorDiagnostic,
  fail,
  failure,
  type Outcome,
  success,
} from "../../diagnostics.ts";
import { equalShapes } from "../../ir/extent.ts";
import { type JsonObject, parseJsonObject } from "../fields.ts";
import { diskFolder, type ModelFolder, readWhole } from "../files.ts";
import type { ImportedModel, ImportOptions } from "../model.ts";
import { buildDecoder } from "../transformer/decoder.ts";
import {
  type DecoderDescription,
  type WeightLookup,
  type WeightSlot,
  weightSlots,
} from "../transformer/description.ts";
import { contextWarnings, decoderOptions } from "../transformer/options.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { type ReadConfig, readConfig } from "./config.ts";
import { readFloatTensor, type SafetensorsEntry } from "./safetensors.ts";
import { weightName } from "./weight_names.ts";

const configName = "config.json";
const generationName = "generation_config.json";
const assetNames = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", generationName];

/**
 * The decoder in `directory` as a graph ids[1, seq] -> logits, with its tokenizer files as assets.
 * Every fault is a diagnostic: files (Q04xx), configuration, weights that are missing, misshapen or left over.
 */
export function importHuggingFace(directory: string, options: ImportOptions): Promise<Outcome<ImportedModel>> {
  try {
    return Promise.resolve(importHuggingFaceFolder(diskFolder(directory), options));
  } catch (error) {
    if (error instanceof DiagnosticError) return Promise.resolve(failure(...error.diagnostics));
    return Promise.reject(error);
  }
}

/** As `importHuggingFace`, from a folder of any kind. Throws a DiagnosticError. */
export function importHuggingFaceFolder(folder: ModelFolder, options: ImportOptions): Outcome<ImportedModel> {
  if (!folder.has(configName)) fail("Q0400", `"${folder.place}" has no ${configName}`, { node: folder.place });
  const config = parseJsonObject(readWhole(folder.open(configName)), configName);
  const read = readConfig(config, configName);
  const checkpoint = openCheckpoint(folder);
  try {
    return importCheckpoint(folder, config, read, checkpoint, options);
  } finally {
    checkpoint.close();
  }
}

function importCheckpoint(
  folder: ModelFolder,
  config: JsonObject,
  { description, warnings }: ReadConfig,
  checkpoint: Checkpoint,
  options: ImportOptions,
): Outcome<ImportedModel> {
  const prefix = checkpoint.entries.has("model.embed_tokens.weight") ? "model." : "";
  const faults = weightFaults(description, checkpoint.entries, prefix);
  const served = decoderOptions(options, description.maximumPositions, faults);
  if (faults.length > 0) throw new DiagnosticError(faults);
  const graph = buildDecoder(description, served, weightReader(description, checkpoint.entries, prefix, options));
  const model: ImportedModel = {
    graph,
    format: "safetensors",
    assets: readAssets(folder),
    metadata: {
      modelType: description.name,
      context: served.context,
      maximumPositions: description.maximumPositions,
      vocabulary: description.vocabulary,
      ...tokenIds(folder, config),
    },
  };
  return success(model, [...warnings, ...contextWarnings(served.context, description.maximumPositions)]);
}

/** Missing, misshapen and unexpected weights, all of them. */
function weightFaults(
  description: DecoderDescription,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  prefix: string,
): Diagnostic[] {
  const faults: Diagnostic[] = [];
  const used = new Set<string>();
  for (const slot of weightSlots(description)) {
    const name = weightName(slot, prefix, description.sandwichNorms);
    used.add(name);
    const entry = entries.get(name);
    if (entry === undefined) {
      faults.push(errorDiagnostic("Q0434", `Weight "${name}" is missing`, { node: name }));
    } else if (!equalShapes(entry.shape, slot.shape)) {
      const message = `Weight "${name}" is [${entry.shape}], the configuration implies [${slot.shape}]`;
      faults.push(errorDiagnostic("Q0434", message, { node: name }));
    }
  }
  for (const name of entries.keys()) {
    if (!used.has(name) && changesMeaning(name, prefix, description.layers.length)) {
      faults.push(
        errorDiagnostic("Q0435", `Weight "${name}" has no place in a ${description.name} decoder`, { node: name }),
      );
    }
  }
  return faults;
}

/** A leftover weight inside a layer that is built; tables of frequencies and heads of tied models are not. */
function changesMeaning(name: string, prefix: string, layers: number): boolean {
  if (name.endsWith("rotary_emb.inv_freq")) return false;
  const layer = /^layers\.(\d+)\./.exec(name.startsWith(prefix) ? name.slice(prefix.length) : name);
  return layer !== null && Number(layer[1]) < layers;
}

function weightReader(
  description: DecoderDescription,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  prefix: string,
  options: ImportOptions,
): WeightLookup {
  const total = weightSlots(description).length;
  let done = 0;
  return (slot: WeightSlot) => {
    const origin = weightName(slot, prefix, description.sandwichNorms);
    const entry = entries.get(origin);
    if (entry === undefined) return fail("Q0434", `Weight "${origin}" is missing`, { node: origin });
    const tensor = readFloatTensor(entry);
    options.onProgress?.({ stage: "Reading weights", done: ++done, total });
    return { tensor, origin };
  };
}

function readAssets(folder: ModelFolder): Readonly<Record<string, Uint8Array<ArrayBuffer>>> {
  const present = assetNames.filter((name) => folder.has(name));
  return Object.fromEntries(present.map((name) => [name, readWhole(folder.open(name))]));
}

/** Token ids that begin and end text; generation_config.json overrides config.json. */
function tokenIds(folder: ModelFolder, config: JsonObject): JsonObject {
  const generation = folder.has(generationName)
    ? parseJsonObject(readWhole(folder.open(generationName)), generationName)
    : {};
  const pick = (key: string) => generation[key] ?? config[key] ?? null;
  const eos = pick("eos_token_id");
  return {
    bosTokenId: pick("bos_token_id"),
    eosTokenIds: eos === null ? [] : Array.isArray(eos) ? eos : [eos],
  };
}
