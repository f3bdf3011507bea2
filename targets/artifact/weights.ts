/** weights.bin: tensors in kernel order, aligned, as chunks that are never joined in memory. */

import type { ArtifactFile, WeightEntry } from "../target.ts";

/** The file, with zeros between tensors up to the next one's offset. */
export function weightsFile(path: string, weights: readonly WeightEntry[]): ArtifactFile {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let end = 0;
  for (const { offset, bytes } of weights) {
    if (offset > end) chunks.push(new Uint8Array(offset - end));
    chunks.push(bytes);
    end = offset + bytes.byteLength;
  }
  return { path, chunks };
}
