/** Runs WebGPU programs in headless Chromium, where Tint compiles them and SwiftShader has subgroups. */

import { build, stop } from "esbuild";
import { Buffer } from "node:buffer";
import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { type Tensor, tensorParts } from "../../compiler/ir/tensor.ts";
import { fromBytes } from "../../compiler/numeric/element.ts";
import type { OutputTensor } from "../../runtime/api.ts";
import { portName } from "../../targets/plan/borders.ts";
import { gatherOutputs } from "../../targets/plan/run_ports.ts";
import type { WgslProgram } from "../../targets/wgsl/program.ts";
import { gpuSpec, shaderFile } from "../../targets/wgsl/spec.ts";
import type { PageOutput, PageRun } from "./chromium_gpu_page.ts";

const chromiumPath = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));

export const hasChromium = chromiumPath !== undefined;

export interface ChromiumGpu {
  /** What the adapter has of the features that kernels use. */
  readonly features: readonly string[];
  /** Runs a program once for each set of inputs, one after the other. Rejects where Tint or the device complains. */
  run(
    program: WgslProgram,
    inputs: readonly Readonly<Record<string, Tensor>>[],
  ): Promise<readonly Record<string, Tensor>[]>;
  close(): Promise<void>;
}

/** Opens a page with a GPU. */
export async function openChromiumGpu(): Promise<ChromiumGpu> {
  const browser = await chromium.launch({
    executablePath: chromiumPath,
    args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
  });
  try {
    return await openPage(browser);
  } catch (error) {
    await browser.close();
    throw error;
  }
}

async function openPage(browser: Browser): Promise<ChromiumGpu> {
  const files = new Map<string, string | Buffer>([["/", "<!doctype html><script src=page.js></script>"]]);
  files.set("/page.js", await pageScript());
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  await page.route("http://localhost/**", (route) => {
    const body = files.get(new URL(route.request().url()).pathname);
    return body === undefined ? route.fulfill({ status: 404 }) : route.fulfill({ body });
  });
  await page.goto("http://localhost/");
  const features = await page.evaluate(() => globalThis.gpuFeatures());
  return {
    features,
    run: async (program, inputs) => {
      const results = await runOnPage(page, files, program, inputs);
      const shaderComplaints = complaints.splice(0).filter((text) => !text.includes("favicon"));
      if (shaderComplaints.length > 0) throw new Error(shaderComplaints.join("\n"));
      return results.map((outputs) => gatherOutputs(program.graph, outputs));
    },
    close: () => browser.close(),
  };
}

async function runOnPage(
  page: Page,
  files: Map<string, string | Buffer>,
  program: WgslProgram,
  inputs: readonly Readonly<Record<string, Tensor>>[],
): Promise<readonly Record<string, OutputTensor>[]> {
  const weights = new Uint8Array(program.weightsBytes);
  for (const { offset, bytes } of program.weights) weights.set(bytes, offset);
  files.set("/weights.bin", Buffer.from(weights));
  files.set("/shaders.wgsl", shaderFile(program));
  const file = { file: "weights.bin", offset: 0, bytes: weights.length, sha256: "" };
  const spec = gpuSpec(program, { weights: weights.length === 0 ? [] : [file], selfTest: "" }, "shaders.wgsl");
  const runs: PageRun[] = inputs.map((tensors) =>
    Object.entries(tensors).flatMap(([name, tensor]) =>
      tensorParts(tensor).map(({ role, tensor: { element, shape, data } }) => ({
        name: portName(name, role),
        element,
        shape: [...shape],
        base64: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64"),
      }))
    )
  );
  const text = await page.evaluate((request: string) => globalThis.runProgram(request), JSON.stringify({ spec, runs }));
  const results: readonly (readonly PageOutput[])[] = JSON.parse(text);
  return results.map((outputs) => Object.fromEntries(outputs.map((output) => [output.name, outputTensor(output)])));
}

function outputTensor({ element, shape, base64 }: PageOutput): OutputTensor {
  const bytes = Uint8Array.from(Buffer.from(base64, "base64"));
  return { data: fromBytes(element, bytes), shape };
}

async function pageScript(): Promise<string> {
  const result = await build({
    entryPoints: [new URL("./chromium_gpu_page.ts", import.meta.url).pathname],
    bundle: true,
    format: "iife",
    external: ["node:*"],
    write: false,
  });
  await stop();
  return result.outputFiles[0].text;
}
