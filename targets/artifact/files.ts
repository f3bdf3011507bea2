/** Artifact files in memory: making, measuring and hashing them. */

import { createHash } from "node:crypto";
import type { ArtifactFile } from "../target.ts";

const encoder = new TextEncoder();

export function textFile(path: string, text: string): ArtifactFile {
  return { path, chunks: [encoder.encode(text)] };
}

export function binaryFile(path: string, bytes: Uint8Array<ArrayBuffer>): ArtifactFile {
  return { path, chunks: [bytes] };
}

/** JSON with two-space indents and a final newline; key order is the object's own. */
export function jsonFile(path: string, value: unknown): ArtifactFile {
  return textFile(path, `${JSON.stringify(value, null, 2)}\n`);
}

export function fileBytes(file: ArtifactFile): number {
  return file.chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
}

/** Lower-case hexadecimal SHA-256 of the chunks end to end. */
export function sha256(chunks: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}
