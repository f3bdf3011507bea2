/**
 * Bit packing: codes of 1 to 8 bits in bytes, least significant bit first. A layout says where a code's bits lie, never what
 * they mean.
 */

import { unreachable } from "../../compiler/diagnostics.ts";

/**
 * `stream`: code i takes bits i * width .. (i + 1) * width - 1 of the bytes, so any code is reached by its index.
 * `interleave`: fields of 4, 2 and 1 bits that add up to the width, low bits first, each field over all codes of a group. A
 * byte of a field holds codes that lie `lanes` apart: one load, a shift and a mask give `lanes` consecutive codes.
 * `planes`: bit p of every code, eight codes to a byte, plane after plane: what bit-serial products read.
 */
export type CodeLayout =
  | { readonly kind: "stream" }
  | { readonly kind: "interleave"; readonly lanes: number }
  | { readonly kind: "planes" };

export const stream: CodeLayout = { kind: "stream" };
export const planes: CodeLayout = { kind: "planes" };

export function interleave(lanes: number): CodeLayout {
  return { kind: "interleave", lanes };
}

/** `stream`, `interleave(16)`: the name that manifests and reports use. */
export function layoutName(layout: CodeLayout): string {
  return layout.kind === "interleave" ? `interleave(${layout.lanes})` : layout.kind;
}

/** A run of bits of every code of a group: `width` bits of the code from bit `from` on. */
export interface CodeField {
  readonly from: number;
  readonly width: number;
}

/** Widths of 4, 2 and 1 that add up to `width`, widest and lowest bits first: 3 is 2 + 1, 7 is 4 + 2 + 1, 8 is 4 + 4. */
export function codeFields(width: number): readonly CodeField[] {
  const fields: CodeField[] = [];
  for (let from = 0; from < width;) {
    const field = [4, 2, 1].find((size) => size <= width - from) ?? 1;
    fields.push({ from, width: field });
    from += field;
  }
  return fields;
}

/** A place of one bit: which code it belongs to, which of its bits it is, and where it lies. */
type BitVisit = (code: number, bit: number, byte: number, place: number) => void;

/** Codes of a group of an interleave: `lanes` bytes of single bits. */
function groupSize(lanes: number): number {
  return 8 * lanes;
}

/** Visits every bit of `count` codes; returns the number of bytes. The one definition that packing and unpacking share. */
function visitBits(count: number, width: number, layout: CodeLayout, visit: BitVisit): number {
  switch (layout.kind) {
    case "stream":
      for (let code = 0; code < count; code++) {
        for (let bit = 0; bit < width; bit++) {
          const at = code * width + bit;
          visit(code, bit, at >> 3, at & 7);
        }
      }
      return Math.ceil(count * width / 8);
    case "planes": {
      const planeBytes = Math.ceil(count / 8);
      for (let bit = 0; bit < width; bit++) {
        for (let code = 0; code < count; code++) visit(code, bit, bit * planeBytes + (code >> 3), code & 7);
      }
      return width * planeBytes;
    }
    case "interleave": {
      let start = 0;
      for (let first = 0; first < count; first += groupSize(layout.lanes)) {
        const size = Math.min(groupSize(layout.lanes), count - first);
        for (const field of codeFields(width)) start += visitField(first, size, field, layout.lanes, start, visit);
      }
      return start;
    }
    default:
      return unreachable(layout);
  }
}

/** One field of a group's codes. Runs of `lanes` * 8 / width codes fill `lanes` bytes; the last run takes as many as it needs. */
function visitField(
  first: number,
  size: number,
  field: CodeField,
  lanes: number,
  start: number,
  visit: BitVisit,
): number {
  const perByte = 8 / field.width;
  let bytes = 0;
  for (let from = 0; from < size; from += lanes * perByte) {
    const run = Math.min(lanes * perByte, size - from);
    const width = Math.min(lanes, Math.ceil(run / perByte));
    for (let index = 0; index < run; index++) {
      for (let bit = 0; bit < field.width; bit++) {
        const place = Math.floor(index / width) * field.width + bit;
        visit(first + from + index, field.from + bit, start + bytes + index % width, place);
      }
    }
    bytes += width;
  }
  return bytes;
}

/** Bytes that `count` codes take. */
export function packedBytes(count: number, width: number, layout: CodeLayout): number {
  return visitBits(count, width, layout, () => {});
}

/** Packs codes of `width` bits (1..8); of signed codes the low bits are kept. Bits of no code are 0. */
export function packCodes(codes: ArrayLike<number>, width: number, layout: CodeLayout): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(packedBytes(codes.length, width, layout));
  visitBits(codes.length, width, layout, (code, bit, byte, place) => {
    bytes[byte] |= ((codes[code] >> bit) & 1) << place;
  });
  return bytes;
}

/** The inverse of `packCodes`: `count` codes, two's complement where they are signed. */
export function unpackCodes(
  bytes: Uint8Array,
  count: number,
  width: number,
  signed: boolean,
  layout: CodeLayout,
): Int8Array<ArrayBuffer> | Uint8Array<ArrayBuffer> {
  const codes = signed ? new Int8Array(count) : new Uint8Array(count);
  visitBits(count, width, layout, (code, bit, byte, place) => {
    const value = (bytes[byte] >> place) & 1;
    // The top bit of a signed code stands for its negative power.
    codes[code] += signed && bit === width - 1 ? -(value << bit) : value << bit;
  });
  return codes;
}
