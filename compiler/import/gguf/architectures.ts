/** What tells llama.cpp's architectures of the Llama family apart. */

import type { Activation } from "../transformer/description.ts";

export interface GgufArchitecture {
  /** Query and key rows are stored so that rotary pairs are neighbours (2i, 2i+1), and have to be put back in halves. */
  readonly interleavedRows: boolean;
  readonly queryKeyNorms: boolean;
  readonly sandwichNorms: boolean;
  readonly activation: Activation;
  /** Embeddings are multiplied by √hidden. Gemma's norm weights are stored with their 1 added. */
  readonly scaledEmbedding: boolean;
  readonly softcaps: boolean;
  /** Every n-th layer has no rotary position embedding; 0 means that all have one. */
  readonly unrotatedEvery: number;
  /** Layers that use the sliding window, when the file names one. */
  readonly sliding: "none" | "alternating";
}

const llama: GgufArchitecture = {
  interleavedRows: true,
  queryKeyNorms: false,
  sandwichNorms: false,
  activation: "silu",
  scaledEmbedding: false,
  softcaps: false,
  unrotatedEvery: 0,
  sliding: "none",
};

const gemma: GgufArchitecture = { ...llama, interleavedRows: false, activation: "geluTanh", scaledEmbedding: true };

/** By the value of `general.architecture`. Mistral and SmolLM are stored as `llama`. */
export const ggufArchitectures: Readonly<Record<string, GgufArchitecture>> = {
  llama,
  qwen2: { ...llama, interleavedRows: false },
  qwen3: { ...llama, interleavedRows: false, queryKeyNorms: true },
  smollm3: { ...llama, unrotatedEvery: 4 },
  gemma,
  gemma2: { ...gemma, sandwichNorms: true, softcaps: true, sliding: "alternating" },
};
