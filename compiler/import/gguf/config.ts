/** GGUF metadata of a Llama-family model as a decoder description. */

import { type Diagnostic, DiagnosticError, errorDiagnostic } from "../../diagnostics.ts";
import type { DecoderDescription, LayerDescription } from "../transformer/description.ts";
import { type RopeDescription, type RopeScaling, yarnAttentionFactor } from "../transformer/rope_table.ts";
import { Fields, isObject, type JsonObject, shown, suggestion } from "../fields.ts";
import { type GgufArchitecture, ggufArchitectures } from "./architectures.ts";
import type { GgufTensor } from "./header.ts";

export interface GgufConfig {
  readonly architecture: GgufArchitecture;
  readonly description: DecoderDescription;
  readonly warnings: readonly Diagnostic[];
}

/** Keys below the architecture's prefix that say nothing about what the network computes. */
const harmlessKeys = new Set(["vocab_size", "rope.scaling.finetuned", "attention.causal"]);

const maximumLayers = 1000;

/**
 * Reads the metadata of a file whose tensors are `tensors` (they say what is tied and what has biases); `divisors` are the
 * file's own rotary frequency divisors. Throws a DiagnosticError that lists every fault: an unknown architecture (Q0441),
 * wrong or missing keys (Q0442), features that are not supported (Q0443). Unknown keys are warnings (Q0433).
 */
export function readGgufConfig(
  metadata: JsonObject,
  tensors: ReadonlyMap<string, GgufTensor>,
  divisors: readonly number[] | undefined,
): GgufConfig {
  const diagnostics: Diagnostic[] = [];
  const name = new Fields(metadata, "metadata", diagnostics, "Q0442").string("general.architecture", "");
  const architecture = Object.hasOwn(ggufArchitectures, name) ? ggufArchitectures[name] : undefined;
  if (architecture === undefined) {
    const known = Object.keys(ggufArchitectures);
    throw new DiagnosticError([errorDiagnostic("Q0441", `Architecture "${name}" is not supported`, {
      node: "general.architecture",
      notes: [`Supported: ${known.join(", ")}`],
      help: suggestion(name, known),
    })]);
  }
  const fields = new Fields(keysBelow(metadata, `${name}.`), name, diagnostics, "Q0442");
  const description = readDescription(fields, name, architecture, tensors, divisors);
  if (fields.has("expert_count") && fields.int("expert_count", 0) > 0) {
    fields.fault("expert_count", "mixtures of experts are not supported");
  }
  if (!fields.boolean("attention.causal", true)) {
    fields.fault("attention.causal", "attention over later positions is not supported");
  }
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  const warnings = fields.unread().filter((key) => !harmlessKeys.has(key) && fields.object[key] !== 0).map((
    key,
  ): Diagnostic => ({
    code: "Q0433",
    severity: "warning",
    message: `"${name}.${key}" = ${shown(fields.object[key])} is not known and has been ignored`,
    node: `${name}.${key}`,
  }));
  return { architecture, description, warnings };
}

function keysBelow(metadata: JsonObject, prefix: string): JsonObject {
  const entries = Object.entries(metadata).filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(entries.map(([key, value]) => [key.slice(prefix.length), uniform(value)]));
}

/** Per-layer lists of one and the same number stand for that number. */
function uniform(value: unknown): unknown {
  if (!Array.isArray(value) || value.length === 0 || isObject(value[0])) return value;
  return value.every((entry) => entry === value[0]) ? value[0] : value;
}

function readDescription(
  fields: Fields,
  name: string,
  architecture: GgufArchitecture,
  tensors: ReadonlyMap<string, GgufTensor>,
  divisors: readonly number[] | undefined,
): DecoderDescription {
  const hidden = fields.int("embedding_length", undefined, 1);
  const heads = fields.int("attention.head_count", undefined, 1);
  const keyValueHeads = fields.int("attention.head_count_kv", heads, 1);
  if (heads % keyValueHeads !== 0) {
    fields.fault(
      "attention.head_count_kv",
      `${heads} heads are not a multiple of ${keyValueHeads} key and value heads`,
    );
  }
  const headExtent = readHeadExtent(fields, hidden, heads);
  const maximumPositions = fields.int("context_length", undefined, 1);
  const epsilon = fields.number("attention.layer_norm_rms_epsilon", 1e-6, true);
  if (!(epsilon >= 0)) fields.fault("attention.layer_norm_rms_epsilon", `epsilon is ${epsilon}, wants 0 or more`);
  const layers = readLayers(fields, architecture, readRope(fields, headExtent, maximumPositions, divisors));
  const has = (tensor: string) => tensors.has(tensor);
  return {
    name,
    vocabulary: tensors.get("token_embd.weight")?.shape[0] ?? 1,
    hidden,
    intermediate: fields.int("feed_forward_length", undefined, 1),
    heads,
    keyValueHeads,
    headExtent,
    layers,
    normEpsilon: epsilon,
    gainOffset: 0,
    sandwichNorms: architecture.sandwichNorms,
    activation: architecture.activation,
    attentionScale: readAttentionScale(name, headExtent, hidden / heads, layers.length),
    attentionSoftcap: architecture.softcaps ? readSoftcap(fields, "attn_logit_softcapping", 50) : 0,
    logitSoftcap: architecture.softcaps ? readSoftcap(fields, "final_logit_softcapping", 30) : 0,
    embeddingScale: architecture.scaledEmbedding ? Math.sqrt(hidden) : 1,
    maximumPositions,
    biases: {
      queryKeyValue: has("blk.0.attn_q.bias"),
      output: has("blk.0.attn_output.bias"),
      mlp: has("blk.0.ffn_gate.bias"),
    },
    queryKeyNorms: architecture.queryKeyNorms,
    tiedHead: !has("output.weight"),
  };
}

