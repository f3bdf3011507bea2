/** config.json of a Llama-family checkpoint as a decoder description. */

import { type Diagnostic, DiagnosticError, errorDiagnostic } from "../../diagnostics.ts";
import type { Activation, DecoderDescription, LayerDescription } from "../transformer/description.ts";
import { Fields, type JsonObject, shown, suggestion } from "../fields.ts";
import { type Architecture, architectures } from "./architectures.ts";
import { readRope } from "./rope_config.ts";

const activations: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_pytorch_tanh: "geluTanh",
  gelu_new: "geluTanh",
  relu: "relu",
};

/** Keys that say nothing about what the network computes. */
const harmlessKeys = new Set([
  "_name_or_path",
  "_attn_implementation_autoset",
  "architectures",
  "attention_dropout",
  "auto_map",
  "bos_token_id",
  "cache_implementation",
  "chunk_size_feed_forward",
  "dtype",
  "eos_token_id",
  "hidden_dropout",
  "id2label",
  "initializer_range",
  "is_llama_config",
  "label2id",
  "max_window_layers",
  "model_type",
  "output_attentions",
  "output_hidden_states",
  "pad_token_id",
  "pretraining_tp",
  "resid_pdrop",
  "return_dict",
  "rope_interleaved",
  "torch_dtype",
  "transformers.js_config",
  "transformers_version",
  "unk_token_id",
  "use_cache",
]);

/** Values under which an unknown key is taken to be switched off. */
function isNeutral(value: unknown): boolean {
  return value === null || value === false || value === 0 || (Array.isArray(value) && value.length === 0);
}

export interface ReadConfig {
  readonly description: DecoderDescription;
  readonly warnings: readonly Diagnostic[];
}

/**
 * Reads a config.json. Throws a DiagnosticError that lists every fault: an unknown architecture (Q0430), wrong or missing
 * values (Q0431), features that are not supported (Q0432). Unknown keys are warnings (Q0433).
 */
export function readConfig(object: JsonObject, place: string): ReadConfig {
  const diagnostics: Diagnostic[] = [];
  const fields = new Fields(object, place, diagnostics, "Q0431");
  const architecture = findArchitecture(fields);
  if (architecture === undefined) throw new DiagnosticError(diagnostics);
  const description = readDescription(fields, architecture);
  if (fields.has("quantization_config")) {
    diagnostics.push(errorDiagnostic("Q0432", `"${place}" describes a quantized checkpoint`, {
      node: `${place}: quantization_config`,
      help: "Import the float checkpoint and quantize with a recipe, or use the model's GGUF file",
    }));
  }
  if (fields.boolean("use_bidirectional_attention", false)) {
    fields.fault("use_bidirectional_attention", "attention over later positions is not supported");
  }
  if (fields.boolean("rope_interleaved", false)) {
    fields.fault("rope_interleaved", "interleaved rotary pairs are not supported");
  }
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  const unknown = fields.unread().filter((name) => !harmlessKeys.has(name) && !isNeutral(object[name]));
  const warnings = unknown.map((name): Diagnostic => ({
    code: "Q0433",
    severity: "warning",
    message: `"${name}" = ${shown(object[name])} in "${place}" is not known and has been ignored`,
    node: `${place}: ${name}`,
  }));
  return { description, warnings };
}

function findArchitecture(fields: Fields): Architecture | undefined {
  const name = fields.strings("architectures")?.[0];
  const type = fields.string("model_type", "");
  const known = Object.keys(architectures);
  if (name !== undefined && Object.hasOwn(architectures, name)) return architectures[name];
  const byType = Object.values(architectures).find((entry) => entry.modelType === type);
  if (name === undefined && byType !== undefined) return byType;
  fields.diagnostics.push(errorDiagnostic("Q0430", `Architecture "${name ?? type}" is not supported`, {
    node: `${fields.place}: architectures`,
    notes: [`Supported: ${known.join(", ")}`],
    help: suggestion(name ?? type, known),
  }));
  return undefined;
}

