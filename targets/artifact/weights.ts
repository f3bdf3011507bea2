/** Files of weights: tensors in kernel order, aligned, as chunks that are never joined in memory. */

import type { WeightsFile } from "../emit.ts";
import type { ArtifactFile } from "../target.ts";

/** The file, with zeros between tensors up to the next one's offset. */
export function weightsFile({ path, offset: start, entries }: WeightsFile): ArtifactFile {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let end = start;
  for (const { offset, bytes } of entries) {
    if (offset > end) chunks.push(new Uint8Array(offset - end));
    chunks.push(bytes);
    end = offset + bytes.byteLength;
  }
  return { path, chunks };
}
