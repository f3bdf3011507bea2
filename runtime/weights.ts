/** Reads the weights with progress, and checks that they are those of the model. */

import type { LoadOptions } from "./api.ts";
import { readInto } from "./read.ts";
import type { WeightsSpec } from "./spec.ts";

/** Bytes from the start of the first file to the end of the last. */
export function weightsBytes(files: readonly WeightsSpec[]): number {
  return files.reduce((end, { offset, bytes }) => Math.max(end, offset + bytes), 0);
}

/** Reads all files into `target`. Throws an Error that names the file which is truncated, longer, or of another build. */
export async function readWeights(
  files: readonly WeightsSpec[],
  base: string | URL,
  target: Uint8Array<ArrayBuffer>,
  { signal, onProgress, verify = true }: LoadOptions,
): Promise<void> {
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let before = 0;
  for (const { file, offset, bytes, sha256 } of files) {
    const url = new URL(file, base);
    const range = target.subarray(offset, offset + bytes);
    await readInto(url, range, signal, (loaded) => onProgress?.({ loaded: before + loaded, total }));
    before += bytes;
    // Pages that are not secure contexts have no digest; the length was checked all the same.
    if (verify && globalThis.crypto?.subtle !== undefined) await checkDigest(range, url, sha256);
  }
}

async function checkDigest(bytes: Uint8Array<ArrayBuffer>, url: URL, sha256: string): Promise<void> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== sha256) throw new Error(`${url} is damaged, or of another build of the model: its SHA-256 differs`);
}
