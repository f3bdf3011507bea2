/** Loads an artifact's WebAssembly: fetches kernels and weights, instantiates, and gives the model. */

import type { LoadOptions, Model } from "../api.ts";
import { folderOf, readBytes } from "../read.ts";
import { readWeights, weightsBytes } from "../weights.ts";
import { createModel } from "./model.ts";
import { hasRelaxedSimd } from "./probe.ts";
import type { ModelSpec } from "./spec.ts";

/** Loads the model that `spec` describes from the folder `home`. Rejects with an Error that says what is wrong. */
export async function loadModel(spec: ModelSpec, home: string | URL, options: LoadOptions = {}): Promise<Model> {
  const { variant = "auto", signal } = options;
  const best = hasRelaxedSimd() ? "relaxed" : "simd128";
  const chosen = (["simd128", "relaxed"] as const).find((name) => name === (variant === "auto" ? best : variant));
  if (chosen === undefined) throw new TypeError(`Variants are "simd128" and "relaxed", not "${variant}"`);
  signal?.throwIfAborted();
  const base = folderOf(home, options.base);
  const memory = allocate(spec);
  const weights = new Uint8Array(memory.buffer, spec.weightsAddress, weightsBytes(spec.weights));
  const [module] = await Promise.all([
    readBytes(new URL(spec.kernels[chosen], base), signal).then((bytes) => compile(bytes, chosen)),
    readWeights(spec.weights, base, weights, options),
  ]);
  signal?.throwIfAborted();
  const instance = await WebAssembly.instantiate(module, { env: { memory } });
  return createModel(spec, {
    exports: instance.exports,
    memory,
    variant: chosen,
    readSelfTest: () => readBytes(new URL(spec.selfTest, base)),
  });
}

function allocate(spec: ModelSpec): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: spec.pages });
  } catch (cause) {
    const needed = Math.ceil(spec.pages / 16);
    throw new Error(`Model "${spec.name}" needs ${needed} MiB of memory, which this engine does not give`, { cause });
  }
}

async function compile(bytes: Uint8Array<ArrayBuffer>, variant: string): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (cause) {
    throw new Error(
      `This engine cannot compile the ${variant} kernels: WebAssembly ${
        variant === "relaxed" ? "relaxed SIMD" : "SIMD"
      } is missing, or the file is damaged`,
      { cause },
    );
  }
}