/** 1/√head; the 27B Gemma2, told by its 46 layers as llama.cpp does, divides hidden by heads instead. */
function readAttentionScale(name: string, headExtent: number, hiddenPerHead: number, layers: number): number {
  return 1 / Math.sqrt(name === "gemma2" && layers === 46 ? hiddenPerHead : headExtent);
}

function readSoftcap(fields: Fields, key: string, fallback: number): number {
  const cap = fields.number(key, fallback);
  if (!(cap >= 0)) fields.fault(key, `"${key}" is ${cap}, wants 0 or more`);
  return cap;
}

function readHeadExtent(fields: Fields, hidden: number, heads: number): number {
  const implied = Math.floor(hidden / heads);
  if (!fields.has("attention.key_length") && hidden % heads !== 0) {
    fields.fault("attention.head_count", `embedding_length ${hidden} does not divide into ${heads} heads`);
  }
  const keys = fields.int("attention.key_length", Math.max(1, implied), 1);
  const values = fields.int("attention.value_length", keys, 1);
  if (keys !== values) {
    fields.fault("attention.value_length", `value heads of ${values} beside key heads of ${keys} are not supported`);
  }
  return keys;
}

function readLayers(
  fields: Fields,
  architecture: GgufArchitecture,
  rope: RopeDescription,
): readonly LayerDescription[] {
  const count = fields.int("block_count", undefined, 1);
  if (count > maximumLayers) {
    fields.fault("block_count", `"block_count" is ${count}, more than ${maximumLayers}`);
    return [];
  }
  const window = fields.int("attention.sliding_window", 0);
  if (window > 0 && architecture.sliding === "none") {
    fields.fault("attention.sliding_window", "a sliding window is not known for this architecture");
  }
  const every = architecture.unrotatedEvery;
  return Array.from({ length: count }, (_, layer) => ({
    window: architecture.sliding === "alternating" && layer % 2 === 0 ? window : 0,
    ...(every > 0 && (layer + 1) % every === 0 ? {} : { rope }),
  }));
}

function readRope(
  fields: Fields,
  headExtent: number,
  maximumPositions: number,
  divisors: readonly number[] | undefined,
): RopeDescription {
  const base = fields.number("rope.freq_base", 10000);
  if (!(base > 1)) fields.fault("rope.freq_base", `"rope.freq_base" is ${base}, wants more than 1`);
  const extent = fields.int("rope.dimension_count", headExtent, 2);
  if (extent % 2 !== 0 || extent > headExtent) {
    fields.fault("rope.dimension_count", `${extent} of ${headExtent} head dimensions are rotated, wants an even part`);
  }
  const scaling = readScaling(fields, maximumPositions);
  if (divisors === undefined) return { base, extent, scaling };
  if (divisors.length !== extent / 2 || !divisors.every((divisor) => divisor > 0)) {
    fields.fault(
      "rope_freqs.weight",
      `rope_freqs.weight has ${divisors.length} entries, wants ${extent / 2}, all above 0`,
    );
  }
  if (scaling.kind !== "none") {
    fields.fault("rope.scaling.type", `"${scaling.kind}" scaling beside rope_freqs.weight is not supported`);
  }
  return { base, extent, scaling: { kind: "divisors", divisors } };
}

function readScaling(fields: Fields, maximumPositions: number): RopeScaling {
  const legacy = fields.number("rope.scale_linear", 0);
  const type = fields.string("rope.scaling.type", legacy > 0 && legacy !== 1 ? "linear" : "none");
  const factor = fields.number("rope.scaling.factor", legacy > 0 ? legacy : 1);
  if (!(factor > 0)) fields.fault("rope.scaling.factor", `"rope.scaling.factor" is ${factor}, wants more than 0`);
  const originalPositions = fields.int("rope.scaling.original_context_length", maximumPositions, 1);
  const weight = fields.number("rope.scaling.attn_factor", 1);
  const yarnWeight = fields.number("rope.scaling.yarn_attn_factor", weight);
  const betaFast = fields.number("rope.scaling.yarn_beta_fast", 32);
  const betaSlow = fields.number("rope.scaling.yarn_beta_slow", 1);
  if (!(betaFast > 0 && betaSlow > 0)) {
    fields.fault("rope.scaling.yarn_beta_fast", `betas are ${betaFast} and ${betaSlow}, wants more than 0`);
  }
  switch (type) {
    case "none":
      return { kind: "none" };
    case "linear":
      return factor === 1 ? { kind: "none" } : { kind: "linear", factor };
    case "yarn": {
      const attentionFactor = yarnWeight * yarnAttentionFactor(factor);
      return { kind: "yarn", factor, originalPositions, betaFast, betaSlow, truncate: true, attentionFactor };
    }
    default:
      fields.fault("rope.scaling.type", `rotary scaling "${type}" is not supported`);
      return { kind: "none" };
  }
}
