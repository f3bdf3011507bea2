import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { maxAbsDifference } from "../../../tests/support/compare.ts";
import { feed, freshStates, greedy, negativeLogLikelihood } from "../../../tests/support/decoder.ts";
import { sharedTest } from "../../../tests/support/models.ts";
import type { Graph } from "../../ir/graph.ts";
import { importHuggingFace } from "./mod.ts";

const files = ["stories260k/model.safetensors"];

async function importStories(path: string, logits: "all" | "last"): Promise<Graph> {
  const outcome = await importHuggingFace(dirname(path), { bind: {}, logits });
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  assert.deepEqual(outcome.diagnostics, []);
  return outcome.value.graph;
}

function readExpected(path: string) {
  return JSON.parse(readFileSync(join(dirname(path), "expected.json"), "utf8"));
}

/**
 * A logit is a sum of 64 products. In float32 its rounding error is at most 64 * 2^-24 times the sum of their magnitudes,
 * which stays below 100 in this model (the largest logit is 17).
 */
const logitBound = 64 * 2 ** -24 * 100;

function readIds(path: string): readonly number[] {
  const bytes = readFileSync(path);
  return Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2));
}

sharedTest("importHuggingFace gives the stories model's greedy text token by token", files, async ([path]) => {
  const wanted: number[] = readExpected(path).greedy_from_bos;
  const graph = await importStories(path, "last");
  assert.deepEqual(greedy(graph, wanted.slice(0, 1), wanted.length - 1), wanted.slice(1));
});

const withText = [...files, "stories260k/eval_ids.u16"];

sharedTest(
  "importHuggingFace: all logits, and chunks over the cache, agree with the reference",
  withText,
  async ([path, idsPath]) => {
    const ids = readIds(idsPath).slice(0, 33);
    const wanted: number[] = readExpected(path).logits_last_of_first_33_ids;
    const all = await importStories(path, "all");
    const whole = feed(all, ids, freshStates(all));
    assert.deepEqual(whole.shape, [1, 33, 512]);
    assert.ok(maxAbsDifference(wanted, whole.data.subarray(32 * 512)) < logitBound);
    const last = await importStories(path, "last");
    const states = freshStates(last);
    feed(last, ids.slice(0, 20), states);
    const rest = feed(last, ids.slice(20), states);
    assert.deepEqual(rest.shape, [1, 1, 512]);
    assert.ok(maxAbsDifference(wanted, rest.data) < logitBound);
  },
);

sharedTest("importHuggingFace gives the stories model's perplexity", withText, async ([path, idsPath]) => {
  const graph = await importStories(path, "all");
  const ids = readIds(idsPath);
  const { float64: wanted, window, tokens } = readExpected(path).perplexity;
  let sum = 0;
  for (let start = 0; start + 1 < ids.length; start += window) {
    const fed = ids.slice(start, Math.min(start + window, ids.length - 1));
    const logits = feed(graph, fed, freshStates(graph));
    fed.forEach((_, position) => {
      const row = logits.data.subarray(position * 512, (position + 1) * 512);
      sum += negativeLogLikelihood(row, ids[start + position + 1]);
    });
  }
  // -ln p changes by at most twice the largest error of a logit.
  assert.ok(Math.abs(sum / tokens - Math.log(wanted)) < 2 * logitBound);
});
