/** Writes small GGUF files for tests. */

/** A metadata value with its GGUF type. */
export type GgufValue =
  | { readonly type: "u32" | "f32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "i32s"; readonly value: readonly number[] };

export interface GgufStoredTensor {
  readonly name: string;
  /** Row-major, slowest axis first. */
  readonly shape: readonly number[];
  /** ggml's number of the block type: 0 is F32. */
  readonly type: number;
  readonly bytes: Uint8Array;
}

const alignment = 32;
const typeCodes = { u32: 4, f32: 6, bool: 7, string: 8, i32: 5, array: 9 };

/** The bytes of a GGUF file, version 3. */
export function encodeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufStoredTensor[],
): Uint8Array<ArrayBuffer> {
  const out: number[] = [...new TextEncoder().encode("GGUF")];
  u32(out, 3);
  u64(out, tensors.length);
  u64(out, Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    text(out, key);
    writeValue(out, value);
  }
  let end = 0;
  const offsets = tensors.map(({ bytes }) => {
    const offset = end;
    end = padded(end + bytes.length);
    return offset;
  });
  tensors.forEach(({ name, shape, type }, index) => {
    text(out, name);
    u32(out, shape.length);
    [...shape].reverse().forEach((extent) => u64(out, extent));
    u32(out, type);
    u64(out, offsets[index]);
  });
  const start = padded(out.length);
  const file = new Uint8Array(start + end);
  file.set(out);
  tensors.forEach(({ bytes }, index) => file.set(bytes, start + offsets[index]));
  return file;
}

function padded(length: number): number {
  return Math.ceil(length / alignment) * alignment;
}

function u32(out: number[], value: number): void {
  out.push(value & 255, value >>> 8 & 255, value >>> 16 & 255, value >>> 24);
}

function u64(out: number[], value: number): void {
  u32(out, value);
  u32(out, 0);
}

function text(out: number[], value: string): void {
  const bytes = new TextEncoder().encode(value);
  u64(out, bytes.length);
  out.push(...bytes);
}

function writeValue(out: number[], entry: GgufValue): void {
  switch (entry.type) {
    case "u32":
      u32(out, typeCodes.u32);
      u32(out, entry.value);
      return;
    case "f32":
      u32(out, typeCodes.f32);
      out.push(...new Uint8Array(Float32Array.of(entry.value).buffer));
      return;
    case "bool":
      u32(out, typeCodes.bool);
      out.push(entry.value ? 1 : 0);
      return;
    case "string":
      u32(out, typeCodes.string);
      text(out, entry.value);
      return;
    case "strings":
      u32(out, typeCodes.array);
      u32(out, typeCodes.string);
      u64(out, entry.value.length);
      entry.value.forEach((item) => text(out, item));
      return;
    case "i32s":
      u32(out, typeCodes.array);
      u32(out, typeCodes.i32);
      u64(out, entry.value.length);
      entry.value.forEach((item) => u32(out, item));
      return;
  }
}
