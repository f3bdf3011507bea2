/** Reads the rotary position embedding of a config.json, in its old (`rope_scaling`) and new (`rope_parameters`) forms. */

import { Fields, suggestion } from "../fields.ts";
import { type RopeDescription, type RopeScaling, yarnAttentionFactor } from "../transformer/rope_table.ts";

const ropeTypes = ["default", "linear", "dynamic", "llama3", "yarn"];

export interface RopeDefaults {
  readonly base: number;
  readonly headExtent: number;
  readonly maximumPositions: number;
}

/** The rotation shared by all layers. Faults go to the fields' diagnostics. */
export function readRope(config: Fields, defaults: RopeDefaults): RopeDescription {
  const scaling = config.child("rope_scaling");
  const parameters = config.child("rope_parameters");
  const source = scaling ?? parameters ?? new Fields({}, config.place, config.diagnostics, config.code);
  const outerBase = config.number("rope_theta", defaults.base);
  const outerFactor = config.number("partial_rotary_factor", 1);
  const base = source.number("rope_theta", outerBase);
  const rotated = source.number("partial_rotary_factor", outerFactor);
  if (!(base > 1)) config.fault("rope_theta", `"rope_theta" is ${base}, wants more than 1`);
  if (!(rotated > 0 && rotated <= 1)) {
    config.fault("partial_rotary_factor", `"partial_rotary_factor" is ${rotated}, wants more than 0 and at most 1`);
  }
  const extent = Math.floor(defaults.headExtent * rotated);
  if (extent % 2 !== 0 || extent === 0) {
    config.fault("head_dim", `${extent} of ${defaults.headExtent} head dimensions are rotated, wants an even number`);
  }
  const original = config.has("original_max_position_embeddings")
    ? config.int("original_max_position_embeddings", undefined, 1)
    : undefined;
  const description = { base, extent, scaling: readScaling(source, defaults.maximumPositions, original) };
  for (const name of source === scaling || source === parameters ? source.unread() : []) {
    source.fault(name, `"${name}" of the rotary scaling is not known`);
  }
  return description;
}

function readScaling(source: Fields, maximumPositions: number, outerOriginal: number | undefined): RopeScaling {
  const legacyType = source.string("type", "default");
  const type = source.string("rope_type", legacyType);
  // "mrope" and "longrope" and whatever comes later change the meaning, so they are not ignored.
  if (!ropeTypes.includes(type)) {
    source.fault("rope_type", `rotary scaling "${type}" is not supported${hint(type)}`);
    return { kind: "none" };
  }
  if (type === "default") return { kind: "none" };
  const innerOriginal = source.has("original_max_position_embeddings")
    ? source.int("original_max_position_embeddings", undefined, 1)
    : maximumPositions;
  const originalPositions = outerOriginal ?? innerOriginal;
  const factor = source.has("factor")
    ? positive(source, "factor", 1)
    : impliedFactor(source, type, maximumPositions / originalPositions);
  if (type === "linear") return { kind: "linear", factor };
  if (type === "dynamic") return { kind: "dynamic", factor, originalPositions: maximumPositions };
  if (type === "llama3") {
    const lowFrequencyFactor = positive(source, "low_freq_factor", 1);
    const highFrequencyFactor = positive(source, "high_freq_factor", 4);
    if (highFrequencyFactor <= lowFrequencyFactor) {
      source.fault("high_freq_factor", `"high_freq_factor" is ${highFrequencyFactor}, wants more than low_freq_factor`);
    }
    return { kind: "llama3", factor, lowFrequencyFactor, highFrequencyFactor, originalPositions };
  }
  return { kind: "yarn", factor, originalPositions, ...readYarn(source, factor) };
}

function readYarn(source: Fields, factor: number) {
  const weight = source.number("mscale", 0);
  const weightAll = source.number("mscale_all_dim", 0);
  const implied = weight !== 0 && weightAll !== 0
    ? yarnAttentionFactor(factor, weight) / yarnAttentionFactor(factor, weightAll)
    : yarnAttentionFactor(factor);
  return {
    attentionFactor: source.has("attention_factor") ? positive(source, "attention_factor", 1) : implied,
    betaFast: source.has("beta_fast") ? positive(source, "beta_fast", 32) : 32,
    betaSlow: source.has("beta_slow") ? positive(source, "beta_slow", 1) : 1,
    truncate: source.boolean("truncate", true),
  };
}

/** YaRN's factor may follow from the two position counts; the other types must say theirs. */
function impliedFactor(source: Fields, type: string, ratio: number): number {
  if (type === "yarn") return ratio;
  source.fault("factor", `"factor" is missing`);
  return 1;
}

function positive(source: Fields, name: string, harmless: number): number {
  const value = source.number(name, harmless, true);
  if (value > 0) return value;
  source.fault(name, `"${name}" is ${value}, wants more than 0`);
  return harmless;
}

function hint(type: string): string {
  const near = suggestion(type, ropeTypes);
  return near === undefined ? "" : `. ${near}`;
}
