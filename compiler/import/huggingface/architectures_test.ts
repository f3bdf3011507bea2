import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { maxAbsDifference } from "../../../tests/support/compare.ts";
import { feed, freshStates } from "../../../tests/support/decoder.ts";
import { namedWeights } from "../../../tests/support/named_weights.ts";
import { encodeSafetensors, type StoredTensor } from "../../../tests/support/safetensors.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { weightSlots } from "../transformer/description.ts";
import { architectures } from "./architectures.ts";
import { readConfig } from "./config.ts";
import { importHuggingFace } from "./mod.ts";
import { weightName } from "./weight_names.ts";

interface Case {
  /** config.json in the old form and as the library writes it now. */
  readonly config: Record<string, unknown> & { readonly architectures: readonly string[] };
  readonly written: Record<string, unknown>;
  readonly logits: readonly (readonly number[])[];
}

const expected: {
  readonly ids: readonly number[];
  readonly rows: readonly number[];
  readonly cases: Readonly<Record<string, Case>>;
} = JSON.parse(readFileSync(join(import.meta.dirname ?? ".", "testdata", "expected.json"), "utf8"));

function writeModel(folder: string, config: Record<string, unknown>, gemma: boolean): void {
  const { description } = readConfig(config, "config.json");
  const tensors = weightSlots(description).map((slot): StoredTensor => {
    const name = weightName(slot, "model.", description.sandwichNorms);
    const offset = name.includes("norm") && !gemma ? 1 : 0;
    const data = namedWeights(name, sizeOf(slot.shape)).map((value) => value + offset);
    return { name, dtype: "F32", shape: slot.shape, data };
  });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeFileSync(join(folder, "model.safetensors"), encodeSafetensors(tensors));
}

/**
 * The logits stay below 4 and pass through about 60 roundings of sums of at most 48 products; the reference rounds norms,
 * tables and softmax to float32 itself. 48 * 60 * 4 * 2^-24 bounds both.
 */
const logitBound = 48 * 60 * 4 * 2 ** -24;

for (const [name, { config, written, logits }] of Object.entries(expected.cases)) {
  for (const [form, object] of Object.entries({ "rope_scaling form": config, "rope_parameters form": written })) {
    Deno.test(`importHuggingFace agrees with the reference implementation: ${name}, ${form}`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "quern-decoder-"));
      try {
        writeModel(folder, object, architectures[config.architectures[0]].gemma);
        // Dynamic scaling depends on the length: the reference's is that of its one call.
        const bind: Record<string, number> = name === "llama-dynamic" ? { total: expected.ids.length } : {};
        const outcome = await importHuggingFace(folder, { bind, logits: "all" });
        assert.ok(outcome.ok, JSON.stringify(outcome.diagnostics));
        assert.deepEqual(outcome.diagnostics.filter((entry) => entry.code !== "Q0411"), []);
        const { graph } = outcome.value;
        const states = freshStates(graph);
        // Two calls, so that windows and positions go through the cache.
        const [first, second] = [expected.ids.slice(0, 9), expected.ids.slice(9)].map((ids) =>
          feed(graph, ids, states)
        );
        const actual = [...first.data, ...second.data];
        expected.rows.forEach((row, index) => {
          const difference = maxAbsDifference(logits[index], actual.slice(row * 32, (row + 1) * 32));
          assert.ok(difference < logitBound, `row ${row} differs by ${difference}`);
        });
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }
}
