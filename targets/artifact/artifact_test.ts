import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { Progress } from "../../runtime/api.ts";
import { artifactOf, inFolder, loadArtifact, writeModel } from "../../tests/support/artifacts.ts";
import { rowInputs, rowOutputs, rowsGraph } from "../../tests/support/rows_model.ts";
import { fileBytes } from "./files.ts";
import { isArtifact, refuseFolder, writeArtifact } from "./write.ts";

Deno.test("an artifact loads in Deno, runs both variants over a dynamic axis and passes its self test", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph());
    for (const variant of ["simd128", "relaxed"] as const) {
      const progress: Progress[] = [];
      const model = await loadArtifact(path, { variant, onProgress: (step) => progress.push(step) });
      assert.deepEqual(await model.run(rowInputs), rowOutputs);
      const { size } = await stat(join(path, "weights.bin"));
      assert.deepEqual(progress.at(-1), { loaded: size, total: size });
      const result = await model.selfTest();
      assert.ok(result.ok && result.compared > 0);
      assert.equal(result.variant, variant);
      assert.deepEqual(model.inputs.map(({ name, element }) => [name, element]), [
        ["x", "f32"],
        ["ids", "i64"],
        ["flag", "bool"],
      ]);
    }
  }));

Deno.test("inputs that do not fit are refused with the input's name, and the model runs on", () =>
  inFolder(async (folder) => {
    const model = await loadArtifact(await writeModel(folder, rowsGraph()));
    const send = (changes: Record<string, unknown>) => {
      // What a user of plain JavaScript may send has no type.
      const inputs = { ...rowInputs, ...changes } as Parameters<typeof model.run>[0];
      return model.run(inputs);
    };
    await assert.rejects(send({ z: Float32Array.of(1) }), /There is no input "z"; inputs are "x", "ids", "flag"/);
    await assert.rejects(send({ x: undefined }), /Input "x" is missing; it wants f32 \[2, seq, 3\]/);
    await assert.rejects(send({ x: new Float64Array(12) }), /Input "x" is a Float64Array, wants a Float32Array/);
    await assert.rejects(send({ x: [1, 2, 3] }), /Input "x" is undefined, wants a Float32Array/);
    await assert.rejects(send({ x: new Float32Array(11) }), /Input "x" is 11 numbers, wants \[2, seq, 3\]/);
    await assert.rejects(
      send({ x: { data: new Float32Array(12), shape: [2, 3, 2] } }),
      /Input "x" is 12 numbers in the shape \[2, 3, 2\], wants \[2, seq, 3\]/,
    );
    await assert.rejects(
      send({ x: new Float32Array(42), ids: new BigInt64Array(7) }),
      /Input "x" has seq = 7, this artifact was compiled for 1 to 6/,
    );
    await assert.rejects(send({ ids: new BigInt64Array(3) }), /Input "ids" is 3 numbers, wants \[seq\]/);
    assert.deepEqual((await send({ ids: Int32Array.of(5, -7) })).twice, rowOutputs.twice);
    model.dispose();
    await assert.rejects(send({}), /Model "rows" was disposed/);
  }));

Deno.test("results of one run are not changed by the next", () =>
  inFolder(async (folder) => {
    const model = await loadArtifact(await writeModel(folder, rowsGraph()));
    const first = await model.run(rowInputs);
    await model.run({ ...rowInputs, x: { data: new Float32Array(12), shape: [2, 2, 3] } });
    assert.deepEqual(first, rowOutputs);
  }));

Deno.test("an artifact loads and runs in Node", () =>
  inFolder(async (folder) => {
    await writeModel(folder, rowsGraph());
    const script = `
      import { load } from "./model/mod.js";
      const model = await load();
      const outputs = await model.run({
        x: { data: Float32Array.from([1, 0, 0, 0, 1, 0, 0, 0, 1, -1, 0, 0]), shape: [2, 2, 3] },
        ids: Int32Array.of(5, -7),
        flag: Uint8Array.of(3),
      });
      const { ok } = await model.selfTest();
      console.log(JSON.stringify({ ok, y: [...outputs.y.data], twice: [...outputs.twice.data].map(String) }));
      await load({ variant: "wide" }).catch((error) => console.log(error.message));
      await load({ target: "wgsl" }).catch((error) => console.log(error.message));
      await load({ signal: AbortSignal.abort(new Error("stopped")) }).catch((error) => console.log(error.message));`;
    await writeFile(join(folder, "main.mjs"), script);
    const { stdout } = await promisify(execFile)("node", ["main.mjs"], { cwd: folder });
    assert.deepEqual(stdout.trim().split("\n"), [
      JSON.stringify({ ok: true, y: [1, 2, 3, 4, 5, 6, 0, 0], twice: ["10", "-14"] }),
      `Variants are "simd128" and "relaxed", not "wide"`,
      `This artifact has the target "wasm", not "wgsl"`,
      "stopped",
    ]);
  }));

