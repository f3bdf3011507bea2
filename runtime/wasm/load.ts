/** Loads an artifact: fetches kernels and weights, instantiates, and gives the model. */

import type { LoadOptions, Model, Progress } from "./api.ts";
import { createModel } from "./model.ts";
import { hasRelaxedSimd } from "./probe.ts";
import { readBytes, readInto } from "./read.ts";
import type { ModelSpec } from "./spec.ts";

/** Loads the model that `spec` describes from the folder `home`. Rejects with an Error that says what is wrong. */
export async function loadModel(spec: ModelSpec, home: string | URL, options: LoadOptions = {}): Promise<Model> {
  const { target = "auto", variant = "auto", signal, onProgress, verify = true } = options;
  if (target !== "auto" && target !== "wasm") {
    throw new TypeError(`This artifact has the target "wasm", not "${target}"`);
  }
  if (variant !== "auto" && !Object.hasOwn(spec.kernels, variant)) {
    throw new TypeError(`Variants are "simd128" and "relaxed", not "${variant}"`);
  }
  signal?.throwIfAborted();
  const base = options.base === undefined ? home : folderUrl(new URL(options.base, home));
  const chosen = variant === "auto" ? (hasRelaxedSimd() ? "relaxed" : "simd128") : variant;
  const memory = allocate(spec);
  const [module] = await Promise.all([
    readBytes(new URL(spec.kernels[chosen], base), signal).then((bytes) => compile(bytes, chosen)),
    readWeights(spec, base, memory, verify, signal, onProgress),
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

/** Relative names count from a folder only where its URL ends in a slash. */
function folderUrl(url: URL): URL {
  return url.pathname.endsWith("/") ? url : new URL(`${url.pathname.split("/").pop()}/`, url);
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

async function readWeights(
  spec: ModelSpec,
  base: string | URL,
  memory: WebAssembly.Memory,
  verify: boolean,
  signal: AbortSignal | undefined,
  onProgress: ((progress: Progress) => void) | undefined,
): Promise<void> {
  const { file, address, bytes: total, sha256 } = spec.weights;
  const weights = new Uint8Array(memory.buffer, address, total);
  const url = new URL(file, base);
  await readInto(url, weights, signal, (loaded) => onProgress?.({ loaded, total }));
  // Pages that are not secure contexts have no digest; the length was checked all the same.
  if (!verify || globalThis.crypto?.subtle === undefined) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", weights));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== sha256) throw new Error(`${url} is damaged, or of another build of the model: its SHA-256 differs`);
}
