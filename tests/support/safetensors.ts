/** Writes safetensors files for tests. */

import { bytesOf, type TypedArray } from "../../compiler/numeric/element.ts";

export interface StoredTensor {
  readonly name: string;
  /** As the format names it: F32, BF16, ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

/** The bytes of a safetensors file with these tensors one after another. */
export function encodeSafetensors(tensors: readonly StoredTensor[]): Uint8Array<ArrayBuffer> {
  let end = 0;
  const entries = tensors.map(({ name, dtype, shape, data }) => {
    const begin = end;
    end += data.byteLength;
    return [name, { dtype, shape, data_offsets: [begin, end] }] as const;
  });
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const file = new Uint8Array(8 + json.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let at = 8 + json.length;
  for (const { data } of tensors) {
    file.set(bytesOf(data), at);
    at += data.byteLength;
  }
  return file;
}
