/** Turns a TensorProto into a tensor. What its shape, element and data disagree about is a diagnostic. */

import { fail } from "../../diagnostics.ts";
import { allocate, elementBytes, type ElementType, fromBytes } from "../../numeric/element.ts";
import { formatBits, type NumberFormat } from "../../numeric/number_format.ts";
import { type PlainTensor, plainTensor } from "../../ir/tensor.ts";
import { dataTypeText, elementKind } from "./element_kind.ts";
import { type ExternalData, noExternalData } from "./external_data.ts";
import type { TensorProto } from "./proto.ts";

/** A tensor as it is held, with the number format where its elements are codes. */
export interface LoadedTensor {
  readonly tensor: PlainTensor;
  readonly format?: NumberFormat;
}

/** Entries that one tensor may have; also what a typed array can index. */
export const entryLimit = 2 ** 31 - 1;

/** Loads a tensor. `name` is what messages call it. Throws DiagnosticError. */
export function loadTensor(proto: TensorProto, name: string, external: ExternalData = noExternalData): LoadedTensor {
  const kind = elementKind(proto.dataType);
  if (kind === undefined) {
    return fail("Q1010", `Tensor "${name}" holds ${dataTypeText(proto.dataType)}, which is not supported`, {
      node: name,
    });
  }
  const shape = tensorShape(proto, name);
  const size = shape.reduce((product, extent) => product * extent, 1);
  const { element, format } = kind;
  if (format !== undefined && formatBits(format) < 8) {
    const packed = codeBytes(proto, name, Math.ceil(size * formatBits(format) / 8), external);
    return { tensor: plainTensor(element, shape, unpackCodes(packed, size, format, element)), format };
  }
  if (format !== undefined) {
    return { tensor: plainTensor(element, shape, fromBytes(element, codeBytes(proto, name, size, external))), format };
  }
  return { tensor: plainTensor(element, shape, plainData(proto, name, element, size, external)) };
}

function tensorShape(proto: TensorProto, name: string): number[] {
  let size = 1;
  return proto.dims.map((dim) => {
    const extent = Number(dim);
    size *= Math.max(1, extent);
    if (dim < 0n || size > entryLimit) {
      fail("Q1011", `Tensor "${name}" has the shape [${proto.dims.join(",")}], which no tensor can have`, {
        node: name,
      });
    }
    return extent;
  });
}

function wrongLength(name: string, has: number, wanted: number, unit: string): never {
  return fail("Q1011", `Tensor "${name}" has ${has} ${unit}, its shape needs ${wanted}`, { node: name });
}

/** The raw or external bytes, checked against the length that is wanted; undefined when typed fields hold the data. */
function rawBytes(proto: TensorProto, name: string, wanted: number, external: ExternalData): Uint8Array | undefined {
  if (proto.external !== undefined) return external(proto, wanted);
  if (proto.raw === undefined) return undefined;
  // An empty raw field beside a typed field is what some writers leave behind.
  if (proto.raw.length === 0 && wanted > 0 && hasTypedData(proto)) return undefined;
  return proto.raw.length === wanted ? proto.raw : wrongLength(name, proto.raw.length, wanted, "bytes");
}

function hasTypedData(proto: TensorProto): boolean {
  return [proto.floats, proto.doubles, proto.int32s, proto.int64s, proto.uint64s].some((field) => field !== undefined);
}

/** Bytes of codes: raw, external, or one byte in each int32. */
function codeBytes(proto: TensorProto, name: string, wanted: number, external: ExternalData): Uint8Array {
  const raw = rawBytes(proto, name, wanted, external);
  if (raw !== undefined) return raw;
  const bytes = Uint8Array.from(proto.int32s ?? []);
  return bytes.length === wanted ? bytes : wrongLength(name, bytes.length, wanted, "bytes");
}

/** Codes of 2 or 4 bits, the first in the low bits of its byte. */
function unpackCodes(bytes: Uint8Array, size: number, format: NumberFormat, element: ElementType) {
  const bits = formatBits(format);
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  const isSigned = format.kind === "int" && format.signed;
  const codes = allocate(element === "i8" ? "i8" : "u8", size);
  for (let index = 0; index < size; index++) {
    const code = (bytes[Math.floor(index / perByte)] >> (bits * (index % perByte))) & mask;
    codes[index] = isSigned && code > mask >> 1 ? code - mask - 1 : code;
  }
  return codes;
}

function plainData(proto: TensorProto, name: string, element: ElementType, size: number, external: ExternalData) {
  const raw = rawBytes(proto, name, size * elementBytes(element), external);
  if (raw !== undefined) {
    const data = fromBytes(element, raw);
    return element === "bool" ? Uint8Array.from(raw, (byte) => (byte === 0 ? 0 : 1)) : data;
  }
  const typed = typedData(proto, element);
  return typed.length === size ? typed : wrongLength(name, typed.length, size, "values");
}

/** The typed field that the standard assigns to an element; half floats are bit patterns in int32s. */
function typedData(proto: TensorProto, element: ElementType) {
  switch (element) {
    case "f32":
      return proto.floats ?? new Float32Array();
    case "f64":
      return proto.doubles ?? new Float64Array();
    case "i64":
      return BigInt64Array.from(proto.int64s ?? []);
    case "u64":
      return BigUint64Array.from(proto.uint64s ?? []);
    case "u32":
      return Uint32Array.from(proto.uint64s ?? [], Number);
    case "i32":
      return Int32Array.from(proto.int32s ?? []);
    case "i16":
      return Int16Array.from(proto.int32s ?? []);
    case "u16":
    case "bf16":
      return Uint16Array.from(proto.int32s ?? []);
    case "f16":
      return fromBytes("f16", new Uint8Array(Uint16Array.from(proto.int32s ?? []).buffer));
    case "i8":
      return Int8Array.from(proto.int32s ?? []);
    case "u8":
      return Uint8Array.from(proto.int32s ?? []);
    case "bool":
      return Uint8Array.from(proto.int32s ?? [], (value) => (value === 0 ? 0 : 1));
  }
}
