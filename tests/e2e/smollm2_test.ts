/** SmolLM2-135M-Instruct as its GGUF holds it, compiled: it goes on with Paris, and keeps the decoded model's perplexity. */

import assert from "node:assert/strict";
import { Tokenizer } from "@huggingface/tokenizers";
import { logSoftmax } from "../../compiler/evaluation/measures.ts";
import { fetchedTest, smollm2 } from "../support/fetched.ts";
import { sharedFile } from "../support/models.ts";
import { openSmol, type SmolModel } from "../support/smollm2.ts";

const vocabulary = 49152;

async function logitsOf({ model }: SmolModel, ids: readonly number[]): Promise<Float32Array> {
  const { logits } = await model.run({ ids: { data: Int32Array.from(ids), shape: [1, ids.length] } });
  assert.ok(logits.data instanceof Float32Array);
  return logits.data;
}

function tokenizerOf({ tokenizer, config }: SmolModel): Tokenizer {
  return new Tokenizer(tokenizer, config);
}

fetchedTest("SmolLM2 as-is goes on with Paris", smollm2, async () => {
  const smol = await openSmol("as-is", "last");
  const tokenizer = tokenizerOf(smol);
  smol.model.state.reset();
  let ids = tokenizer.encode("The capital of France is", { add_special_tokens: false }).ids;
  const answer: number[] = [];
  while (answer.length < 3) {
    const logits = await logitsOf(smol, ids);
    const next = logits.reduce((best, value, id) => (value > logits[best] ? id : best), 0);
    answer.push(next);
    ids = [next];
  }
  assert.match(tokenizer.decode(answer), /^ ?Paris/);
  smol.model.dispose();
});

/**
 * WikiText-2 valid, ids 102,400 to 110,592 in windows of 1,024; positions 1 to 1023 of each count. The float64 figure over
 * all 8 windows is 18.680 (the evaluator gives 18.680 too).
 */
fetchedTest("SmolLM2 as-is keeps its perplexity within 1 %", smollm2, async () => {
  const text = sharedFile("text/wikitext2_valid.txt");
  assert.ok(text !== undefined, "text/wikitext2_valid.txt is among the shared models");
  const smol = await openSmol("as-is", "all");
  const ids = tokenizerOf(smol).encode(Deno.readTextFileSync(text), { add_special_tokens: false }).ids;
  assert.equal(ids.length, 273_868);
  let loss = 0;
  let positions = 0;
  for (let window = 0; window < 8; window++) {
    smol.model.state.reset();
    const start = 102_400 + 1024 * window;
    for (let offset = 0; offset < 1024; offset += 128) {
      const logits = await logitsOf(smol, ids.slice(start + offset, start + offset + 128));
      for (let row = 0; row < 128 && offset + row + 1 < 1024; row++) {
        const scores = logSoftmax(logits.subarray(row * vocabulary, (row + 1) * vocabulary));
        loss -= scores[ids[start + offset + row + 1]];
        positions++;
      }
    }
  }
  const perplexity = Math.exp(loss / positions);
  assert.ok(Math.abs(perplexity / 18.68 - 1) < 0.01, `perplexity is ${perplexity}`);
  smol.model.dispose();
});
