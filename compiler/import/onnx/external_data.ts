/** Tensor data that lies in files beside the model. Locations may not leave the model's folder. */

import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { fail } from "../../diagnostics.ts";
import type { TensorProto } from "./proto.ts";

/** Gives the bytes of an external tensor, or ends with a diagnostic. `wanted` is the length that shape and element ask for. */
export type ExternalData = (tensor: TensorProto, wanted: number) => Uint8Array;

/** External data of a model that came without a folder: always a diagnostic. */
export function noExternalData(tensor: TensorProto): never {
  return fail("Q1012", `Tensor "${tensor.name}" keeps its data in another file, but the model has no folder`, {
    node: tensor.name,
  });
}

/** Reads external data beside the model file at `modelPath`. */
export function externalDataBeside(modelPath: string): ExternalData {
  const folder = dirname(resolve(modelPath));
  return (tensor, wanted) => {
    const path = locate(folder, modelPath, tensor);
    const offset = wholeNumber(tensor, "offset", 0);
    const length = wholeNumber(tensor, "length", wanted);
    if (length !== wanted) {
      fail("Q1011", `Tensor "${tensor.name}" declares ${length} external bytes, its shape needs ${wanted}`, {
        node: tensor.name,
      });
    }
    return readRange(path, offset, length, tensor);
  };
}

function wholeNumber(tensor: TensorProto, key: string, fallback: number): number {
  const text = tensor.external?.[key];
  if (text === undefined || text === "") return fallback;
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  return fail("Q1011", `Tensor "${tensor.name}" has the external ${key} "${text}", wanted a whole number`, {
    node: tensor.name,
  });
}

function locate(folder: string, modelPath: string, tensor: TensorProto): string {
  const location = tensor.external?.location ?? "";
  const outside = (reason: string): never =>
    fail("Q1012", `Tensor "${tensor.name}" keeps its data at "${location}", ${reason}`, {
      node: tensor.name,
      help: "External data must lie in the folder of the model",
    });
  if (location === "") outside("which is no place");
  if (location.includes("\0")) outside("which is no file name");
  const path = resolve(folder, location);
  if (isAbsolute(location) || !isInside(folder, path)) outside("outside the model's folder");
  const real = realPath(path) ?? outside("which does not exist");
  // A download cache may hold the model and its data as links to one folder of blobs.
  const roots = [realPath(folder), dirname(realPath(modelPath) ?? modelPath)];
  if (!roots.some((root) => root !== undefined && isInside(root, real))) outside("a link out of the model's folder");
  return path;
}

function isInside(folder: string, path: string): boolean {
  const between = relative(folder, path);
  return between !== "" && !isAbsolute(between) && between !== ".." && !between.startsWith(`..${join("/")}`);
}

function realPath(path: string): string | undefined {
  try {
    return Deno.realPathSync(path);
  } catch {
    return undefined;
  }
}

function readRange(path: string, offset: number, length: number, tensor: TensorProto): Uint8Array {
  const bad = (reason: string): never =>
    fail("Q1011", `External data of tensor "${tensor.name}": ${reason}`, { node: tensor.name });
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true });
  } catch (error) {
    return bad(`cannot open ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  try {
    const { size, isFile } = file.statSync();
    if (!isFile) return bad(`${path} is not a file`);
    if (offset + length > size) return bad(`bytes ${offset} to ${offset + length} of a file of ${size} bytes`);
    file.seekSync(offset, Deno.SeekMode.Start);
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const count = file.readSync(bytes.subarray(done));
      if (count === null) return bad(`the file ended at byte ${offset + done}`);
      done += count;
    }
    return bytes;
  } finally {
    file.close();
  }
}