function readDescription(fields: Fields, architecture: Architecture): DecoderDescription {
  const { defaults } = architecture;
  const hidden = fields.int("hidden_size", undefined, 1);
  const heads = fields.int("num_attention_heads", undefined, 1);
  const isNull = fields.object.num_key_value_heads === null;
  const keyValueHeads = fields.int(
    "num_key_value_heads",
    defaults.keyValueHeads === "heads" || isNull ? heads : defaults.keyValueHeads,
    1,
  );
  if (heads % keyValueHeads !== 0) {
    fields.fault("num_key_value_heads", `${heads} heads are not a multiple of ${keyValueHeads} key and value heads`);
  }
  const headExtent = readHeadExtent(fields, architecture, hidden, heads);
  const maximumPositions = fields.int("max_position_embeddings", defaults.maximumPositions, 1);
  const biased = architecture.attentionBiases === "configured" && fields.boolean("attention_bias", false);
  const softcaps = architecture.gemma2 ? ["attn_logit_softcapping", "final_logit_softcapping"] : [];
  const [attentionSoftcap = 0, logitSoftcap = 0] = softcaps.map((name) => readSoftcap(fields, name));
  const scalar = architecture.gemma2 ? fields.number("query_pre_attn_scalar", 256) : headExtent;
  if (!(scalar > 0)) fields.fault("query_pre_attn_scalar", `"query_pre_attn_scalar" is ${scalar}, wants more than 0`);
  const epsilon = fields.number("rms_norm_eps", 1e-6);
  if (!(epsilon >= 0)) fields.fault("rms_norm_eps", `"rms_norm_eps" is ${epsilon}, wants 0 or more`);
  return {
    name: architecture.modelType,
    vocabulary: fields.int("vocab_size", undefined, 1),
    hidden,
    intermediate: fields.int("intermediate_size", undefined, 1),
    heads,
    keyValueHeads,
    headExtent,
    layers: readLayers(fields, architecture, headExtent, maximumPositions),
    normEpsilon: epsilon,
    gainOffset: architecture.gemma ? 1 : 0,
    sandwichNorms: architecture.gemma2,
    activation: readActivation(fields, architecture),
    attentionScale: 1 / Math.sqrt(scalar),
    attentionSoftcap,
    logitSoftcap,
    embeddingScale: architecture.gemma ? Math.sqrt(hidden) : 1,
    maximumPositions,
    biases: {
      queryKeyValue: architecture.attentionBiases === "queryKeyValue" || biased,
      output: biased,
      mlp: architecture.mlpBiases === "configured" && fields.boolean("mlp_bias", false),
    },
    queryKeyNorms: architecture.queryKeyNorms,
    tiedHead: fields.boolean("tie_word_embeddings", defaults.tiedHead),
  };
}

function readHeadExtent(fields: Fields, architecture: Architecture, hidden: number, heads: number): number {
  if (fields.has("head_dim")) return fields.int("head_dim", undefined, 1);
  if (architecture.defaults.headExtent !== "hidden/heads") return architecture.defaults.headExtent;
  if (hidden % heads !== 0) {
    fields.fault("num_attention_heads", `hidden_size ${hidden} does not divide into ${heads} heads`);
  }
  return Math.max(1, Math.floor(hidden / heads));
}

/** Gemma2's caps: absent means the architecture's default, null means none. */
function readSoftcap(fields: Fields, name: string): number {
  if (Object.hasOwn(fields.object, name) && fields.object[name] === null) {
    fields.has(name);
    return 0;
  }
  const cap = fields.number(name, name === "attn_logit_softcapping" ? 50 : 30);
  if (!(cap > 0)) fields.fault(name, `"${name}" is ${cap}, wants more than 0`);
  return cap;
}

