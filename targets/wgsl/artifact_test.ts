/** WebGPU artifacts as a user loads them, and what they say where a device, a file or an input does not fit. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, input } from "../../compiler/ir/expression.ts";
import { symbolic } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import type { Progress } from "../../runtime/api.ts";
import { UnfitDevice } from "../../runtime/pick.ts";
import { checked } from "../../runtime/wgsl/device.ts";
import { chooseShaders } from "../../runtime/wgsl/variants.ts";
import { artifactOf, inFolder, loadArtifact, writeModel } from "../../tests/support/artifacts.ts";
import { gpuTest } from "../../tests/support/gpu.ts";
import { rowInputs, rowOutputs, rowsGraph } from "../../tests/support/rows_model.ts";
import { wasmTarget } from "../wasm/target.ts";
import { noFiles } from "../plan/base_spec.ts";
import { lowerWgsl } from "./program.ts";
import { wgslKernels } from "./select.ts";
import { gpuSpec } from "./spec.ts";
import { wgslTarget } from "./target.ts";

/** y = all rows that were ever given; the state grows by `seq` rows a run, up to 8. */
function growingGraph(): Graph {
  const builder = new GraphBuilder("growing");
  builder.symbol("seq", { min: 1, max: 4 });
  builder.symbol("past", { min: 0, max: 7 });
  builder.symbol("total", { min: 1, max: 8 });
  builder.state({ name: "rows", type: tensorType("f32", [8, 2]), axis: 0 });
  const x = builder.input("x", tensorType("f32", [symbolic("seq"), 2]));
  const rows = builder.add("append", [x], { state: "rows", axis: 0 });
  builder.output("y", builder.map(binary("add", input(0), input(0)), [rows]));
  return builder.finish();
}

/** Runs `body` with another `navigator.gpu`. */
async function withGpu<T>(gpu: unknown, body: () => Promise<T>): Promise<T> {
  Object.defineProperty(navigator, "gpu", { value: gpu, configurable: true });
  try {
    return await body();
  } finally {
    // The engine's own stands on the prototype.
    Reflect.deleteProperty(navigator, "gpu");
  }
}

/** The engine's GPU, whose adapters go through `change`. */
function changedGpu(change: (adapter: GPUAdapter) => unknown): unknown {
  const real = navigator.gpu;
  return {
    wgslLanguageFeatures: real.wgslLanguageFeatures,
    requestAdapter: async (options: GPURequestAdapterOptions) => {
      const adapter = await real.requestAdapter(options);
      return adapter === null ? null : change(adapter);
    },
  };
}

