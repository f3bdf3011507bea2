/** The protobuf wire format: tagged fields, lengths, varints and fixed-width numbers, with the place of every fault. */

import type protobuf from "protobufjs";
import { fail } from "../../diagnostics.ts";

export type Reader = protobuf.Reader;

/** Reads one field; the reader stands behind its tag. */
export type FieldReader = (reader: Reader, wire: number) => void;

const wireVarint = 0;
const wireFixed64 = 1;
const wireBytes = 2;
export const wireFixed32 = 5;

export function malformed(reader: Reader, place: string, reason: string): never {
  return fail("Q1001", `Not a readable ONNX file: ${reason} at byte ${reader.pos} in ${place}`, {
    help: "Check that the file is complete and is ONNX (a protobuf), not a pointer file or an archive",
  });
}

/** Reads fields up to `end`. Fields without a reader are skipped. */
export function readMessage(
  reader: Reader,
  end: number,
  place: string,
  fields: Readonly<Record<number, FieldReader>>,
): void {
  while (reader.pos < end) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    const wire = tag & 7;
    if (field === 0 || wire === 3 || wire === 4 || wire > 5) malformed(reader, place, `tag ${tag} is no field`);
    const read = fields[field];
    if (read === undefined) reader.skipType(wire);
    else read(reader, wire);
    if (reader.pos > end) malformed(reader, place, "a field runs past the end of its message");
  }
}

/** Reads the length of a nested message and gives its end. */
export function nestedEnd(reader: Reader, wire: number, place: string): number {
  expectWire(reader, wire, wireBytes, place);
  const length = reader.uint32();
  if (reader.pos + length > reader.len) malformed(reader, place, `a part of ${length} bytes is cut off`);
  return reader.pos + length;
}

export function expectWire(reader: Reader, wire: number, wanted: number, place: string): void {
  if (wire !== wanted) malformed(reader, place, `wire type ${wire} where ${wanted} belongs`);
}

export function readBytes(reader: Reader, wire: number, place: string): Uint8Array {
  const end = nestedEnd(reader, wire, place);
  const bytes = reader.buf.subarray(reader.pos, end);
  reader.pos = end;
  return bytes;
}

export function readString(reader: Reader, wire: number, place: string): string {
  return new TextDecoder().decode(readBytes(reader, wire, place));
}

export function readInt64(reader: Reader): bigint {
  const value = reader.int64();
  if (typeof value === "number") return BigInt(value);
  return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0);
}

export function readInteger(reader: Reader, wire: number, place: string): bigint {
  expectWire(reader, wire, wireVarint, place);
  return readInt64(reader);
}

/** An integer that is small in every sound file; saturates. */
export function readSmall(reader: Reader, wire: number, place: string): number {
  const value = readInteger(reader, wire, place);
  return Number(BigInt.asIntN(53, value));
}

/** Appends one unpacked or a run of packed varints. */
export function readVarints<T>(
  reader: Reader,
  wire: number,
  place: string,
  read: (reader: Reader) => T,
  into: T[],
): void {
  if (wire === wireVarint) {
    into.push(read(reader));
    return;
  }
  const end = nestedEnd(reader, wire, place);
  while (reader.pos < end) into.push(read(reader));
  if (reader.pos > end) malformed(reader, place, "packed integers run past their end");
}

/** Packed or unpacked fixed-width numbers, as their bytes. */
export function readFixed(reader: Reader, wire: number, place: string, width: 4 | 8, into: Uint8Array[]): void {
  if (wire === wireBytes) {
    const bytes = readBytes(reader, wire, place);
    if (bytes.length % width !== 0) malformed(reader, place, `${bytes.length} bytes of ${width}-byte numbers`);
    into.push(bytes);
    return;
  }
  expectWire(reader, wire, width === 4 ? wireFixed32 : wireFixed64, place);
  if (reader.pos + width > reader.len) malformed(reader, place, "a number is cut off");
  into.push(reader.buf.subarray(reader.pos, reader.pos + width));
  reader.pos += width;
}

export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0];
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
