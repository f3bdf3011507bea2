/** Artifacts with both targets in headless Chromium: the same answers on WebGPU (Tint, SwiftShader) and on WebAssembly. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { formatDiagnostic, success } from "../../compiler/diagnostics.ts";
import { compileModel, type CompileOptions } from "../../compiler/driver.ts";
import { lowerWgsl } from "../../targets/wgsl/program.ts";
import { wgslKernels, wgslLoops } from "../../targets/wgsl/select.ts";
import { inFolder } from "../support/artifacts.ts";
import { chromiumTest, withPage, withServer } from "../support/chromium.ts";
import { sharedFile } from "../support/models.ts";
import { allSamples } from "../support/op_samples.ts";
import { zooFile, zooModel } from "../support/zoo.ts";

interface Artifact extends Pick<CompileOptions, "recipe" | "bind" | "calibration"> {
  readonly name: string;
  readonly model: string | undefined;
}

function zooArtifact(name: string, recipe: string): Artifact {
  const model = zooModel(name);
  return {
    name,
    recipe,
    model: zooFile(model),
    bind: model.bind,
    calibration: () => Promise.resolve(success(model.samples(4))),
  };
}

const stories = {
  model: sharedFile("gguf-stories260k/stories260k.q8_0.gguf"),
  bind: { seq: { min: 1, max: 16 }, total: 64 },
};

const artifacts: readonly Artifact[] = [
  zooArtifact("resnet20", "w8a8-static"),
  zooArtifact("mnist8", "as-is"),
  { name: "stories", recipe: "as-is", ...stories },
  { name: "stories", recipe: "w8a8-dynamic", ...stories },
  { name: "stories", recipe: "w4a8", ...stories },
];

/** What a page tells of one target. */
interface PageResult {
  readonly target: string;
  readonly ok: boolean;
  readonly failed: number;
  readonly compared: number;
}

for (const { name, recipe, model = "", bind, calibration } of artifacts) {
  chromiumTest(
    `${name} at ${recipe} passes its self test in Chromium on both targets`,
    model !== "",
    () =>
      inFolder(async (folder) => {
        const out = join(folder, "model");
        const result = await compileModel({ model, recipe, bind, calibration, target: "wasm,wgsl", out });
        assert.ok(result.ok, result.diagnostics.map(formatDiagnostic).join("\n"));
        await withServer(folder, (address) =>
          withPage(async (page) => {
            await page.goto(address);
            const results = await page.evaluate<PageResult[]>(`(async () => {
            const { load } = await import("/model/mod.js");
            const results = [];
            for (const target of ["wasm", "wgsl"]) {
              const model = await load({ target });
              const { ok, failed, compared } = await model.selfTest();
              results.push({ target: model.target, ok, failed, compared });
              model.dispose();
            }
            return results;
          })()`);
            assert.deepEqual(results.map(({ target, ok }) => [target, ok]), [["wasm", true], ["wgsl", true]]);
            assert.ok(results.every(({ compared }) => compared > 0));
          }));
      }),
  );
}

/** Every shader of the op samples that Chromium's features allow, each text once. */
function sampleShaders(): readonly string[] {
  const available = ["packed-dot", "subgroups"];
  const shaders = allSamples().flatMap(({ graph }) =>
    [wgslKernels, wgslLoops].flatMap((choice) => lowerWgsl(graph, choice).shaders)
  );
  const variants = shaders.flatMap((shader) => shader.variants)
    .filter(({ needs }) => needs.every((feature) => available.includes(feature)));
  return [...new Set(variants.map(({ text }) => text))];
}

chromiumTest(
  "Tint takes the shaders of every op without a message",
  true,
  () =>
    inFolder((folder) =>
      withServer(folder, (address) =>
        withPage(async (page) => {
          await page.goto(address);
          const texts = sampleShaders();
          assert.ok(texts.length > 50);
          const messages = await page.evaluate<string[], readonly string[]>(async (codes) => {
            const adapter = await navigator.gpu.requestAdapter();
            const requiredFeatures = ["subgroups" as const].filter((feature) => adapter?.features.has(feature));
            const device = await adapter?.requestDevice({ requiredFeatures });
            const found: string[] = [];
            for (const code of codes) {
              const info = await device?.createShaderModule({ code }).getCompilationInfo();
              for (const { type, message, lineNum } of info?.messages ?? []) {
                found.push(`${type}: ${message} in line ${lineNum}: ${code.split("\n")[lineNum - 1]}`);
              }
            }
            return found;
          }, texts);
          assert.deepEqual(messages.slice(0, 10), []);
        }))
    ),
);
