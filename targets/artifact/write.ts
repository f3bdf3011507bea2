/** Puts an artifact on disk: all of it or nothing, and never over a folder that is not Quern's own. */

import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type Diagnostic, errorDiagnostic } from "../../compiler/diagnostics.ts";
import type { ArtifactFile } from "../target.ts";

/** The key of manifest.json that marks a folder as an artifact, and its version. */
export const artifactMarker = "quernArtifact";
export const artifactVersion = 1;

/** Why an artifact may not be written to `folder`; undefined when it may. */
export async function refuseFolder(folder: string): Promise<Diagnostic | undefined> {
  const path = resolve(folder);
  if (!existsSync(path)) return undefined;
  let entries: string[];
  try {
    entries = await readdir(path);
  } catch {
    return errorDiagnostic("Q0801", `"${folder}" exists and is not a folder`, { help: "Choose another --out" });
  }
  if (entries.length === 0 || await isArtifact(path)) return undefined;
  return errorDiagnostic("Q0802", `"${folder}" exists and is not an artifact of Quern; it stays as it is`, {
    help: "Choose another --out, or remove the folder yourself",
  });
}

/** Whether a folder holds an artifact that this compiler wrote. */
export async function isArtifact(folder: string): Promise<boolean> {
  try {
    const manifest: unknown = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
    return typeof manifest === "object" && manifest !== null && artifactMarker in manifest;
  } catch {
    return false;
  }
}

/**
 * Writes the files to a new folder beside `folder`, then puts it in its place. The caller has asked `refuseFolder`.
 * Rejects with the system's error where the disk does not take the files; `folder` is then as it was.
 */
export async function writeArtifact(folder: string, files: readonly ArtifactFile[]): Promise<void> {
  const path = resolve(folder);
  const beside = (suffix: string) => join(dirname(path), `.${basename(path)}.${suffix}-${crypto.randomUUID()}`);
  const fresh = beside("new");
  const old = beside("old");
  try {
    for (const file of files) await writeFile(join(fresh, file.path), file);
    if (existsSync(path)) await rename(path, old);
    await rename(fresh, path);
  } catch (error) {
    if (existsSync(old) && !existsSync(path)) await rename(old, path);
    throw error;
  } finally {
    await rm(fresh, { recursive: true, force: true });
    await rm(old, { recursive: true, force: true });
  }
}

async function writeFile(path: string, file: ArtifactFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const handle = await open(path, "wx");
  try {
    for (const chunk of file.chunks) await writeAll(handle, chunk);
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: Awaited<ReturnType<typeof open>>, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.byteLength;) {
    const { bytesWritten } = await handle.write(chunk, offset, chunk.byteLength - offset);
    offset += bytesWritten;
  }
}
