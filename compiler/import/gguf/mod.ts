/** Imports a GGUF file of the Llama family: quantized blocks as quantized constants, tokenizer as Hugging Face files. */

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
import type { Tensor } from "../../ir/tensor.ts";
import { type ByteSource, openFile } from "../files.ts";
import type { ImportedModel, ImportOptions } from "../model.ts";
import { buildDecoder } from "../transformer/decoder.ts";
import { type WeightLookup, type WeightSlot, weightSlots } from "../transformer/description.ts";
import { contextWarnings, decoderOptions } from "../transformer/options.ts";
import { decodeBlocks } from "./blocks.ts";
import { type GgufConfig, readGgufConfig } from "./config.ts";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "./header.ts";
import { halvesFromPairs } from "./rotary_rows.ts";
import { readTokenizer } from "./tokenizer.ts";
import { ggufWeightName } from "./weight_names.ts";

/** The decoder in a GGUF file as a graph ids[1, seq] -> logits. Every fault is a diagnostic. */
export async function importGguf(path: string, options: ImportOptions): Promise<Outcome<ImportedModel>> {
  try {
    const source = openFile(path);
    try {
      return await importGgufSource(source, options);
    } finally {
      source.close();
    }
  } catch (error) {
    if (error instanceof DiagnosticError) return failure(...error.diagnostics);
    throw error;
  }
}

/** As `importGguf`, from an open source. Throws a DiagnosticError. */
export async function importGgufSource(source: ByteSource, options: ImportOptions): Promise<Outcome<ImportedModel>> {
  const header = await readGgufHeader(source);
  refuseSplit(header, source.name);
  const config = readGgufConfig(header.metadata, header.tensors, readDivisors(source, header));
  const { description } = config;
  const faults = weightFaults(config, header);
  const served = decoderOptions(options, description.maximumPositions, faults);
  if (faults.length > 0) throw new DiagnosticError(faults);
  const graph = buildDecoder(description, served, weightReader(source, header, config, options));
  const tokenizer = readTokenizer(header.metadata, description.vocabulary);
  const model: ImportedModel = {
    graph,
    format: "gguf",
    assets: tokenizer.assets,
    metadata: {
      modelType: description.name,
      modelName: header.metadata["general.name"] ?? null,
      context: served.context,
      maximumPositions: description.maximumPositions,
      vocabulary: description.vocabulary,
      bosTokenId: tokenizer.bosTokenId,
      eosTokenIds: tokenizer.eosTokenIds,
    },
  };
  return success(model, [
    ...config.warnings,
    ...tokenizer.warnings,
    ...contextWarnings(served.context, description.maximumPositions),
  ]);
}

/** A file that is one of several holds only some of the tensors. */
function refuseSplit({ metadata }: GgufHeader, name: string): void {
  const count = metadata["split.count"];
  if (typeof count !== "number" || count <= 1) return;
  fail("Q0443", `"${name}" is one of ${count} files of a split model`, {
    node: "split.count",
    help: "Join them first: llama-gguf-split --merge FIRST.gguf WHOLE.gguf",
  });
}

const divisorsName = "rope_freqs.weight";

function readDivisors(source: ByteSource, header: GgufHeader): readonly number[] | undefined {
  const tensor = header.tensors.get(divisorsName);
  if (tensor === undefined || tensor.type !== "F32" || tensor.shape.length !== 1) return undefined;
  const decoded = readTensor(source, tensor);
  return decoded.kind === "plain" ? Array.from(decoded.data, Number) : undefined;
}

function readTensor(source: ByteSource, tensor: GgufTensor): Tensor {
  return decodeBlocks(tensor.type, tensor.shape, source.read(tensor.offset, tensor.length ?? 0));
}

/** Block types that cannot be read, and missing, misshapen or leftover weights: all of them. */
function weightFaults({ description }: GgufConfig, header: GgufHeader): Diagnostic[] {
  const faults: Diagnostic[] = [];
  const used = new Set<string>([divisorsName]);
  for (const slot of weightSlots(description)) {
    const name = ggufWeightName(slot);
    used.add(name);
    const tensor = header.tensors.get(name);
    if (tensor === undefined) {
      faults.push(errorDiagnostic("Q0444", `Tensor "${name}" is missing`, { node: name }));
    } else if (!equalShapes(tensor.shape, slot.shape)) {
      const message = `Tensor "${name}" is [${tensor.shape}], the metadata implies [${slot.shape}]`;
      faults.push(errorDiagnostic("Q0444", message, { node: name }));
    } else if (slot.shape.length === 1 && tensor.length !== undefined && !/^(F32|F16|BF16|F64)$/.test(tensor.type)) {
      faults.push(errorDiagnostic("Q0445", `Tensor "${name}" is ${tensor.type}, wants a float type`, { node: name }));
    }
  }
  for (const name of header.tensors.keys()) {
    // Old converters stored tables of rotary frequencies that follow from the metadata.
    if (used.has(name) || /^blk\.\d+\.attn_rot_embd/.test(name)) continue;
    const message = `Tensor "${name}" has no place in a ${description.name} decoder`;
    faults.push(errorDiagnostic("Q0446", message, { node: name }));
  }
  return [...unreadable(header), ...faults];
}

function unreadable(header: GgufHeader): readonly Diagnostic[] {
  return [...header.tensors.values()].filter((tensor) => tensor.length === undefined).map((tensor) =>
    errorDiagnostic("Q0445", `Tensor "${tensor.name}" is ${tensor.type}, which is not supported`, {
      node: tensor.name,
      help: "Supported block types: F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1",
    })
  );
}

const rotatedRoles: ReadonlySet<string> = new Set(["query", "queryBias", "key", "keyBias"]);

function weightReader(
  source: ByteSource,
  header: GgufHeader,
  { architecture, description }: GgufConfig,
  options: ImportOptions,
): WeightLookup {
  const total = weightSlots(description).length;
  let done = 0;
  return (slot: WeightSlot) => {
    const origin = ggufWeightName(slot);
    const entry = header.tensors.get(origin);
    if (entry === undefined) throw new DiagnosticError([errorDiagnostic("Q0444", `Tensor "${origin}" is missing`)]);
    const tensor = readTensor(source, entry);
    options.onProgress?.({ stage: "Reading weights", done: ++done, total });
    const isRotated = architecture.interleavedRows && rotatedRoles.has(slot.role);
    const rope = slot.layer === undefined ? undefined : description.layers[slot.layer].rope;
    if (!isRotated) return { tensor, origin };
    return { tensor: halvesFromPairs(tensor, description.headExtent, rope?.extent ?? description.headExtent), origin };
  };
}
