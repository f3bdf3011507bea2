/** The tokenizer of a GGUF file as Hugging Face's tokenizer.json and tokenizer_config.json. */

import { type Diagnostic, errorDiagnostic } from "../../diagnostics.ts";
import type { JsonObject } from "../fields.ts";
import { type PreTokenizer, preTokenizers } from "./pre_tokenizers.ts";
import { sentencePieceMerges } from "./sentence_piece.ts";

export interface GgufTokenizer {
  readonly assets: Readonly<Record<string, Uint8Array<ArrayBuffer>>>;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly warnings: readonly Diagnostic[];
}

/** ggml's token types. */
const tokenTypes = { unknown: 2, control: 3, userDefined: 4 } as const;

/** The parts of the metadata that a tokenizer is made of, checked. */
interface Vocabulary {
  readonly model: string;
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly scores: readonly number[];
  readonly merges: readonly string[];
}

/** The file's tokenizer as assets; what cannot be expressed is a warning (Q0447), and the model goes without. */
export function readTokenizer(metadata: JsonObject, vocabulary: number): GgufTokenizer {
  const ids = tokenIds(metadata, vocabulary);
  const parts = readVocabulary(metadata);
  if (typeof parts === "string") return { ...ids, assets: {}, warnings: [warning(parts)] };
  const specials = specialTokens(metadata, parts);
  const built = parts.model === "gpt2" ? byteLevelModel(metadata, parts) : sentencePieceModel(metadata, parts);
  if (typeof built === "string") return { ...ids, assets: {}, warnings: [warning(built)] };
  const addBos = flag(metadata, "add_bos_token", built.addBos) && specials.bos_token !== undefined;
  const addEos = flag(metadata, "add_eos_token", false) && specials.eos_token !== undefined;
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(parts),
    normalizer: built.normalizer,
    pre_tokenizer: built.preTokenizer,
    post_processor: template(addBos ? specials.bos_token : undefined, addEos ? specials.eos_token : undefined, parts),
    decoder: built.decoder,
    model: built.model,
  };
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_bos_token: addBos,
    add_eos_token: addEos,
    clean_up_tokenization_spaces: false,
    ...specials,
    ...chatTemplate(metadata),
  };
  const assets = { "tokenizer.json": encode(tokenizer), "tokenizer_config.json": encode(config) };
  return { ...ids, assets, warnings: [] };
}

