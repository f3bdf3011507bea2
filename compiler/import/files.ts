/** Random access to the bytes of a model file, so that weights are read one tensor at a time. */

import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../diagnostics.ts";

export interface ByteSource {
  /** What messages call it: the file's name. */
  readonly name: string;
  readonly size: number;
  /** Exactly `length` bytes from `offset`, in fresh memory. Both lie within the file (checked by the caller's format). */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>;
  close(): void;
}

/** A file on disk. Throws a DiagnosticError (Q0400) when it cannot be read. */
export function openFile(path: string): ByteSource {
  const descriptor = orFail(path, () => openSync(path, "r"));
  const status = fstatSync(descriptor);
  if (!status.isFile()) {
    closeSync(descriptor);
    return fail("Q0400", `Cannot read "${path}": it is not a file`, { node: path });
  }
  return {
    name: path,
    size: status.size,
    read: (offset, length) => orFail(path, () => readExactly(descriptor, path, offset, length)),
    close: () => closeSync(descriptor),
  };
}

/** The files of a model that lie beside one another. */
export interface ModelFolder {
  /** What messages call it. */
  readonly place: string;
  has(name: string): boolean;
  /** Opens a file by its plain name. Throws a DiagnosticError (Q0400) when it cannot be read. */
  open(name: string): ByteSource;
}

/** A folder on disk. */
export function diskFolder(place: string): ModelFolder {
  return {
    place,
    has: (name) => existsSync(join(place, name)),
    open: (name) => openFile(join(place, name)),
  };
}

/** Files in memory as a folder. */
export function memoryFolder(place: string, files: Readonly<Record<string, Uint8Array>>): ModelFolder {
  return {
    place,
    has: (name) => Object.hasOwn(files, name),
    open: (name) =>
      Object.hasOwn(files, name)
        ? bytesSource(join(place, name), files[name])
        : fail("Q0400", `Cannot read "${join(place, name)}": there is no such file`, { node: name }),
  };
}

/** Files that are read whole (JSON, tokenizers) are bounded, for their contents take many times their size. */
const maximumWholeBytes = 500_000_000;

/** All bytes of a file. Throws a DiagnosticError (Q0400) when it is too large. */
export function readWhole(source: ByteSource): Uint8Array<ArrayBuffer> {
  try {
    if (source.size > maximumWholeBytes) {
      fail("Q0400", `"${source.name}" has ${source.size} bytes, more than ${maximumWholeBytes}`, { node: source.name });
    }
    return source.read(0, source.size);
  } finally {
    source.close();
  }
}

/** Bytes in memory as a source. */
export function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    read: (offset, length) => {
      if (offset < 0 || offset + length > bytes.byteLength) shortRead(name, offset, length);
      return Uint8Array.from(bytes.subarray(offset, offset + length));
    },
    close: () => undefined,
  };
}

function readExactly(descriptor: number, path: string, offset: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    // One read call takes at most 2^31 - 1 bytes.
    const count = readSync(descriptor, bytes, filled, Math.min(length - filled, 1 << 30), offset + filled);
    if (count === 0) shortRead(path, offset, length);
    filled += count;
  }
  return bytes;
}

function shortRead(name: string, offset: number, length: number): never {
  return fail("Q0400", `"${name}" ends before byte ${offset + length}`, { node: name });
}

/** The code of a system error such as ENOENT or EACCES. */
function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

function orFail<T>(path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    const reason = code === "ENOENT" ? "there is no such file" : code;
    return fail("Q0400", `Cannot read "${path}": ${reason}`, { node: path });
  }
}
