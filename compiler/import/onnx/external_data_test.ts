import assert from "node:assert/strict";
import { join } from "node:path";
import onnxProto from "onnx-proto";
import { errorsOf, verifiedGraph } from "../../../tests/support/onnx_check.ts";
import type { Outcome } from "../../diagnostics.ts";
import { evaluateGraph } from "../../ir/evaluate/mod.ts";
import { floatTensor } from "../../ir/tensor.ts";
import type { ImportedModel } from "../model.ts";
import { importOnnx } from "./import_onnx.ts";

/** x[2] + w[2], w in another file with these entries. */
function modelBytes(external: Readonly<Record<string, string>>): Uint8Array {
  const { onnx } = onnxProto;
  const info = (name: string) => ({
    name,
    type: { tensorType: { elemType: 1, shape: { dim: [{ dimValue: 2 }] } } },
  });
  const externalData = Object.entries(external).map(([key, value]) => ({ key, value }));
  return onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ domain: "", version: 17 }],
    graph: {
      name: "g",
      node: [{ opType: "Add", input: ["x", "w"], output: ["y"] }],
      input: [info("x")],
      output: [info("y")],
      initializer: [{ name: "w", dims: [2], dataType: 1, dataLocation: 1, externalData }],
    },
  }).finish();
}

async function inFolder(
  external: Readonly<Record<string, string>>,
  prepare: (folder: string) => void,
): Promise<Outcome<ImportedModel>> {
  const folder = Deno.makeTempDirSync();
  try {
    const inner = join(folder, "model");
    Deno.mkdirSync(inner);
    Deno.writeFileSync(join(inner, "m.onnx"), modelBytes(external));
    Deno.writeFileSync(join(inner, "w.bin"), new Uint8Array(Float32Array.of(9, 10, 20, 9).buffer));
    Deno.writeFileSync(join(folder, "outside.bin"), new Uint8Array(8));
    prepare(inner);
    return await importOnnx(join(inner, "m.onnx"), { bind: {} });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("external data is read from its offset", async () => {
  const graph = verifiedGraph(await inFolder({ location: "w.bin", offset: "4", length: "8" }, () => {}));
  const { outputs } = evaluateGraph(graph, { x: floatTensor([2], [1, 2]) });
  assert.deepEqual(outputs.y, floatTensor([2], [11, 22]));
});

Deno.test("external data may lie in a folder of blobs that both files link to", async () => {
  const outcome = await inFolder({ location: "link.bin" }, (folder) => {
    const blobs = join(folder, "..", "blobs");
    Deno.mkdirSync(blobs);
    Deno.renameSync(join(folder, "m.onnx"), join(blobs, "a"));
    Deno.writeFileSync(join(blobs, "b"), new Uint8Array(8));
    Deno.symlinkSync(join(blobs, "a"), join(folder, "m.onnx"));
    Deno.symlinkSync(join(blobs, "b"), join(folder, "link.bin"));
  });
  verifiedGraph(outcome);
});

const faulty: readonly (readonly [string, Readonly<Record<string, string>>, RegExp])[] = [
  ["leaves the folder", { location: "../outside.bin" }, /outside the model's folder/],
  ["is absolute", { location: "/etc/hostname" }, /outside the model's folder/],
  ["is missing", { location: "nothing.bin" }, /does not exist/],
  ["has no location", {}, /is no place/],
  ["is a folder", { location: "." }, /outside the model's folder/],
  ["is shorter than declared", { location: "w.bin", offset: "12" }, /bytes 12 to 20 of a file of 16 bytes/],
  [
    "declares another length than its shape",
    { location: "w.bin", length: "12" },
    /12 external bytes, its shape needs 8/,
  ],
  ["has an offset that is no number", { location: "w.bin", offset: "-4" }, /external offset "-4"/],
  ["has an absurd offset", { location: "w.bin", offset: "99999999999999999999" }, /external offset/],
];

for (const [what, external, message] of faulty) {
  Deno.test(`external data that ${what} is a diagnostic`, async () => {
    const [fault] = errorsOf(await inFolder(external, () => {}));
    assert.match(fault.message, message);
    assert.equal(fault.node, "w");
  });
}

Deno.test("a link out of the model's folder is a diagnostic", async () => {
  const outcome = await inFolder({ location: "link.bin" }, (folder) => {
    Deno.symlinkSync(join(folder, "..", "outside.bin"), join(folder, "link.bin"));
  });
  assert.match(errorsOf(outcome)[0].message, /a link out of the model's folder/);
});