function readActivation(fields: Fields, architecture: Architecture): Activation {
  const fallback = architecture.gemma ? "gelu_pytorch_tanh" : "silu";
  const key = fields.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const name = fields.string(key, fallback);
  fields.has("hidden_act");
  // Gemma's first release said "gelu" and meant the tanh approximation.
  if (architecture.gemma && name === "gelu") return "geluTanh";
  if (Object.hasOwn(activations, name)) return activations[name];
  fields.fault(key, `activation "${name}" is not supported`);
  return "silu";
}

/** Layers take memory before any weight is checked, so their number is bounded. */
const maximumLayers = 1000;

function readLayers(
  fields: Fields,
  architecture: Architecture,
  headExtent: number,
  maximumPositions: number,
): readonly LayerDescription[] {
  const count = fields.int("num_hidden_layers", undefined, 1);
  if (count > maximumLayers) {
    fields.fault("num_hidden_layers", `"num_hidden_layers" is ${count}, more than ${maximumLayers}`);
    return [];
  }
  const rope = readRope(fields, { base: architecture.defaults.ropeBase, headExtent, maximumPositions });
  const rotated = readRotated(fields, architecture, count);
  const windows = readWindows(fields, architecture, rotated);
  return rotated.map((isRotated, layer) => ({ window: windows[layer], ...(isRotated ? { rope } : {}) }));
}

function readRotated(fields: Fields, architecture: Architecture, count: number): readonly boolean[] {
  if (!architecture.unrotatedLayers) return new Array<boolean>(count).fill(true);
  const interval = fields.int("no_rope_layer_interval", 4, 1);
  const list = fields.numbers("no_rope_layers");
  if (list !== undefined && list.length < count) {
    fields.fault("no_rope_layers", `"no_rope_layers" has ${list.length} entries for ${count} layers`);
  }
  return Array.from(
    { length: count },
    (_, layer) => list === undefined ? (layer + 1) % interval !== 0 : list[layer] !== 0,
  );
}

/** The window of every layer; 0 means all keys. `layer_types`, where present, says which layers slide. */
function readWindows(fields: Fields, architecture: Architecture, rotated: readonly boolean[]): readonly number[] {
  if (architecture.sliding === "none") {
    const types = fields.strings("layer_types") ?? [];
    if (types.some((type) => type !== "full_attention")) {
      fields.fault("layer_types", "only full_attention is supported");
    }
    return rotated.map(() => 0);
  }
  const conditional = architecture.sliding === "switched" || architecture.sliding === "unrotated";
  const enabled = !conditional || fields.boolean("use_sliding_window", false);
  const firstLayer = architecture.sliding === "switched" ? fields.int("max_window_layers", 28) : 0;
  const isNull = Object.hasOwn(fields.object, "sliding_window") && !fields.has("sliding_window");
  const window = isNull ? 0 : fields.int("sliding_window", architecture.defaults.slidingWindow);
  const types = readLayerTypes(fields, rotated.length);
  return rotated.map((isRotated, layer) => {
    if (!enabled) return 0;
    if (types !== undefined && architecture.sliding !== "uniform") {
      return types[layer] === "sliding_attention" ? window : 0;
    }
    return slides(architecture.sliding, layer, firstLayer, isRotated) ? window : 0;
  });
}

function slides(kind: Architecture["sliding"], layer: number, firstLayer: number, isRotated: boolean): boolean {
  switch (kind) {
    case "none":
      return false;
    case "uniform":
      return true;
    case "switched":
      return layer >= firstLayer;
    case "alternating":
      return layer % 2 === 0;
    case "unrotated":
      return !isRotated;
  }
}

function readLayerTypes(fields: Fields, count: number): readonly string[] | undefined {
  const types = fields.strings("layer_types");
  if (types === undefined) return undefined;
  const known = ["full_attention", "sliding_attention"];
  const unknown = types.filter((type) => !known.includes(type));
  if (unknown.length > 0) fields.fault("layer_types", `layer type "${unknown[0]}" is not supported`);
  if (types.length < count) {
    fields.fault("layer_types", `"layer_types" has ${types.length} entries for ${count} layers`);
  }
  return types;
}
