/** Loads an artifact onto the GPU: reads shaders and weights, makes the pipelines, and gives the model. */

import type { LoadOptions, Model } from "../api.ts";
import { UnfitDevice } from "../pick.ts";
import { folderOf, readBytes } from "../read.ts";
import { readWeights, weightsBytes } from "../weights.ts";
import { checked, checkLimits, openDevice, usage } from "./device.ts";
import { createGpuModel } from "./model.ts";
import { createProgram } from "./program.ts";
import type { GpuSpec } from "./spec.ts";
import { chooseShaders } from "./variants.ts";

/** Loads the model that `spec` describes from the folder `home`. Rejects with an Error that says what is wrong. */
export async function loadModel(spec: GpuSpec, home: string | URL, options: LoadOptions = {}): Promise<Model> {
  const { target = "auto", variant = "auto", signal } = options;
  signal?.throwIfAborted();
  if (variant !== "auto" && variant !== "webgpu") throw new UnfitDevice(`WebGPU has no variant "${variant}"`);
  const base = folderOf(home, options.base);
  const device = await openDevice(spec.name, target === "wgsl");
  let lost: string | undefined;
  device.lost.then(({ reason, message }) => {
    lost = message || reason || "unknown reason";
  });
  try {
    checkLimits(spec, weightsBytes(spec.weights), device);
    const bytes = new Uint8Array(Math.ceil(weightsBytes(spec.weights) / 4) * 4);
    const [shaders] = await Promise.all([
      readBytes(new URL(spec.shaders, base), signal).then(splitShaders),
      readWeights(spec.weights, base, bytes, options),
    ]);
    const chosen = chooseShaders(spec, device, (name) => shaders.get(name));
    const weights = await uploadWeights(device, spec.name, bytes);
    const program = await createProgram(device, spec, weights, chosen, new Map());
    signal?.throwIfAborted();
    return createGpuModel(spec, {
      program,
      readSelfTest: () => readBytes(new URL(spec.selfTest, base)),
      lost: () => lost,
      dispose: () => {
        program.dispose();
        device.destroy();
      },
    });
  } catch (error) {
    device.destroy();
    if (lost !== undefined) throw new Error(lostText(spec.name, lost), { cause: error });
    throw error;
  }
}

/** What became of the device, and what to do. */
export function lostText(name: string, reason: string): string {
  return `Model "${name}": the GPU device was lost (${reason}). Call load() again`;
}

/** The weights in a buffer of the device. */
export function uploadWeights(device: GPUDevice, name: string, bytes: Uint8Array<ArrayBuffer>): Promise<GPUBuffer> {
  return checked(device, `Model "${name}"`, () => {
    // Room behind the end for the binding of a constant without entries.
    const buffer = device.createBuffer({ size: bytes.length + 16, usage: usage.kernels });
    if (bytes.length > 0) device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  });
}

/** Kernels by name. */
function splitShaders(bytes: Uint8Array): Map<string, string> {
  const pieces = new TextDecoder().decode(bytes).split("\n// kernel: ").slice(1);
  return new Map(pieces.map((piece) => {
    const [name] = piece.split("\n", 1);
    return [name, piece.slice(name.length + 1)];
  }));
}