Deno.test("an artifact loads and runs in a worker", () =>
  inFolder(async (folder) => {
    await writeModel(folder, rowsGraph());
    const path = join(folder, "worker.js");
    await writeFile(
      path,
      `import { load } from "./model/mod.js";
      onmessage = async ({ data }) => postMessage(await (await load()).run(data));`,
    );
    const worker = new Worker(pathToFileURL(path), { type: "module" });
    const answer = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = reject;
    });
    worker.postMessage(rowInputs);
    assert.deepEqual(await answer, rowOutputs);
    worker.terminate();
  }));

Deno.test("the self test fails where the kernels see other weights", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph());
    const weights = join(path, "weights.bin");
    const bytes = await readFile(weights);
    // The exponent of one weight: twice or half its value.
    bytes[bytes.findIndex((byte) => byte === 0x40) - 1] ^= 0x80;
    await writeFile(weights, bytes);
    const result = await (await loadArtifact(path, { verify: false })).selfTest();
    assert.ok(!result.ok && result.failed > 0);
    assert.equal(result.worst.output, "y");
  }));

Deno.test("truncated, longer and changed weights are told apart before the first run", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph());
    const weights = join(path, "weights.bin");
    const whole = await readFile(weights);
    await truncate(weights, 20);
    await assert.rejects(
      loadArtifact(path),
      new RegExp(`weights.bin is truncated: 20 bytes, the model wants ${whole.length}$`),
    );
    await writeFile(weights, new Uint8Array([...whole, 0]));
    await assert.rejects(
      loadArtifact(path),
      new RegExp(`weights.bin is longer than the ${whole.length} bytes that the model wants`),
    );
    await writeFile(weights, whole.map((byte, index) => (index === 7 ? byte ^ 1 : byte)));
    await assert.rejects(loadArtifact(path), /weights\.bin is damaged, or of another build of the model/);
    assert.ok(await loadArtifact(path, { verify: false }));
  }));

Deno.test("an artifact loads over HTTP from a base, and a missing file is named", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph());
    const server = createServer((request, response) => {
      readFile(join(path, request.url?.slice("/m/".length) ?? "")).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    try {
      const model = await loadArtifact(path, { base: `http://127.0.0.1:${port}/m` });
      assert.deepEqual(await model.run(rowInputs), rowOutputs);
      await assert.rejects(
        loadArtifact(path, { base: `http://127.0.0.1:${port}/m/absent/` }),
        /Cannot fetch http:\/\/127\.0\.0\.1:\d+\/m\/absent\/\S+: 404/,
      );
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  }));

Deno.test("building an artifact twice gives the same bytes", async () => {
  const [first, second] = [await artifactOf(rowsGraph()), await artifactOf(rowsGraph())];
  assert.deepEqual(second.files.map(({ path }) => path), first.files.map(({ path }) => path));
  for (const [index, file] of first.files.entries()) {
    assert.deepEqual(second.files[index].chunks, file.chunks, file.path);
  }
});

Deno.test("a folder that is not an artifact is refused, and an artifact is replaced whole", () =>
  inFolder(async (folder) => {
    const { files } = await artifactOf(rowsGraph());
    const foreign = join(folder, "photos");
    await mkdir(foreign);
    await writeFile(join(foreign, "cat.jpg"), "meow");
    assert.equal((await refuseFolder(foreign))?.code, "Q0802");
    assert.equal((await refuseFolder(join(foreign, "cat.jpg")))?.code, "Q0801");
    assert.equal(await refuseFolder(join(folder, "new")), undefined);
    const own = join(folder, "own");
    await writeArtifact(own, [...files, { path: "stale.txt", chunks: [] }]);
    assert.ok(await isArtifact(own));
    assert.equal(await refuseFolder(own), undefined);
    await writeArtifact(own, files);
    assert.ok(!(await readdir(own)).includes("stale.txt"));
    assert.deepEqual((await readdir(folder)).sort(), ["own", "photos"]);
  }));

Deno.test("the runtime stays under 12 KB and mod.js imports nothing but node:fs", async () => {
  const { files, report } = await artifactOf(rowsGraph());
  assert.ok(report.code.runtimeBytes < 12_000, `${report.code.runtimeBytes} bytes`);
  const module = files.find(({ path }) => path === "mod.js");
  const text = new TextDecoder().decode(module?.chunks[0]);
  assert.deepEqual(text.match(/\bimport\b(?!\.meta)\s*(\([^)]*\))?/g), [
    `import(/* webpackIgnore: true *//* @vite-ignore */"node:fs/promises")`,
  ]);
  assert.doesNotMatch(text, /\beval\b|new Function/);
});

Deno.test("the manifest lists every file with its digest, and every tensor with its place", async () => {
  const { files } = await artifactOf(rowsGraph());
  const manifest = JSON.parse(new TextDecoder().decode(files.find(({ path }) => path === "manifest.json")?.chunks[0]));
  const others = files.filter(({ path }) => path !== "manifest.json");
  assert.deepEqual(
    manifest.files.map(({ path, bytes }: { path: string; bytes: number }) => [path, bytes]),
    others.map((file) => [file.path, fileBytes(file)]),
  );
  assert.equal(manifest.quernArtifact, 1);
  assert.equal(manifest.tensors.length, 1);
  assert.equal(manifest.tensors[0].offset, 0);
  assert.equal(manifest.recipe.name, "as-is");
});
