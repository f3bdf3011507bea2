/** Finds the GPU, and turns its failures into errors that say what to do. */

import { usedFeatures } from "./variants.ts";

/** GPUBufferUsage and GPUMapMode of the WebGPU specification. */
export const usage = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128 } as const;

/** Asks for a device with the adapter's own limits on buffers and the features that kernels use. */
export async function openDevice(name: string): Promise<GPUDevice> {
  const gpu: GPU | undefined = globalThis.navigator?.gpu;
  if (gpu === undefined) {
    throw new Error(
      `Model "${name}" needs WebGPU, which this engine does not have: use a current browser over https, or the wasm target`,
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) {
    throw new Error(
      `Model "${name}" needs WebGPU, and this device has no adapter for it: update its driver, or use the wasm target`,
    );
  }
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const requiredFeatures = usedFeatures.filter((feature) => adapter.features.has(feature));
  return await adapter.requestDevice({
    requiredFeatures,
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
  });
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
  if (memory !== null) throw new Error(`${what}: the GPU is out of memory. Close other pages, or use a smaller model`);
  if (validation !== null) throw new Error(`${what}: ${validation.message}`);
  if (thrown !== undefined) throw thrown;
  // Without an error thrown, `work` has returned.
  return result as T;
}