await gpuTest(
  "a WebGPU artifact loads, runs over a dynamic axis and passes its self test",
  () =>
    inFolder(async (folder) => {
      const path = await writeModel(folder, rowsGraph(), [wgslTarget]);
      const progress: Progress[] = [];
      const model = await loadArtifact(path, { onProgress: (step) => progress.push(step) });
      assert.deepEqual([model.target, model.variant], ["wgsl", "webgpu"]);
      assert.deepEqual(await model.run(rowInputs), rowOutputs);
      const { length } = await readFile(join(path, "weights.bin"));
      assert.deepEqual(progress.at(-1), { loaded: length, total: length });
      const result = await model.selfTest();
      assert.ok(result.ok && result.compared > 0);
      assert.equal(result.variant, "webgpu");
      assert.match(await readFile(join(path, "kernels", "rows.wgsl"), "utf8"), /fn fc\(/);
      model.dispose();
      await assert.rejects(model.run(rowInputs), /Model "rows" was disposed/);
    }),
);

await gpuTest(
  "one artifact with both targets loads the one that is asked for, and says which",
  () =>
    inFolder(async (folder) => {
      const path = await writeModel(folder, rowsGraph(), [wasmTarget, wgslTarget]);
      for (const target of ["wasm", "wgsl"] as const) {
        const model = await loadArtifact(path, { target });
        assert.equal(model.target, target);
        assert.deepEqual(await model.run(rowInputs), rowOutputs);
        assert.ok((await model.selfTest()).ok);
        model.dispose();
      }
      const hardware = changedGpu((adapter) => ({
        features: adapter.features,
        limits: adapter.limits,
        info: { isFallbackAdapter: false },
        requestDevice: (wanted: GPUDeviceDescriptor) => adapter.requestDevice(wanted),
      }));
      const onGpu = await withGpu(hardware, () => loadArtifact(path));
      assert.equal(onGpu.target, "wgsl");
      onGpu.dispose();
      assert.equal((await withGpu(undefined, () => loadArtifact(path))).target, "wasm");
      assert.equal((await withGpu(hardware, () => loadArtifact(path, { variant: "simd128" }))).variant, "simd128");
    }),
);

Deno.test("targets share the weights that both read alike, each file with its digest", async () => {
  const both = await artifactOf(rowsGraph(), [wasmTarget, wgslTarget]);
  const paths = both.files.map(({ path }) => path).filter((path) => path.startsWith("weights"));
  assert.ok(paths.length >= 1 && paths.length <= 3, paths.join(", "));
  const manifest = JSON.parse(
    new TextDecoder().decode(both.files.find(({ path }) => path === "manifest.json")?.chunks[0]),
  );
  assert.deepEqual(manifest.targets.map(({ name }: { name: string }) => name), ["wasm", "wgsl"]);
  for (const { file } of manifest.tensors) assert.ok(paths.includes(file));
});

Deno.test("the WebGPU runtime stays under 15 KB, and one with both targets under 20 KB", async () => {
  const { code } = (await artifactOf(rowsGraph(), [wgslTarget])).report;
  assert.ok(code.runtimeBytes < 15 * 1024, `${code.runtimeBytes} bytes`);
  const both = (await artifactOf(rowsGraph(), [wasmTarget, wgslTarget])).report.code;
  assert.ok(both.runtimeBytes < 20_000, `${both.runtimeBytes} bytes`);
});

await gpuTest("states stay on the device, grow, are cut back and cleared", () =>
  inFolder(async (folder) => {
    const model = await loadArtifact(await writeModel(folder, growingGraph(), [wgslTarget]));
    const run = async (...values: number[]) => {
      const { y } = await model.run({ x: { data: Float32Array.from(values), shape: [values.length / 2, 2] } });
      return Array.from(y.data, Number);
    };
    assert.deepEqual(await run(1, 2, 3, 4), [2, 4, 6, 8]);
    assert.deepEqual(await run(5, 6), [2, 4, 6, 8, 10, 12]);
    assert.equal(model.state.position, 3);
    model.state.rewind(1);
    assert.deepEqual(await run(7, 8), [2, 4, 14, 16]);
    model.state.reset();
    assert.deepEqual(await Promise.all([run(1, 1), run(2, 2), run(3, 3)]), [
      [2, 2],
      [2, 2, 4, 4],
      [2, 2, 4, 4, 6, 6],
    ]);
    assert.throws(() => model.state.rewind(9), /Cannot rewind to 9: the states hold 3 positions/);
    assert.ok((await model.selfTest()).ok);
    assert.equal(model.state.position, 0);
    model.dispose();
  }));

await gpuTest("inputs and results without entries are taken", () =>
  inFolder(async (folder) => {
    const builder = new GraphBuilder("empty");
    builder.symbol("rows", { min: 0, max: 3 });
    const x = builder.input("x", tensorType("f32", [2, symbolic("rows"), 2]));
    builder.output("y", builder.map(binary("mul", input(0), input(0)), [x]));
    const model = await loadArtifact(await writeModel(folder, builder.finish(), [wgslTarget]));
    const { y } = await model.run({ x: { data: new Float32Array(0), shape: [2, 0, 2] } });
    assert.deepEqual([y.shape, y.data.length], [[2, 0, 2], 0]);
    const full = await model.run({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [2, 1, 2] } });
    assert.deepEqual(Array.from(full.y.data, Number), [1, 4, 9, 16]);
    model.dispose();
  }));

await gpuTest("truncated and changed files are told before the first run", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph(), [wgslTarget]);
    const weights = join(path, "weights.bin");
    const whole = await readFile(weights);
    await truncate(weights, 20);
    await assert.rejects(loadArtifact(path), /weights.bin is truncated: 20 bytes, the model wants \d+$/);
    await writeFile(weights, whole.map((byte, index) => (index === 7 ? byte ^ 1 : byte)));
    await assert.rejects(loadArtifact(path), /weights\.bin is damaged, or of another build of the model/);
    await writeFile(weights, whole);
    const shaders = join(path, "kernels", "rows.wgsl");
    const text = await readFile(shaders, "utf8");
    await writeFile(shaders, text.slice(0, text.indexOf("// kernel: fc")));
    await assert.rejects(loadArtifact(path), /rows\.wgsl is damaged: it lacks the kernel "fc/);
    await writeFile(shaders, text.replaceAll("fn fc(", "fn fc(;"));
    await assert.rejects(loadArtifact(path), /Kernel "fc": /);
  }));

