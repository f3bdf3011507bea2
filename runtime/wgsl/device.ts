/** Finds the GPU, and turns its failures into errors that say what to do. */

import { UnfitDevice } from "../pick.ts";
import type { GpuSpec } from "./spec.ts";
import { usedFeatures } from "./variants.ts";

/** GPUBufferUsage and GPUMapMode of the WebGPU specification. */
export const usage = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128 } as const;

const advice = "use the wasm target";

/** Asks for a device with the adapter's own limits on buffers and the features that kernels use. `software` says whether one without a GPU will do. */
export async function openDevice(name: string, software: boolean): Promise<GPUDevice> {
  const gpu: GPU | undefined = globalThis.navigator?.gpu;
  if (gpu === undefined) {
    throw new UnfitDevice(
      `Model "${name}" needs WebGPU, which this engine does not have: use a current browser over https, or ${advice}`,
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) {
    throw new UnfitDevice(
      `Model "${name}" needs WebGPU, and this device has no adapter for it: update its driver, or ${advice}`,
    );
  }
  if (!software && adapter.info?.isFallbackAdapter) {
    throw new UnfitDevice(`Model "${name}": the adapter runs WebGPU in software. To take it, load with target "wgsl"`);
  }
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  return await adapter.requestDevice({
    requiredFeatures: usedFeatures.filter((feature) => adapter.features.has(feature)),
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
  });
}

/** Throws an UnfitDevice that names the limit which the model exceeds. */
export function checkLimits({ name, arenaBytes, statesBytes, steps }: GpuSpec, weights: number, { limits }: GPUDevice) {
  const buffers = { weights, "values of a run": arenaBytes, states: statesBytes };
  for (const [what, bytes] of Object.entries(buffers)) {
    refuse(name, what, bytes, limits.maxBufferSize, "maxBufferSize");
    if (what !== "weights") {
      refuse(name, what, bytes, limits.maxStorageBufferBindingSize, "maxStorageBufferBindingSize");
    }
  }
  const widest = Math.max(0, ...steps.flatMap(({ windows }) => windows.map(([, bytes]) => bytes)));
  refuse(name, "weights of one kernel", widest, limits.maxStorageBufferBindingSize, "maxStorageBufferBindingSize");
}

function refuse(name: string, what: string, bytes: number, limit: number, limitName: string): void {
  if (bytes <= limit) return;
  const [needed, most] = [bytes, limit].map((size) => (size / 2 ** 20).toFixed(1));
  throw new UnfitDevice(
    `Model "${name}" needs ${needed} MiB for its ${what}; this GPU takes ${most} MiB (${limitName}): ${advice}, ` +
      "or compile with smaller bounds or weights",
  );
}

/** Runs `work`; a validation error or lack of memory rejects with `what` in front. */
export async function checked<T>(device: GPUDevice, what: string, work: () => T | Promise<T>): Promise<T> {
  device.pushErrorScope("validation");
  device.pushErrorScope("out-of-memory");
  let result: T | undefined;
  let thrown: unknown;
  try {
    result = await work();
  } catch (error) {
    thrown = error;
  }
  const memory = await device.popErrorScope();
  const validation = await device.popErrorScope();
  if (memory !== null) {
    throw new UnfitDevice(`${what}: the GPU is out of memory. Close other pages, use a smaller model, or ${advice}`);
  }
  if (validation !== null) throw new Error(`${what}: ${validation.message}`);
  if (thrown !== undefined) throw thrown;
  // Without an error thrown, `work` has returned.
  return result as T;
}
