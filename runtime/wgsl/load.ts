/** Loads an artifact onto the GPU: reads shaders and weights, makes the pipelines, and gives the model. */

import type { LoadOptions, Model } from "../wasm/api.ts";
import { readBytes, readInto } from "../wasm/read.ts";
import { checked, openDevice, usage } from "./device.ts";
import { createGpuModel } from "./model.ts";
import { createProgram } from "./program.ts";
import type { GpuSpec } from "./spec.ts";
import { featuresOf, variantFor, variantName } from "./variants.ts";

/** Loads the model that `spec` describes from the folder `home`. Rejects with an Error that says what is wrong. */
export async function loadModel(spec: GpuSpec, home: string | URL, options: LoadOptions = {}): Promise<Model> {
  const { target = "auto", signal, verify = true, onProgress } = options;
  if (target !== "auto" && target !== "wgsl") {
    throw new TypeError(`This artifact has the target "wgsl", not "${target}"`);
  }
  signal?.throwIfAborted();
  const base = options.base === undefined ? home : folderUrl(new URL(options.base, home));
  const device = await openDevice(spec.name);
  let lost: string | undefined;
  device.lost.then(({ reason, message }) => {
    lost = message || reason || "unknown reason";
  });
  try {
    const total = spec.weights.bytes;
    const bytes = new Uint8Array(Math.ceil(total / 4) * 4);
    const url = new URL(spec.weights.file, base);
    const [shaders] = await Promise.all([
      readBytes(new URL(spec.shaders, base), signal).then(splitShaders),
      readInto(url, bytes.subarray(0, total), signal, (loaded) => onProgress?.({ loaded, total })),
    ]);
    if (verify && globalThis.crypto?.subtle !== undefined) await checkDigest(bytes.subarray(0, total), spec, url);
    const features = featuresOf(device);
    const chosen = spec.kernels.map((kernel) => {
      const variant = variantFor(kernel, features);
      const name = variantName(kernel.name, kernel.variants[variant]);
      const text = shaders.get(name);
      if (text === undefined) throw new Error(`${spec.shaders} is damaged: it lacks the kernel "${name}"`);
      return { variant, text };
    });
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
    throw error;
  }
}

/** The weights in a buffer of the device. */
export async function uploadWeights(
  device: GPUDevice,
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<GPUBuffer> {
  const { maxBufferSize } = device.limits;
  if (bytes.byteLength > maxBufferSize) {
    const [needed, most] = [bytes.byteLength, maxBufferSize].map((size) => Math.floor(size / 2 ** 20));
    throw new Error(
      `Model "${name}" has ${needed} MiB of weights; this GPU takes ${most} MiB in one buffer. Use the wasm target`,
    );
  }
  return await checked(device, `Model "${name}"`, () => {
    // Room behind the end for the binding of a constant without entries.
    const size = bytes.byteLength + 16;
    const buffer = device.createBuffer({
      label: "weights",
      size,
      usage: usage.storage | usage.copyTarget | usage.copySource,
    });
    if (bytes.byteLength > 0) device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  });
}

async function checkDigest(bytes: Uint8Array<ArrayBuffer>, spec: GpuSpec, url: URL): Promise<void> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== spec.weights.sha256) {
    throw new Error(`${url} is damaged, or of another build of the model: its SHA-256 differs`);
  }
}

const marker = "// kernel: ";

/** Kernels by name. */
function splitShaders(bytes: Uint8Array): Map<string, string> {
  const pieces = new TextDecoder().decode(bytes).split(`\n${marker}`).slice(1);
  return new Map(pieces.map((piece) => {
    const end = piece.indexOf("\n");
    return [piece.slice(0, end), piece.slice(end + 1)];
  }));
}

/** Relative names count from a folder only where its URL ends in a slash. */
function folderUrl(url: URL): URL {
  return url.pathname.endsWith("/") ? url : new URL(`${url.pathname.split("/").pop()}/`, url);
}