await gpuTest("a lost device is told, with what to do", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph(), [wgslTarget]);
    const devices: GPUDevice[] = [];
    const watched = changedGpu((adapter) => ({
      features: adapter.features,
      limits: adapter.limits,
      requestDevice: async (wanted: GPUDeviceDescriptor) => {
        const device = await adapter.requestDevice(wanted);
        devices.push(device);
        return device;
      },
    }));
    const model = await withGpu(watched, () => loadArtifact(path));
    assert.deepEqual(await model.run(rowInputs), rowOutputs);
    devices[0].destroy();
    const lost = /Model "rows": the GPU device was lost \(.+\)\. Call load\(\) again/;
    await assert.rejects(model.run(rowInputs), lost);
    assert.throws(() => model.state.reset(), lost);
    model.dispose();
  }));

await gpuTest("limits that are too small are named with what the model needs", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph(), [wgslTarget]);
    const small = changedGpu((adapter) => ({
      features: adapter.features,
      limits: adapter.limits,
      requestDevice: async () =>
        new Proxy(await adapter.requestDevice(), {
          get: (device, key) => {
            if (key === "limits") return { maxBufferSize: 16, maxStorageBufferBindingSize: 16 };
            const value: unknown = Reflect.get(device, key, device);
            return typeof value === "function" ? value.bind(device) : value;
          },
        }),
    }));
    await assert.rejects(
      withGpu(small, () => loadArtifact(path)),
      /Model "rows" needs maxBufferSize of .* MiB, this GPU has .* MiB: use the wasm target/,
    );
  }));

Deno.test("without WebGPU or without an adapter the error says what to do", () =>
  inFolder(async (folder) => {
    const path = await writeModel(folder, rowsGraph(), [wgslTarget]);
    await assert.rejects(
      withGpu(undefined, () => loadArtifact(path)),
      /Model "rows" needs WebGPU, which this engine lacks: use another browser, over https, or use the wasm target/,
    );
    await assert.rejects(
      withGpu({ requestAdapter: () => Promise.resolve(null) }, () => loadArtifact(path)),
      /Model "rows" needs WebGPU, and there is no adapter for it: update the driver, or use the wasm target/,
    );
  }));

Deno.test("Node has no WebGPU: the artifact says so, and one with both targets runs on WebAssembly", () =>
  inFolder(async (folder) => {
    await writeModel(folder, rowsGraph(), [wasmTarget, wgslTarget]);
    const script = `
      import { load } from "./model/mod.js";
      const model = await load();
      console.log(model.target, (await model.selfTest()).ok);
      await load({ target: "wgsl" }).catch((error) => console.log(error.message));`;
    await writeFile(join(folder, "main.mjs"), script);
    const { stdout } = await promisify(execFile)("node", ["main.mjs"], { cwd: folder });
    const [first, second] = stdout.trim().split("\n");
    assert.equal(first, "wasm true");
    assert.match(second, /Model "rows" needs WebGPU, which this engine lacks/);
  }));

Deno.test("a kernel that needs more than the device has is named with what is missing", () => {
  const spec = gpuSpec(lowerWgsl(rowsGraph(), wgslKernels), noFiles);
  const [kernel] = spec.kernels;
  const demanding = { ...spec, kernels: [{ ...kernel, variants: [["shader-f16"]] }] };
  // Only the features of a device are read.
  const bare = { features: new Set<string>() } as unknown as GPUDevice;
  assert.throws(
    () => chooseShaders(demanding, bare, () => ""),
    (error) =>
      error instanceof UnfitDevice &&
      error.message === `Kernel "${kernel.name}" needs shader-f16: use the wasm target`,
  );
});

Deno.test("lack of memory on the GPU is told with what to do", async () => {
  const scopes = [null, { message: "" }];
  // Only the error scopes of a device are used.
  const full = {
    pushErrorScope: () => {},
    popErrorScope: () => Promise.resolve(scopes.pop()),
  } as unknown as GPUDevice;
  await assert.rejects(
    checked(full, 'Model "rows"', () => undefined),
    /Model "rows": the GPU is out of memory\. Close pages, or use the wasm target/,
  );
});
