/** Reads the arrays that reference outputs are stored in. */

import { readFileSync } from "node:fs";
import { type ElementType, fromBytes } from "../../compiler/numeric/element.ts";
import { type PlainTensor, plainTensor, sizeOf } from "../../compiler/ir/tensor.ts";

const elements: Readonly<Record<string, ElementType>> = {
  "<f2": "f16",
  "<f4": "f32",
  "<f8": "f64",
  "<i4": "i32",
  "<i8": "i64",
  "|u1": "u8",
  "|i1": "i8",
};

/** The array of a `.npy` file: little-endian, C order, version 1. */
export function readNpy(path: string): PlainTensor {
  const bytes = new Uint8Array(readFileSync(path));
  const headerLength = bytes[8] | (bytes[9] << 8);
  const header = new TextDecoder().decode(bytes.subarray(10, 10 + headerLength));
  const element = elements[/'descr': '([^']+)'/.exec(header)?.[1] ?? ""];
  const extents = /'shape': \(([^)]*)\)/.exec(header)?.[1];
  if (element === undefined || extents === undefined || /'fortran_order': True/.test(header)) {
    throw new Error(`${path} is no array that the tests read: ${header}`);
  }
  const shape = extents.split(",").filter((text) => text.trim() !== "").map(Number);
  const data = fromBytes(element, bytes.subarray(10 + headerLength));
  if (data.length !== sizeOf(shape)) throw new Error(`${path} holds ${data.length} entries, its shape is [${shape}]`);
  return plainTensor(element, shape, data);
}

/** Row `index` of an array of f32 along its first axis, with that axis kept as 1. */
export function rowOf(tensor: PlainTensor, index: number): PlainTensor<"f32"> {
  if (tensor.element !== "f32") throw new Error(`Rows of ${tensor.element} are not read`);
  const shape = [1, ...tensor.shape.slice(1)];
  const size = sizeOf(shape);
  const data = Float32Array.from(tensor.data.subarray(index * size, (index + 1) * size), Number);
  return plainTensor("f32", shape, data);
}
