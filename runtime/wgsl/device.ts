/** Finds the GPU, and turns its failures into errors that say what to do. */

import { UnfitDevice } from "../pick.ts";
import type { GpuSpec } from "./spec.ts";
import { usedFeatures } from "./variants.ts";

/**
 * GPUBufferUsage: what kernels work on may be copied (4, 8) and bound as uniform (64) or storage (128); results are
 * copied to (8) and mapped (1).
 */
export const usage = { kernels: 4 + 8 + 64 + 128, results: 8 + 1 } as const;
/** GPUMapMode.READ. */
export const mapRead = 1;

const advice = "use the wasm target";

/** Asks for a device with the adapter's own limits on buffers and the features that kernels use. `software` says whether one without a GPU will do. */
export async function openDevice(name: string, software: boolean): Promise<GPUDevice> {
  const unfit = (what: string) => new UnfitDevice(`Model "${name}" needs WebGPU, ${what}, or ${advice}`);
  const gpu: GPU | undefined = globalThis.navigator?.gpu;
  if (gpu === undefined) throw unfit("which this engine lacks: use another browser, over https");
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) throw unfit("and there is no adapter for it: update the driver");
  if (!software && adapter.info?.isFallbackAdapter) throw unfit('which is software here: ask for target "wgsl"');
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  return await adapter.requestDevice({
    requiredFeatures: usedFeatures.filter((feature) => adapter.features.has(feature)),
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
  });
}

/** Throws an UnfitDevice that names the limit which the model exceeds. */
export function checkLimits(spec: GpuSpec, weights: number, { limits }: GPUDevice): void {
  const windows = spec.steps.flatMap((step) => step.windows.map(([, bytes]) => bytes));
  const needs = [
    ["maxBufferSize", weights],
    ["maxStorageBufferBindingSize", Math.max(spec.arenaBytes, spec.statesBytes, ...windows)],
  ] as const;
  for (const [limit, bytes] of needs) {
    if (bytes > limits[limit]) {
      const text = [bytes, limits[limit]].map((size) => `${(size / 2 ** 20).toFixed(1)} MiB`);
      throw new UnfitDevice(`Model "${spec.name}" needs ${limit} of ${text[0]}, this GPU has ${text[1]}: ${advice}`);
    }
  }
}

/** Runs `work`; an error of the device rejects with `what` in front. */
export async function checked<T>(device: GPUDevice, what: string, work: () => T | Promise<T>): Promise<T> {
  device.pushErrorScope("validation");
  device.pushErrorScope("out-of-memory");
  const result = new Promise<T>((resolve) => resolve(work()));
  // Scopes are a stack: they close before other work begins.
  const scopes = [device.popErrorScope(), device.popErrorScope()];
  const failed = result.then(() => null, (error: unknown) => error);
  const [memory, validation] = await Promise.all(scopes);
  if (memory) throw new UnfitDevice(`${what}: the GPU is out of memory. Close pages, or ${advice}`);
  const error = validation ?? await failed;
  if (error) throw new Error(`${what}: ${Object(error).message}`);
  return result;
}
