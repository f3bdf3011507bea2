import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
import { sharedFile, sharedTest } from "../../../tests/support/models.ts";
import { fetchedTest, smollm2 } from "../../../tests/support/fetched.ts";
import { openFile } from "../files.ts";
import type { JsonObject } from "../fields.ts";
import { readGgufHeader } from "./header.ts";
import { readTokenizer } from "./tokenizer.ts";

function load(metadata: JsonObject, vocabulary: number): Tokenizer {
  const { assets, warnings } = readTokenizer(metadata, vocabulary);
  assert.deepEqual(warnings, []);
  const parse = (name: string) => JSON.parse(new TextDecoder().decode(assets[name]));
  return new Tokenizer(parse("tokenizer.json"), parse("tokenizer_config.json"));
}

fetchedTest("readTokenizer gives SmolLM2's ids for WikiText-2 and the text back", smollm2, async (path) => {
  const source = openFile(path);
  const { metadata } = await readGgufHeader(source);
  source.close();
  const tokenizer = load(metadata, 49152);
  assert.deepEqual(tokenizer.encode("The capital of France is").ids, [504, 3575, 282, 4649, 314]);
  assert.deepEqual(tokenizer.encode("<|im_start|>user\nHi 42<|im_end|>").ids, [1, 4093, 198, 26843, 216, 36, 34, 2]);
  const textPath = sharedFile("text/wikitext2_valid.txt");
  if (textPath === undefined) return;
  const text = readFileSync(textPath, "utf8");
  const { ids } = tokenizer.encode(text, { add_special_tokens: false });
  assert.equal(ids.length, 273_868);
  assert.equal(tokenizer.decode(ids), text);
});

/** SentencePiece's own rule: from characters (bytes where unknown), merge the best-scoring neighbours until none is left. */
function referenceEncode(text: string, pieces: readonly string[], scores: readonly number[]): number[] {
  const idOf = new Map(pieces.map((piece, id) => [piece, id]));
  let symbols = Array.from(`▁${text.replaceAll(" ", "▁")}`);
  for (;;) {
    let best = -1;
    let bestScore = -Infinity;
    for (let index = 0; index + 1 < symbols.length; index++) {
      const id = idOf.get(symbols[index] + symbols[index + 1]);
      if (id !== undefined && scores[id] > bestScore) [best, bestScore] = [index, scores[id]];
    }
    if (best < 0) break;
    symbols = [...symbols.slice(0, best), symbols[best] + symbols[best + 1], ...symbols.slice(best + 2)];
  }
  const bytes = (symbol: string) => Array.from(new TextEncoder().encode(symbol), (byte) => 3 + byte);
  return symbols.flatMap((symbol) => idOf.has(symbol) ? [idOf.get(symbol) ?? 0] : bytes(symbol));
}

sharedTest(
  "readTokenizer's merges make SentencePiece's choices",
  ["stories260k/tokens.json", "text/tinystories.txt"],
  ([tokensPath, textPath]) => {
    const { pieces, scores } = JSON.parse(readFileSync(tokensPath, "utf8"));
    const tokens: string[] = pieces.map((piece: string) => piece.trim() === "" ? "▁" : piece.replaceAll(" ", "▁"));
    tokens.splice(0, 3, "<unk>", "<s>", "</s>");
    const types = tokens.map((token, id) => id === 0 ? 2 : id < 3 ? 3 : /^<0x..>$/.test(token) ? 6 : 1);
    const tokenizer = load({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.scores": scores,
      "tokenizer.ggml.token_type": types,
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
      "tokenizer.ggml.unknown_token_id": 0,
    }, tokens.length);
    const lines = readFileSync(textPath, "utf8").split("\n").filter((line) => line.length > 0).slice(0, 60);
    for (const line of [...lines, "naïve café ☕", "  two  spaces "]) {
      const { ids } = tokenizer.encode(line);
      assert.deepEqual(ids, [1, ...referenceEncode(line, tokens, scores)], line);
      assert.equal(tokenizer.decode(ids, { skip_special_tokens: true }), line);
    }
  },
);

Deno.test("readTokenizer says what it cannot express, and the model goes without", () => {
  const base = { "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b"] };
  const messages = [
    {},
    { ...base, "tokenizer.ggml.model": "rwkv" },
    { ...base, "tokenizer.ggml.tokens": [1, 2] },
    { ...base, "tokenizer.ggml.token_type": [1] },
    { ...base, "tokenizer.ggml.pre": "no-such" },
  ].map((metadata) => readTokenizer(metadata, 2).warnings.map((warning) => warning.message).join());
  assert.deepEqual(messages, [
    "No tokenizer.json: the file holds none",
    'No tokenizer.json: tokenizer model "rwkv" is not supported',
    "No tokenizer.json: tokenizer.ggml.tokens is no list of strings",
    "No tokenizer.json: tokenizer.ggml.token_type does not fit the tokens",
    'No tokenizer.json: pre-tokenizer "no-such" is not supported',
  ]);
});
