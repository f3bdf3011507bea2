/** What a token of the stories model costs on WebGPU. */

import assert from "node:assert/strict";
import { formatDiagnostic } from "../../compiler/diagnostics.ts";
import { prepareModel } from "../../compiler/driver.ts";
import { lowerWgsl } from "../../targets/wgsl/program.ts";
import { wgslKernels } from "../../targets/wgsl/select.ts";
import { tokenCost } from "../bench/webgpu.ts";
import { sharedFile, sharedTest } from "../support/models.ts";

const files = ["stories260k/config.json", "stories260k/model.safetensors"];

for (const recipe of ["as-is", "w8a8-dynamic", "w4a8"]) {
  sharedTest(`stories260k at ${recipe} takes one dispatch a region, for one row and for many`, files, async () => {
    const prepared = await prepareModel({
      model: sharedFile("stories260k") ?? "",
      recipe,
      target: "wgsl",
      bind: { seq: { min: 1, max: 64 }, total: 256 },
    });
    assert.ok(prepared.ok, prepared.diagnostics.map(formatDiagnostic).join("\n"));
    const program = lowerWgsl(prepared.value.graph, wgslKernels);
    const regions = new Set(program.steps.map(({ region }) => region));
    for (const seq of [1, 4, 5, 64]) {
      const { dispatches } = tokenCost(program, { seq, past: 0, total: seq });
      assert.equal(dispatches, regions.size, `${seq} rows`);
    }
    // Products, norms, attention and quantizers run tuned; what is left to loops touches each entry once.
    const loops = [...regions].flatMap((region) =>
      program.steps.filter((step) => step.region === region && step.kernel.id.startsWith("loops.")).slice(0, 1)
    );
    const ops = new Set(loops.map(({ region }) => region.main.op));
    assert.deepEqual([...ops].filter((op) => !["append", "gather", "map", "rope", "concat", "slice"].includes(op)), []);
  });
}
