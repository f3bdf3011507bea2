/** Cosine and sine tables of rotary position embeddings, with every published way to stretch them to longer contexts. */

import { type PlainTensor, plainTensor } from "../../ir/tensor.ts";

/**
 * How the inverse frequencies θ_i = base^(-2i/R) are changed.
 * `linear`: divided by `factor` (position interpolation, Chen et al. 2023).
 * `dynamic`: base grown for contexts longer than `originalPositions` (NTK-aware scaling); the table is made for one context.
 * `llama3`: low frequencies divided, high ones kept, smooth between (Llama 3.1).
 * `yarn`: as llama3 with a linear ramp over dimensions, and a factor on the tables (Peng et al. 2023).
 * `divisors`: one divisor per frequency, as stored in a file (GGUF's rope_freqs).
 */
export type RopeScaling =
  | { readonly kind: "none" }
  | { readonly kind: "linear"; readonly factor: number }
  | { readonly kind: "dynamic"; readonly factor: number; readonly originalPositions: number }
  | {
    readonly kind: "llama3";
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalPositions: number;
  }
  | {
    readonly kind: "yarn";
    readonly factor: number;
    readonly originalPositions: number;
    readonly betaFast: number;
    readonly betaSlow: number;
    /** Whether the ramp's ends are rounded outwards to whole dimensions. */
    readonly truncate: boolean;
    /** Multiplies cosines and sines. */
    readonly attentionFactor: number;
  }
  | { readonly kind: "divisors"; readonly divisors: readonly number[] };

export interface RopeDescription {
  readonly base: number;
  /** Rotated part R of a head's extent; even. */
  readonly extent: number;
  readonly scaling: RopeScaling;
}

/** The R/2 inverse frequencies in radians per position, for tables that serve `context` positions. */
export function inverseFrequencies(rope: RopeDescription, context: number): readonly number[] {
  const { scaling, extent } = rope;
  switch (scaling.kind) {
    case "none":
      return frequencies(rope.base, extent);
    case "linear":
      return frequencies(rope.base, extent).map((frequency) => frequency / scaling.factor);
    case "dynamic":
      return frequencies(dynamicBase(rope.base, extent, scaling, context), extent);
    case "llama3":
      return frequencies(rope.base, extent).map((frequency) => llama3Frequency(frequency, scaling));
    case "yarn":
      return yarnFrequencies(rope.base, extent, scaling);
    case "divisors":
      return frequencies(rope.base, extent).map((frequency, index) => frequency / scaling.divisors[index]);
  }
}

/** cos[context, R/2] and sin[context, R/2], computed in float64 and rounded once. */
export function ropeTables(
  rope: RopeDescription,
  context: number,
): { readonly cos: PlainTensor<"f32">; readonly sin: PlainTensor<"f32"> } {
  const inverse = inverseFrequencies(rope, context);
  const amplitude = rope.scaling.kind === "yarn" ? rope.scaling.attentionFactor : 1;
  const cos = new Float32Array(context * inverse.length);
  const sin = new Float32Array(context * inverse.length);
  for (let position = 0; position < context; position++) {
    for (let index = 0; index < inverse.length; index++) {
      const angle = position * inverse[index];
      cos[position * inverse.length + index] = amplitude * Math.cos(angle);
      sin[position * inverse.length + index] = amplitude * Math.sin(angle);
    }
  }
  const shape = [context, inverse.length];
  return { cos: plainTensor("f32", shape, cos), sin: plainTensor("f32", shape, sin) };
}

/** YaRN's temperature on the tables: 0.1 * weight * ln(factor) + 1 (Peng et al. 2023, equation 22). */
export function yarnAttentionFactor(factor: number, weight = 1): number {
  return factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1;
}

function frequencies(base: number, extent: number): readonly number[] {
  return Array.from({ length: extent / 2 }, (_, index) => base ** (-2 * index / extent));
}

/** base * (factor * L / L0 - (factor - 1))^(R / (R - 2)) for a context L beyond the original L0. */
function dynamicBase(
  base: number,
  extent: number,
  scaling: Extract<RopeScaling, { kind: "dynamic" }>,
  context: number,
): number {
  if (context <= scaling.originalPositions) return base;
  const stretch = scaling.factor * context / scaling.originalPositions - (scaling.factor - 1);
  return base * stretch ** (extent / (extent - 2));
}

function llama3Frequency(frequency: number, scaling: Extract<RopeScaling, { kind: "llama3" }>): number {
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalPositions } = scaling;
  const wavelength = 2 * Math.PI / frequency;
  if (wavelength < originalPositions / highFrequencyFactor) return frequency;
  if (wavelength > originalPositions / lowFrequencyFactor) return frequency / factor;
  const smooth = (originalPositions / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

function yarnFrequencies(
  base: number,
  extent: number,
  scaling: Extract<RopeScaling, { kind: "yarn" }>,
): readonly number[] {
  // The dimension whose wave turns `turns` times over the original context.
  const dimensionOf = (turns: number) =>
    extent * Math.log(scaling.originalPositions / (turns * 2 * Math.PI)) / (2 * Math.log(base));
  const round = (value: number, toward: (value: number) => number) => scaling.truncate ? toward(value) : value;
  const low = Math.max(0, round(dimensionOf(scaling.betaFast), Math.floor));
  const end = Math.min(extent - 1, round(dimensionOf(scaling.betaSlow), Math.ceil));
  // Equal ends would divide by zero.
  const high = end === low ? low + 0.001 : end;
  return frequencies(base, extent).map((frequency, index) => {
    const interpolated = Math.min(1, Math.max(0, (index - low) / (high - low)));
    return frequency * (1 - interpolated) + frequency / scaling.factor * interpolated;
  });
}
