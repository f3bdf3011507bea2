/** What tells the architectures of the Llama family apart: defaults of their configurations, and fixed traits. */

/** Values that a config.json may leave out, and traits that no key states. */
export interface Architecture {
  readonly modelType: string;
  readonly defaults: {
    readonly keyValueHeads: number | "heads";
    readonly headExtent: number | "hidden/heads";
    readonly maximumPositions: number;
    readonly ropeBase: number;
    readonly tiedHead: boolean;
    readonly slidingWindow: number;
  };
  /** Biases of q, k and v: always, never, or (with the output's) as `attention_bias` says. */
  readonly attentionBiases: "queryKeyValue" | "configured" | "none";
  readonly mlpBiases: "configured" | "none";
  readonly queryKeyNorms: boolean;
  /** Gemma: norms stored less one, embeddings scaled by √hidden, tanh GELU. */
  readonly gemma: boolean;
  /** Gemma2: sandwich norms, soft caps, own attention scale. */
  readonly gemma2: boolean;
  /**
   * `uniform`: `sliding_window` holds in all layers. `switched`: only with `use_sliding_window`, from `max_window_layers`.
   * `alternating`: every other layer from the first. `unrotated`: with `use_sliding_window`, in layers without rotation.
   */
  readonly sliding: "none" | "uniform" | "switched" | "alternating" | "unrotated";
  /** Some layers have no rotary position embedding (`no_rope_layers`). */
  readonly unrotatedLayers: boolean;
}

const llama: Architecture = {
  modelType: "llama",
  defaults: {
    keyValueHeads: "heads",
    headExtent: "hidden/heads",
    maximumPositions: 2048,
    ropeBase: 10000,
    tiedHead: false,
    slidingWindow: 0,
  },
  attentionBiases: "configured",
  mlpBiases: "configured",
  queryKeyNorms: false,
  gemma: false,
  gemma2: false,
  sliding: "none",
  unrotatedLayers: false,
};

const qwen2: Architecture = {
  ...llama,
  modelType: "qwen2",
  defaults: { ...llama.defaults, keyValueHeads: 32, maximumPositions: 32768, slidingWindow: 4096 },
  attentionBiases: "queryKeyValue",
  mlpBiases: "none",
  sliding: "switched",
};

const gemma: Architecture = {
  ...llama,
  modelType: "gemma",
  defaults: { ...llama.defaults, keyValueHeads: 16, headExtent: 256, maximumPositions: 8192, tiedHead: true },
  mlpBiases: "none",
  gemma: true,
};

/** By the name in `architectures`. Defaults are those of the reference implementation's configuration classes. */
export const architectures: Readonly<Record<string, Architecture>> = {
  LlamaForCausalLM: llama,
  MistralForCausalLM: {
    ...llama,
    modelType: "mistral",
    defaults: { ...llama.defaults, keyValueHeads: 8, maximumPositions: 131072, slidingWindow: 4096 },
    attentionBiases: "none",
    mlpBiases: "none",
    sliding: "uniform",
  },
  Qwen2ForCausalLM: qwen2,
  Qwen3ForCausalLM: {
    ...qwen2,
    modelType: "qwen3",
    defaults: { ...qwen2.defaults, headExtent: 128 },
    attentionBiases: "configured",
    queryKeyNorms: true,
  },
  SmolLM3ForCausalLM: {
    ...llama,
    modelType: "smollm3",
    defaults: { ...llama.defaults, keyValueHeads: 4, maximumPositions: 32768, ropeBase: 2000000, tiedHead: true },
    sliding: "unrotated",
    unrotatedLayers: true,
  },
  GemmaForCausalLM: gemma,
  Gemma2ForCausalLM: {
    ...gemma,
    modelType: "gemma2",
    defaults: { ...gemma.defaults, keyValueHeads: 4, slidingWindow: 4096 },
    gemma2: true,
    sliding: "alternating",
  },
};
