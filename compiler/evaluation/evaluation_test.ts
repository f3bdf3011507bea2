import assert from "node:assert/strict";
import fc from "fast-check";
import { floatTensor } from "../ir/tensor.ts";
import { cosine, maxAbsDifference, sqnr } from "../../tests/support/compare.ts";
import { compareOnSamples } from "./agreement.ts";
import { compareOnText, type LanguageOptions } from "./language.ts";
import { ErrorSums, klDivergence, logSoftmax } from "./measures.ts";
import type { Runner } from "./runners.ts";

const vectors = fc.integer({ min: 1, max: 20 }).chain((length) => {
  const vector = fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: length, maxLength: length });
  return fc.tuple(vector, vector);
});

Deno.test("ErrorSums over parts equals the measures over the whole", () => {
  fc.assert(fc.property(fc.array(vectors, { minLength: 1, maxLength: 4 }), (parts) => {
    const sums = new ErrorSums();
    for (const [reference, actual] of parts) sums.add(reference, actual);
    const reference = parts.flatMap(([x]) => x);
    const actual = parts.flatMap(([, y]) => y);
    const result = sums.result();
    assert.ok(close(result.sqnr, sqnr(reference, actual)));
    assert.ok(close(result.cosine, cosine(reference, actual)));
    assert.equal(result.maxError, maxAbsDifference(reference, actual));
  }));
});

function close(a: number, b: number): boolean {
  return a === b || (Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(b));
}

Deno.test("klDivergence is zero for equal rows, and that of two known distributions", () => {
  const p = logSoftmax([Math.log(0.75), Math.log(0.25)]);
  const q = logSoftmax([Math.log(0.5), Math.log(0.5)]);
  assert.ok(Math.abs(klDivergence(p, p)) < 1e-15);
  assert.ok(Math.abs(klDivergence(p, q) - (0.75 * Math.log(1.5) + 0.25 * Math.log(0.5))) < 1e-12);
});

/** A language model over four ids that, after id i, gives id i + 1 the logit `certainty`; it counts what it is fed. */
function counter(certainty: number): Runner & { readonly fed: number[][] } {
  const fed: number[][] = [];
  return {
    name: "counter",
    fed,
    reset: () => fed.push([]),
    run: ({ ids }) => {
      const list = Array.from(ids.data, Number);
      fed.at(-1)?.push(...list);
      const logits = list.flatMap((id) => [0, 1, 2, 3].map((next) => (next === (id + 1) % 4 ? certainty : 0)));
      return Promise.resolve({ logits: { data: Float32Array.from(logits), shape: [1, list.length, 4] } });
    },
    dispose: () => Promise.resolve(),
  };
}

const options: LanguageOptions = {
  window: 4,
  chunk: 3,
  dynamic: true,
  input: "ids",
  output: "logits",
  element: "i32",
};

Deno.test("compareOnText scores the next id at every position of every window, the short last one too", async () => {
  const float = counter(2);
  const compiled = counter(1);
  const ids = Int32Array.of(0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
  const quality = await compareOnText(float, compiled, ids, options);
  assert.equal(quality.positions, 9);
  assert.deepEqual(compiled.fed, [[0, 1, 2, 3], [0, 1, 2, 3], [0]]);
  const perplexity = (certainty: number) => 1 + 3 * Math.exp(-certainty);
  assert.ok(close(quality.perplexity, perplexity(1)));
  assert.ok(close(quality.floatPerplexity, perplexity(2)));
  assert.equal(quality.agreement, 1);
  assert.ok(quality.kl > 0);
});

Deno.test("compareOnText leaves the short last window out for models of a fixed length", async () => {
  const quality = await compareOnText(counter(2), counter(1), Int32Array.of(0, 1, 2, 3, 0, 1), {
    ...options,
    chunk: 4,
    dynamic: false,
  });
  assert.equal(quality.positions, 4);
});

/** A model that yields these rows, one for each sample. */
function table(rows: readonly (readonly number[])[]): Runner {
  let next = 0;
  return {
    name: "table",
    reset: () => undefined,
    run: () => Promise.resolve({ scores: { data: Float32Array.from(rows[next++]), shape: [1, 3] } }),
    dispose: () => Promise.resolve(),
  };
}

Deno.test("compareOnSamples counts agreement with the float model and accuracy by the labels", async () => {
  const samples = [0, 1, 2, 3].map((value) => ({ x: floatTensor([1], [value]) }));
  const float = table([[9, 0, 0], [0, 9, 0], [0, 0, 9], [9, 0, 0]]);
  const compiled = table([[8, 0, 0], [0, 8, 0], [8, 0, 0], [0, 8, 0]]);
  const result = await compareOnSamples(float, compiled, samples, { labels: [0, 1, 2, 1] });
  assert.deepEqual([result.agreement, result.top1, result.floatTop1], [0.5, 0.75, 0.75]);
  assert.equal(result.outputs.scores.maxError, 9);
});
