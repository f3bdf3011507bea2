/** Codes that a target cannot hold are refused before any pass runs, with the layer and what comes nearest. */

import assert from "node:assert/strict";
import { prepareImported } from "../../compiler/driver.ts";
import type { ImportedModel } from "../../compiler/import/mod.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { targets } from "../../targets/mod.ts";

function linear(): ImportedModel {
  const builder = new GraphBuilder("linear");
  const x = builder.input("x", tensorType("f32", [1, 4]));
  const w = builder.constant(floatTensor([2, 4], [1, 2, 3, 4, 5, 6, 7, 8]));
  const attributes = { transposeB: true, hasBias: false, result: { kind: "real" } } as const;
  builder.output("y", builder.add("matmul", [x, w], attributes, { origin: ["layer.7"] }));
  return { graph: builder.finish("float"), format: "qir", metadata: {}, assets: {} };
}

Deno.test("every target refuses codes of 24 bits at once, and names the layer", async () => {
  for (const { name } of targets) {
    const stages: string[] = [];
    const outcome = await prepareImported(linear(), {
      recipe: "w4",
      target: name,
      overrides: ["quantize-weights.format=int24"],
      onProgress: ({ stage }) => stages.push(stage),
    });
    assert.ok(!outcome.ok);
    const [fault] = outcome.diagnostics;
    assert.equal(fault.code, "Q0705");
    assert.equal(fault.node, "layer.7");
    assert.match(fault.message, new RegExp(`"${name}" cannot hold what "quantize-weights" makes: .*int24`));
    assert.match(fault.help ?? "", /int16/);
    assert.deepEqual(stages, []);
  }
});

Deno.test("codes of 16 bits are held", async () => {
  const outcome = await prepareImported(linear(), { recipe: "w4", overrides: ["quantize-weights.format=int16"] });
  assert.ok(outcome.ok);
});
