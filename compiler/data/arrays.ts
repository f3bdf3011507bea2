/** Reads files of numbers: .npy, .npz, .pb (ONNX tensors), IDX, .u16 and text lists. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { DiagnosticError, fail } from "../diagnostics.ts";
import { decodeTensorProto } from "../import/onnx/decode.ts";
import { loadTensor } from "../import/onnx/tensor_data.ts";
import { type ElementType, fromBytes } from "../numeric/element.ts";
import { type PlainTensor, plainTensor, sizeOf } from "../ir/tensor.ts";
import { readNpy, readNpz } from "./npy.ts";

/** Arrays by name; a file of one array goes by its stem. */
export type NamedArrays = Readonly<Record<string, PlainTensor>>;

/** Endings of the files that `readArrays` takes. */
export const arrayEndings = [".npy", ".npz", ".pb"] as const;

/** The bytes of a file. Throws DiagnosticError (Q0900). */
export function readBytes(path: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    return fail("Q0900", `Cannot read "${path}": ${error instanceof Error ? error.message : String(error)}`, {
      node: path,
    });
  }
}

/** Names in a folder, sorted; undefined when `path` is not a folder. Throws DiagnosticError (Q0900) when it is absent. */
export function listFolder(path: string): readonly string[] | undefined {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) return fail("Q0900", `There is no file or folder "${path}"`, { node: path });
  return status.isDirectory() ? readdirSync(path).sort(naturalOrder) : undefined;
}

/** Order in which input_10 stands after input_9. */
export function naturalOrder(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

export function isArrayFile(path: string): boolean {
  return arrayEndings.some((ending) => path.toLowerCase().endsWith(ending));
}

/** Arrays of one file. Throws DiagnosticError. */
export function readArrays(path: string): NamedArrays {
  const bytes = readBytes(path);
  const stem = basename(path, extname(path));
  switch (extname(path).toLowerCase()) {
    case ".npz":
      return readNpz(bytes, path);
    case ".pb":
      return readTensorProto(bytes, stem, path);
    default:
      return { [stem]: readNpy(bytes, path) };
  }
}

/** Arrays of every array file in a folder. */
export function readArrayFolder(folder: string): NamedArrays {
  const files = (listFolder(folder) ?? []).filter(isArrayFile);
  return Object.assign({}, ...files.map((name) => readArrays(join(folder, name))));
}

function readTensorProto(bytes: Uint8Array, stem: string, path: string): NamedArrays {
  const proto = decodeTensorProto(bytes);
  if (!proto.ok) throw new DiagnosticError(proto.diagnostics);
  const { tensor } = loadTensor(proto.value, path);
  return { [proto.value.name === "" ? stem : proto.value.name]: tensor };
}

const idxElements: Readonly<Record<number, ElementType>> = {
  8: "u8",
  9: "i8",
  11: "i16",
  12: "i32",
  13: "f32",
  14: "f64",
};

/** An IDX file as MNIST's (http://yann.lecun.com/exdb/mnist): big-endian, its shape in front. */
export function readIdx(path: string): PlainTensor {
  const bytes = readBytes(path);
  const element = idxElements[bytes[2]];
  const rank = bytes[3];
  if (bytes[0] !== 0 || bytes[1] !== 0 || element === undefined || bytes.length < 4 + 4 * rank) {
    return fail("Q0901", `"${path}" is not an IDX file`, { node: path });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  if (element !== "u8" && element !== "i8") {
    return fail("Q0901", `"${path}" is an IDX file of ${element}; those of bytes are read`, { node: path });
  }
  const data = bytes.slice(4 + 4 * rank);
  if (data.length !== sizeOf(shape)) {
    return fail("Q0901", `"${path}" has ${data.length} entries, its shape [${shape}] needs ${sizeOf(shape)}`, {
      node: path,
    });
  }
  return plainTensor(element, shape, fromBytes(element, data));
}

/** A headerless array; its first extent follows from the length. `rest` is the shape of one sample. */
export function readRaw(path: string, element: ElementType, rest: readonly number[]): PlainTensor {
  const data = fromBytes(element, readBytes(path));
  const sample = sizeOf(rest);
  if (sample === 0 || data.length % sample !== 0) {
    return fail("Q0901", `"${path}" has ${data.length} entries, not a multiple of the ${sample} of [${rest}]`, {
      node: path,
    });
  }
  return plainTensor(element, [data.length / sample, ...rest], data);
}
