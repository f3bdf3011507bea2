/** Which variant of a kernel a device runs. */

import { UnfitDevice } from "../pick.ts";
import type { GpuKernel, GpuSpec } from "./spec.ts";

/** Features that kernels make use of where a device has them. */
export const usedFeatures = ["shader-f16", "subgroups"] as const;

/** What the device and the engine have of what variants may need. */
function featuresOf(device: GPUDevice): ReadonlySet<string> {
  return new Set([
    ...usedFeatures.filter((feature) => device.features.has(feature)),
    ...(navigator.gpu.wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") ? ["packed-dot"] : []),
  ]);
}

/** The variant of a kernel that runs here. */
export interface ChosenShader {
  readonly variant: number;
  readonly text: string;
}

/** The variant of every kernel that the device runs; `textOf` finds its text by name. */
export function chooseShaders(
  spec: GpuSpec,
  device: GPUDevice,
  textOf: (name: string) => string | undefined,
): readonly ChosenShader[] {
  const features = featuresOf(device);
  return spec.kernels.map((kernel) => {
    const variant = variantFor(kernel, features);
    const name = variantName(kernel.name, kernel.variants[variant]);
    const text = textOf(name);
    if (text === undefined) throw new Error(`${spec.shaders} is damaged: it lacks the kernel "${name}"`);
    return { variant, text };
  });
}

/** The first variant whose needs are all there. Throws an UnfitDevice that names what the device must have. */
function variantFor({ name, variants }: GpuKernel, features: ReadonlySet<string>): number {
  const found = variants.findIndex((needs) => needs.every((feature) => features.has(feature)));
  if (found >= 0) return found;
  throw new UnfitDevice(`Kernel "${name}" needs ${variants.at(-1)?.join()}: use the wasm target`);
}

/** Name of a variant's text in the file of shaders. */
export function variantName(kernel: string, needs: readonly string[]): string {
  return [kernel, ...needs].join(" ");
}
