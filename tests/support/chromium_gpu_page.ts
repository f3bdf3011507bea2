/** The page's side of `chromium_gpu.ts`: loads a program through the runtime that artifacts ship, and runs it. */

import type { ElementName, NumberArray } from "../../runtime/api.ts";
import { viewAs } from "../../runtime/elements.ts";
import { loadModel } from "../../runtime/wgsl/load.ts";
import type { GpuSpec } from "../../runtime/wgsl/spec.ts";
import { usedFeatures } from "../../runtime/wgsl/variants.ts";

export interface PageTensor {
  readonly name: string;
  readonly element: ElementName;
  readonly shape: number[];
  readonly base64: string;
}

export type PageRun = readonly PageTensor[];
export type PageOutput = PageTensor;

declare global {
  var gpuFeatures: () => Promise<string[]>;
  /** Takes `{spec, runs}` and gives the outputs of each run, as JSON. */
  var runProgram: (request: string) => Promise<string>;
}

globalThis.gpuFeatures = async () => {
  const adapter = await navigator.gpu.requestAdapter();
  return usedFeatures.filter((feature) => adapter?.features.has(feature));
};

globalThis.runProgram = async (request) => {
  const { spec, runs }: { readonly spec: GpuSpec; readonly runs: readonly PageRun[] } = JSON.parse(request);
  const model = await loadModel(spec, new URL("/", location.href), { verify: false, target: "wgsl" });
  const results: PageOutput[][] = [];
  for (const run of runs) {
    const outputs = await model.run(
      Object.fromEntries(run.map(({ name, element, shape, base64 }) => {
        const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        const data: NumberArray = viewAs(element, bytes.buffer, 0, shape.reduce((size, extent) => size * extent, 1));
        return [name, { data, shape }];
      })),
    );
    results.push(model.outputs.map(({ name, element }) => {
      const { data, shape } = outputs[name];
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      let text = "";
      bytes.forEach((byte) => text += String.fromCharCode(byte));
      return { name, element, shape: [...shape], base64: btoa(text) };
    }));
  }
  model.dispose();
  return JSON.stringify(results);
};
