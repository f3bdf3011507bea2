import assert from "node:assert/strict";
import { join } from "node:path";
import { onnxBytes } from "../../tests/support/onnx_builder.ts";
import { errorsOf } from "../../tests/support/onnx_check.ts";
import type { Outcome } from "../diagnostics.ts";
import { printGraph } from "../ir/print.ts";
import { type ImportedModel, importModel } from "./mod.ts";

const small = onnxBytes({
  inputs: [{ name: "x", shape: [2] }],
  outputs: ["y"],
  nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"] }],
});

async function withFiles(
  files: Readonly<Record<string, string | Uint8Array>>,
  path: string,
  bind: Readonly<Record<string, number>> = {},
): Promise<Outcome<ImportedModel>> {
  const folder = Deno.makeTempDirSync();
  try {
    for (const [name, content] of Object.entries(files)) {
      if (typeof content === "string") Deno.writeTextFileSync(join(folder, name), content);
      else Deno.writeFileSync(join(folder, name), content);
    }
    return await importModel(join(folder, path), { bind });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("importModel reads ONNX by its name, by its bytes, and as the only model of a folder", async () => {
  for (const [name, path] of [["m.onnx", "m.onnx"], ["model", "model"], ["m.onnx", ""]]) {
    const outcome = await withFiles({ [name]: small }, path);
    assert.ok(outcome.ok);
    assert.equal(outcome.value.format, "onnx");
  }
});

Deno.test("importModel reads .qir text", async () => {
  const imported = await withFiles({ "m.onnx": small }, "m.onnx");
  assert.ok(imported.ok);
  const text = printGraph(imported.value.graph, { constants: "literal" });
  const outcome = await withFiles({ "m.qir": text }, "m.qir");
  assert.ok(outcome.ok);
  assert.equal(printGraph(outcome.value.graph, { constants: "literal" }), text);
  const bound = await withFiles({ "m.qir": text }, "m.qir", { seq: 3 });
  assert.equal(errorsOf(bound)[0].code, "Q1042");
});

const refused: readonly (readonly [string, Readonly<Record<string, string | Uint8Array>>, string, RegExp])[] = [
  ["a file that is not there", { "model.onnx": small }, "modl.onnx", /There is no file or folder .*modl\.onnx/],
  ["an empty folder", {}, "", /holds no model that Quern reads/],
  ["a folder of two models", { "a.onnx": small, "b.gguf": "GGUF" }, "", /holds 2 models/],
  ["an empty file", { "m.onnx": new Uint8Array() }, "m.onnx", /Not an ONNX model: it has no graph/],
  ["a file of text", { "m.onnx": "hello, this is no protobuf" }, "m.onnx", /Not a readable ONNX file/],
  ["a pointer file", { "m.onnx": "version https://git-lfs.github.com/spec/v1\n" }, "m.onnx", /a Git LFS pointer/],
  ["a PyTorch checkpoint", { "m.pt": Uint8Array.of(0x50, 0x4b, 3, 4, 0) }, "m.pt", /a zip archive, perhaps a PyTorch/],
  ["a pickle", { "m.bin": Uint8Array.of(0x80, 2, 0x8a) }, "m.bin", /a Python pickle/],
  ["a Keras file", { "m.h5": Uint8Array.of(0x89, 0x48, 0x44, 0x46) }, "m.h5", /an HDF5 file/],
  ["a tflite file", { "m.tflite": "\x1c\0\0\0TFL3" }, "m.tflite", /a TensorFlow Lite model/],
  ["a web page", { "m.onnx": "<!DOCTYPE html>" }, "m.onnx", /a web page/],
  [
    "a safetensors file alone",
    { "m.safetensors": '\x40\0\0\0\0\0\0\0{"a":{}}' },
    "m.safetensors",
    /a safetensors file/,
  ],
  ["JSON of another kind", { "package.json": "{}" }, "package.json", /JSON that is neither/],
  ["a GGUF file without its mark", { "m.gguf": "nothing" }, "m.gguf", /without the GGUF mark/],
  ["a .qir file that is no graph", { "m.qir": "graph" }, "m.qir", /./],
];

for (const [what, files, path, message] of refused) {
  Deno.test(`importModel says what is wrong with ${what}`, async () => {
    const [fault] = errorsOf(await withFiles(files, path));
    assert.match(fault.message, message);
  });
}

Deno.test("importModel offers the nearest file name", async () => {
  const [fault] = errorsOf(await withFiles({ "model.onnx": small }, "modl.onnx"));
  assert.match(fault.help ?? "", /Did you mean .*model\.onnx/);
});

Deno.test("importModel reports a file that cannot be read", async () => {
  const folder = Deno.makeTempDirSync();
  const path = join(folder, "m.onnx");
  // A link to itself: no reader, not even the superuser, gets past it.
  Deno.symlinkSync(path, path);
  const [fault] = errorsOf(await importModel(path, { bind: {} }));
  assert.match(fault.message, /Cannot read/);
  Deno.removeSync(folder, { recursive: true });
});
