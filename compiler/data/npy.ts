/** Reads NumPy's .npy arrays (format 1.0 to 3.0) and .npz archives of them. */

import { inflateRawSync } from "node:zlib";
import { fail } from "../diagnostics.ts";
import { elementBytes, type ElementType, fromBytes } from "../numeric/element.ts";
import { emptyTensor, type PlainTensor, plainTensor, sizeOf, stridesOf } from "../ir/tensor.ts";

const elements: Readonly<Record<string, ElementType>> = {
  b1: "bool",
  u1: "u8",
  i1: "i8",
  u2: "u16",
  i2: "i16",
  u4: "u32",
  i4: "i32",
  u8: "u64",
  i8: "i64",
  f2: "f16",
  f4: "f32",
  f8: "f64",
};

/** Reads one array. `name` is what messages call it. Throws DiagnosticError (Q0901). */
export function readNpy(bytes: Uint8Array, name: string): PlainTensor {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (bytes.length < 10 || magic.some((byte, index) => bytes[index] !== byte)) broken(name, "it is not an .npy file");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] >= 2;
  if (wide && bytes.length < 12) broken(name, "it is truncated");
  const start = wide ? 12 : 10;
  const end = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  if (end > bytes.length) broken(name, "it is truncated");
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, end));
  const { descriptor, fortran, shape } = parseHeader(header, name);
  const element = elements[descriptor.slice(1)];
  if (element === undefined || !"<>|=".includes(descriptor[0])) {
    return fail("Q0901", `"${name}" holds ${descriptor}, which is not a number type that Quern reads`, { node: name });
  }
  const length = sizeOf(shape) * elementBytes(element);
  if (bytes.length - end < length) {
    broken(name, `it has ${bytes.length - end} bytes of data, its shape needs ${length}`);
  }
  const data = bytes.slice(end, end + length);
  if (descriptor[0] === ">") swapBytes(data, elementBytes(element));
  const tensor = plainTensor(element, shape, fromBytes(element, data));
  return fortran ? fromColumnMajor(tensor) : tensor;
}

/** Reads an archive: its arrays by name, without `.npy`. Throws DiagnosticError (Q0901). */
export function readNpz(bytes: Uint8Array, name: string): Readonly<Record<string, PlainTensor>> {
  const members = zipMembers(bytes, name).filter((member) => member.name.endsWith(".npy"));
  return Object.fromEntries(members.map((member) => {
    const stem = member.name.slice(0, -".npy".length);
    return [stem, readNpy(member.bytes(), `${name}:${stem}`)];
  }));
}

function broken(name: string, reason: string): never {
  return fail("Q0901", `Cannot read "${name}": ${reason}`, { node: name });
}

function parseHeader(
  header: string,
  name: string,
): { readonly descriptor: string; readonly fortran: boolean; readonly shape: number[] } {
  const descriptor = /'descr'\s*:\s*'([^']+)'/.exec(header)?.[1];
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const extents = /'shape'\s*:\s*\(([^)]*)\)/.exec(header)?.[1];
  if (descriptor === undefined || fortran === undefined || extents === undefined) {
    return broken(name, "its header has no descr, fortran_order and shape");
  }
  const shape = extents.split(",").map((text) => text.trim()).filter((text) => text !== "").map(Number);
  if (shape.some((extent) => !Number.isSafeInteger(extent) || extent < 0)) broken(name, `its shape is (${extents})`);
  return { descriptor, fortran: fortran === "True", shape };
}

function swapBytes(data: Uint8Array, width: number): void {
  for (let start = 0; start < data.length; start += width) data.subarray(start, start + width).reverse();
}

function fromColumnMajor(tensor: PlainTensor): PlainTensor {
  const result = emptyTensor(tensor.element, tensor.shape);
  const strides = stridesOf([...tensor.shape].reverse()).reverse();
  const width = elementBytes(tensor.element);
  const from = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  const to = new Uint8Array(result.data.buffer);
  for (let index = 0; index < sizeOf(tensor.shape); index++) {
    let rest = index;
    let source = 0;
    for (let axis = tensor.shape.length - 1; axis >= 0; axis--) {
      source += (rest % tensor.shape[axis]) * strides[axis];
      rest = Math.floor(rest / tensor.shape[axis]);
    }
    to.set(from.subarray(source * width, (source + 1) * width), index * width);
  }
  return result;
}

interface ZipMember {
  readonly name: string;
  readonly bytes: () => Uint8Array;
}

/** The members that a zip archive's central directory lists (APPNOTE 6.3, sections 4.3.7 to 4.3.16; no zip64). */
function zipMembers(bytes: Uint8Array, name: string): readonly ZipMember[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEndRecord(view);
  if (end === undefined) return broken(name, "it is not a zip archive");
  const count = view.getUint16(end + 10, true);
  let cursor = view.getUint32(end + 16, true);
  return Array.from({ length: count }, () => {
    if (cursor + 46 > bytes.length || view.getUint32(cursor, true) !== 0x02014b50) {
      broken(name, "its directory is damaged");
    }
    const method = view.getUint16(cursor + 10, true);
    const packedBytes = view.getUint32(cursor + 20, true);
    const unpackedBytes = view.getUint32(cursor + 24, true);
    const nameBytes = view.getUint16(cursor + 28, true);
    const header = view.getUint32(cursor + 42, true);
    const member = new TextDecoder().decode(bytes.subarray(cursor + 46, cursor + 46 + nameBytes));
    cursor += 46 + nameBytes + view.getUint16(cursor + 30, true) + view.getUint16(cursor + 32, true);
    if (header + 30 > bytes.length || view.getUint32(header, true) !== 0x04034b50) {
      broken(name, `member "${member}" is damaged`);
    }
    const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    const packed = bytes.subarray(start, start + packedBytes);
    if (packed.length !== packedBytes) broken(name, `member "${member}" is truncated`);
    return { name: member, bytes: () => unpack(packed, method, unpackedBytes, `${name}:${member}`) };
  });
}

function findEndRecord(view: DataView): number | undefined {
  const least = Math.max(0, view.byteLength - 22 - 0xffff);
  for (let offset = view.byteLength - 22; offset >= least; offset--) {
    if (view.getUint32(offset, true) === 0x06054b50) return offset;
  }
  return undefined;
}

function unpack(packed: Uint8Array, method: number, length: number, name: string): Uint8Array {
  if (method === 0) return packed;
  if (method !== 8) return broken(name, `its compression method is ${method}; store and deflate are read`);
  try {
    return new Uint8Array(inflateRawSync(packed, { maxOutputLength: length }));
  } catch (error) {
    return broken(name, error instanceof Error ? error.message : String(error));
  }
}
