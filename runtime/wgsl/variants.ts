/** Which variant of a kernel a device runs. */

import type { GpuKernel } from "./spec.ts";

/** Features that kernels make use of where a device has them. */
export const usedFeatures = ["shader-f16", "subgroups"] as const;

/** What the device and the engine have of what variants may need. */
export function featuresOf(device: GPUDevice): ReadonlySet<string> {
  const language = globalThis.navigator.gpu.wgslLanguageFeatures;
  return new Set([
    ...usedFeatures.filter((feature) => device.features.has(feature)),
    ...(language?.has("packed_4x8_integer_dot_product") ? ["packed-dot"] : []),
  ]);
}

/** The first variant whose needs are all there. */
export function variantFor({ variants }: GpuKernel, features: ReadonlySet<string>): number {
  return variants.findIndex((needs) => needs.every((feature) => features.has(feature)));
}

/** Name of a variant's text in the file of shaders. */
export function variantName(kernel: string, needs: readonly string[]): string {
  return [kernel, ...needs].join(" ");
}
