import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { maxAbsDifference } from "../../../tests/support/compare.ts";
import { feed, freshStates, greedy } from "../../../tests/support/decoder.ts";
import { fetchedTest, smollm2 } from "../../../tests/support/fetched.ts";
import { sharedTest } from "../../../tests/support/models.ts";
import { importGguf } from "./mod.ts";

/**
 * A logit is a sum of 64 products; its float32 rounding error is at most 64 * 2^-24 times the sum of their magnitudes,
 * which stays below 100 in this model. The reference was run in float32 too, so the bound counts twice.
 */
const logitBound = 2 * 64 * 2 ** -24 * 100;

for (const type of ["f16", "q8_0", "q4_0", "q4_1"]) {
  sharedTest(
    `importGguf gives the reference logits of the stories model in ${type}`,
    [`gguf-stories260k/stories260k.${type}.gguf`],
    async ([path]) => {
      const outcome = await importGguf(path, { bind: {}, logits: "all" });
      assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
      const { graph } = outcome.value;
      assert.equal(graph.level, type === "f16" ? "float" : "quant");
      const { ids } = JSON.parse(readFileSync(join(dirname(path), "expected.json"), "utf8"));
      const bytes = readFileSync(join(dirname(path), `stories260k.${type}.logits_64xV_f32.bin`));
      const wanted = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      const logits = feed(graph, ids, freshStates(graph));
      const difference = maxAbsDifference(wanted, logits.data);
      assert.ok(difference < logitBound, `logits differ by ${difference}`);
    },
  );
}

fetchedTest("importGguf: SmolLM2 goes on with Paris", smollm2, async (path) => {
  const outcome = await importGguf(path, { bind: { total: 64 } });
  assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
  const { graph, assets, metadata } = outcome.value;
  assert.deepEqual(metadata.eosTokenIds, [2]);
  const parse = (name: string) => JSON.parse(new TextDecoder().decode(assets[name]));
  const tokenizer = new Tokenizer(parse("tokenizer.json"), parse("tokenizer_config.json"));
  const { ids } = tokenizer.encode("The capital of France is");
  assert.equal(tokenizer.decode([...greedy(graph, ids, 2)]), " Paris.");
});
