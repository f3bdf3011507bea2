/**
 * The safetensors container: 8 bytes of header length (little-endian), a JSON header, then the tensors' bytes. The rules
 * are those of the format's reference implementation: the tensors cover the data section without holes or overlaps.
 */

import { type Diagnostic, DiagnosticError, errorDiagnostic, fail } from "../../diagnostics.ts";
import { fromBytes } from "../../numeric/element.ts";
import { type PlainTensor, plainTensor, sizeOf } from "../../ir/tensor.ts";
import { isObject, parseJsonObject, shown } from "../fields.ts";
import type { ByteSource } from "../files.ts";

export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte in the file, and bytes in all. */
  readonly offset: number;
  readonly length: number;
  readonly source: ByteSource;
}

/** The reference implementation's limit on the header. */
const maximumHeaderBytes = 100_000_000;

/** Bits of one element. Sub-byte types are packed, so a tensor of them fills whole bytes. */
const dtypeBits: Readonly<Record<string, number>> = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
  C64: 64,
};

/** The tensors of a file by name. Throws a DiagnosticError that lists every fault (Q0420, Q0421). */
export function readSafetensorsHeader(source: ByteSource): ReadonlyMap<string, SafetensorsEntry> {
  const wrong = (message: string): never =>
    fail("Q0420", `"${source.name}" is no safetensors file: ${message}`, {
      node: source.name,
    });
  if (source.size < 8) wrong(`it has ${source.size} bytes, wants 8 for the header length`);
  const prefix = source.read(0, 8);
  const declared = new DataView(prefix.buffer).getBigUint64(0, true);
  if (declared > BigInt(maximumHeaderBytes)) {
    wrong(`the header claims ${declared} bytes, more than the limit of ${maximumHeaderBytes}`);
  }
  const headerLength = Number(declared);
  const dataStart = 8 + headerLength;
  if (dataStart > source.size) wrong(`the header claims ${headerLength} bytes, the file has ${source.size} in all`);
  const header = parseJsonObject(source.read(8, headerLength), source.name);
  const diagnostics: Diagnostic[] = [];
  const entries: SafetensorsEntry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const entry = parseEntry(name, value, source, dataStart);
    if (typeof entry === "string") diagnostics.push(faultAt(source, name, entry));
    else entries.push(entry);
  }
  if (diagnostics.length === 0) diagnostics.push(...layoutFaults(entries, source, dataStart));
  if (diagnostics.length > 0) throw new DiagnosticError(diagnostics);
  return new Map(entries.map((entry) => [entry.name, entry]));
}

/** The tensor of an entry as f32: F16 and BF16 widen exactly, F64 rounds. Throws a DiagnosticError for any other type. */
export function readFloatTensor(entry: SafetensorsEntry): PlainTensor<"f32"> {
  const bytes = entry.source.read(entry.offset, entry.length);
  switch (entry.dtype) {
    case "F32":
      return plainTensor("f32", entry.shape, fromBytes("f32", bytes));
    case "F16":
      return plainTensor("f32", entry.shape, Float32Array.from(fromBytes("f16", bytes)));
    case "BF16":
      return plainTensor("f32", entry.shape, widenBf16(fromBytes("u16", bytes)));
    case "F64":
      return plainTensor("f32", entry.shape, Float32Array.from(fromBytes("f64", bytes)));
    default:
      return fail("Q0421", `"${entry.name}" is ${entry.dtype}, wants F32, F16, BF16 or F64`, {
        node: entry.name,
        help: "Quantized checkpoints are not read from safetensors yet",
      });
  }
}

/** bfloat16 bits are the high half of a float32's. */
function widenBf16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const words = new Uint32Array(bits.length);
  for (let index = 0; index < bits.length; index++) words[index] = bits[index] << 16;
  return new Float32Array(words.buffer);
}

function faultAt(source: ByteSource, name: string, message: string): Diagnostic {
  return errorDiagnostic("Q0420", `"${name}" in "${source.name}": ${message}`, { node: name });
}

/** The entry that a header value describes, or what is wrong with it. */
function parseEntry(name: string, value: unknown, source: ByteSource, dataStart: number): SafetensorsEntry | string {
  if (!isObject(value)) return `is ${shown(value)}, wants an object`;
  const { dtype, shape, data_offsets: offsets } = value;
  const bits = typeof dtype === "string" && Object.hasOwn(dtypeBits, dtype) ? dtypeBits[dtype] : undefined;
  if (typeof dtype !== "string" || bits === undefined) return `dtype is ${shown(dtype)}, which is unknown`;
  if (!isExtents(shape)) return `shape is ${shown(shape)}, wants a list of extents`;
  if (!isExtents(offsets) || offsets.length !== 2) return `data_offsets are ${shown(offsets)}, wants begin and end`;
  const [begin, end] = offsets;
  if (end < begin || dataStart + end > source.size) {
    return `data_offsets ${begin}..${end} leave the data section of ${source.size - dataStart} bytes`;
  }
  const wanted = sizeOf(shape) * bits / 8;
  if (end - begin !== wanted) {
    return `${dtype} of shape [${shape}] takes ${wanted} bytes, data_offsets span ${end - begin}`;
  }
  return { name, dtype, shape, offset: dataStart + begin, length: end - begin, source };
}

function isExtents(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length <= 16 &&
    value.every((entry) => Number.isSafeInteger(entry) && entry >= 0);
}

/** Overlaps, holes and trailing bytes of the data section. */
function layoutFaults(
  entries: readonly SafetensorsEntry[],
  source: ByteSource,
  dataStart: number,
): readonly Diagnostic[] {
  const faults: Diagnostic[] = [];
  const byOffset = [...entries].sort((a, b) => a.offset - b.offset || a.length - b.length);
  let covered = dataStart;
  for (const entry of byOffset) {
    if (entry.offset < covered) faults.push(faultAt(source, entry.name, "overlaps the tensor before it"));
    if (entry.offset > covered) {
      faults.push(faultAt(source, entry.name, `leaves a hole of ${entry.offset - covered} bytes before it`));
    }
    covered = Math.max(covered, entry.offset + entry.length);
  }
  if (covered < source.size && faults.length === 0) {
    faults.push(errorDiagnostic("Q0420", `"${source.name}" has ${source.size - covered} bytes after the last tensor`, {
      node: source.name,
    }));
  }
  return faults;
}
