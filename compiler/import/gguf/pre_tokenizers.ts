/** llama.cpp's named pre-tokenizers of byte-level BPE vocabularies, as components of a tokenizer.json. */

import type { JsonObject } from "../fields.ts";

/** What the value of `tokenizer.ggml.pre` implies. */
export interface PreTokenizer {
  readonly normalizer: JsonObject | null;
  readonly component: JsonObject;
  /** Words of the vocabulary are taken whole before any merge. */
  readonly ignoreMerges: boolean;
  /** Whether a text begins with the BOS token unless the file says otherwise. */
  readonly addBos: boolean;
}

const byteLevelWords: JsonObject = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const byteLevelOnly: JsonObject = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };

function sequence(...pretokenizers: readonly JsonObject[]): JsonObject {
  return { type: "Sequence", pretokenizers };
}

function splitThenBytes(pattern: string): JsonObject {
  return sequence({ type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false }, byteLevelOnly);
}

/** The word pattern of tiktoken's cl100k, with `digits` as its number part. */
function wordPattern(digits: string): string {
  return `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|` +
    `\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
}

const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
const tekkenPattern = `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*|\\p{N}|` +
  ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const gpt2: PreTokenizer = { normalizer: null, component: byteLevelWords, ignoreMerges: false, addBos: false };
const smollm: PreTokenizer = {
  ...gpt2,
  component: sequence({ type: "Digits", individual_digits: true }, byteLevelWords),
};
const llama3: PreTokenizer = {
  normalizer: null,
  component: splitThenBytes(wordPattern("\\p{N}{1,3}")),
  ignoreMerges: true,
  addBos: true,
};
const qwen2: PreTokenizer = {
  normalizer: { type: "NFC" },
  component: splitThenBytes(wordPattern("\\p{N}")),
  ignoreMerges: false,
  addBos: false,
};
const tekken: PreTokenizer = { ...llama3, component: splitThenBytes(tekkenPattern) };

/** By the value of `tokenizer.ggml.pre`. */
export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  "gpt-2": gpt2,
  smollm,
  llama3,
  "llama-v3": llama3,
  "llama-bpe": llama3,
  "smaug-bpe": { ...llama3, ignoreMerges: false, addBos: false },
  qwen2,
  "deepseek-r1-qwen": qwen2,
  tekken,
};