function encode(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function warning(message: string): Diagnostic {
  return {
    ...errorDiagnostic("Q0447", `No tokenizer.json: ${message}`, { node: "tokenizer.ggml" }),
    severity: "warning",
  };
}

function key(metadata: JsonObject, name: string): unknown {
  return metadata[`tokenizer.ggml.${name}`];
}

function flag(metadata: JsonObject, name: string, fallback: boolean): boolean {
  const value = key(metadata, name);
  return typeof value === "boolean" ? value : fallback;
}

function tokenIds(metadata: JsonObject, vocabulary: number) {
  const id = (name: string) => {
    const value = key(metadata, name);
    return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < vocabulary ? [value] : [];
  };
  const ends = ["eos_token_id", "eot_token_id", "eom_token_id"].flatMap(id);
  return { bosTokenId: id("bos_token_id")[0] ?? null, eosTokenIds: [...new Set(ends)] };
}

/** The checked vocabulary, or what is wrong with it. */
function readVocabulary(metadata: JsonObject): Vocabulary | string {
  const model = key(metadata, "model");
  if (model === undefined) return "the file holds none";
  if (model !== "gpt2" && model !== "llama") return `tokenizer model ${JSON.stringify(model)} is not supported`;
  const tokens = key(metadata, "tokens");
  if (!isList(tokens, "string")) return "tokenizer.ggml.tokens is no list of strings";
  const types = key(metadata, "token_type") ?? new Array<number>(tokens.length).fill(1);
  if (!isList(types, "number") || types.length !== tokens.length) {
    return "tokenizer.ggml.token_type does not fit the tokens";
  }
  const scores = key(metadata, "scores") ?? new Array<number>(tokens.length).fill(0);
  if (!isList(scores, "number") || scores.length !== tokens.length) {
    return "tokenizer.ggml.scores does not fit the tokens";
  }
  const merges = key(metadata, "merges") ?? [];
  if (!isList(merges, "string")) return "tokenizer.ggml.merges is no list of strings";
  return { model, tokens, types, scores, merges };
}

function isList(value: unknown, kind: "string"): value is readonly string[];
function isList(value: unknown, kind: "number"): value is readonly number[];
function isList(value: unknown, kind: "string" | "number"): boolean {
  return Array.isArray(value) && value.every((entry) => typeof entry === kind);
}

/** `bos_token` and the like, as tokenizer_config.json names them. */
function specialTokens(metadata: JsonObject, { tokens }: Vocabulary): Readonly<Record<string, string | undefined>> {
  const roles = { bos: "bos_token_id", eos: "eos_token_id", unk: "unknown_token_id", pad: "padding_token_id" };
  const entries = Object.entries(roles).flatMap(([role, name]) => {
    const id = key(metadata, name);
    const token = typeof id === "number" ? tokens[id] : undefined;
    return token === undefined ? [] : [[`${role}_token`, token] as const];
  });
  return Object.fromEntries(entries);
}

function addedTokens({ tokens, types }: Vocabulary): readonly JsonObject[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== tokenTypes.control && type !== tokenTypes.userDefined && type !== tokenTypes.unknown) return [];
    const special = type !== tokenTypes.userDefined;
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

function template(bos: string | undefined, eos: string | undefined, { tokens }: Vocabulary): JsonObject | null {
  if (bos === undefined && eos === undefined) return null;
  const before = bos === undefined ? [] : [{ SpecialToken: { id: bos, type_id: 0 } }];
  const after = eos === undefined ? [] : [{ SpecialToken: { id: eos, type_id: 0 } }];
  const around = (name: string) => [...before, { Sequence: { id: name, type_id: 0 } }, ...after];
  const used = [bos, eos].filter((token) => token !== undefined);
  return {
    type: "TemplateProcessing",
    single: around("A"),
    pair: [...around("A"), ...around("B")],
    special_tokens: Object.fromEntries(
      used.map((token) => [token, { id: token, ids: [tokens.indexOf(token)], tokens: [token] }]),
    ),
  };
}

/** `tokenizer.chat_template`, and further templates under `tokenizer.chat_template.NAME`. */
function chatTemplate(metadata: JsonObject): JsonObject {
  const main = metadata["tokenizer.chat_template"];
  const prefix = "tokenizer.chat_template.";
  const named = Object.entries(metadata).filter(([name, value]) =>
    name.startsWith(prefix) && typeof value === "string"
  );
  if (named.length === 0) return typeof main === "string" ? { chat_template: main } : {};
  const all = named.map(([name, value]) => ({ name: name.slice(prefix.length), template: value }));
  return { chat_template: typeof main === "string" ? [{ name: "default", template: main }, ...all] : all };
}

interface BuiltModel {
  readonly normalizer: JsonObject | null;
  readonly preTokenizer: JsonObject | null;
  readonly decoder: JsonObject;
  readonly model: JsonObject;
  readonly addBos: boolean;
}

function vocabularyOf(tokens: readonly string[]): JsonObject {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

function byteLevelModel(metadata: JsonObject, { tokens, merges }: Vocabulary): BuiltModel | string {
  const name = key(metadata, "pre") ?? "gpt-2";
  const known: PreTokenizer | undefined = typeof name === "string" && Object.hasOwn(preTokenizers, name)
    ? preTokenizers[name]
    : undefined;
  if (known === undefined) return `pre-tokenizer ${JSON.stringify(name)} is not supported`;
  return {
    normalizer: known.normalizer,
    preTokenizer: known.component,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: known.ignoreMerges,
      vocab: vocabularyOf(tokens),
      merges,
    },
    addBos: known.addBos,
  };
}

/** SentencePiece BPE: spaces are "▁", unknown characters fall back to bytes, merges follow the scores. */
function sentencePieceModel(metadata: JsonObject, { tokens, types, scores }: Vocabulary): BuiltModel {
  const prefix = flag(metadata, "add_space_prefix", true);
  const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const unknown = tokens[types.indexOf(tokenTypes.unknown)] ?? "<unk>";
  return {
    normalizer: prefix ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spaces] } : spaces,
    preTokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabularyOf(tokens),
      merges: sentencePieceMerges(tokens, types, scores),
    },
    addBos: true,
  };
}
