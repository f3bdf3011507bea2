/** What an artifact weighs: kernels and runtime in kilobytes, not megabytes. */

import assert from "node:assert/strict";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { compileModel } from "../../compiler/driver.ts";
import { zooFile, zooModel } from "../support/zoo.ts";

Deno.test("the text recognizer's kernels and runtime stay under 200 kB, the runtime under 12 kB", async () => {
  const model = zooModel("ocr-recognizer");
  const result = await compileModel({ model: zooFile(model) ?? "", recipe: "as-is", bind: model.bind });
  assert.ok(result.ok, result.diagnostics.map(formatDiagnostic).join("\n"));
  const { code } = result.value.artifact.report;
  for (const [variant, bytes] of Object.entries(code.bytes)) {
    assert.ok(bytes + code.runtimeBytes < 200_000, `${variant} takes ${bytes} bytes`);
  }
  assert.ok(code.runtimeBytes < 12_000, `the runtime takes ${code.runtimeBytes} bytes`);
});
