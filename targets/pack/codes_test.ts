import assert from "node:assert/strict";
import { intFormat, intRange } from "../../compiler/numeric/number_format.ts";
import { uniform } from "../../tests/support/random.ts";
import {
  codeFields,
  type CodeLayout,
  interleave,
  layoutName,
  packCodes,
  packedBytes,
  planes,
  stream,
  unpackCodes,
} from "./codes.ts";

const layouts: readonly CodeLayout[] = [stream, planes, interleave(4), interleave(8), interleave(16)];
const widths = [1, 2, 3, 4, 5, 6, 7, 8];
const longest = 130;

/** Every code of the width in turn, from a random start, ends included. */
function codesOf(width: number, signed: boolean, count: number): number[] {
  const { min, max } = intRange(intFormat(width, signed));
  const random = uniform(31 * width + count);
  return Array.from({ length: count }, (_, index) => {
    const kind = random();
    return kind < 0.2 ? min : kind < 0.4 ? max : min + (index % (max - min + 1));
  });
}

Deno.test("unpack undoes pack for every width, sign, layout and length", () => {
  for (const width of widths) {
    for (const signed of [false, true]) {
      for (const layout of layouts) {
        for (let count = 0; count <= longest; count++) {
          const codes = codesOf(width, signed, count);
          const bytes = packCodes(codes, width, layout);
          const where = `${width} bits, signed ${signed}, ${layoutName(layout)}, ${count} codes`;
          assert.deepEqual(Array.from(unpackCodes(bytes, count, width, signed, layout)), codes, where);
        }
      }
    }
  }
});

Deno.test("packed codes take their width and at most one byte a plane or field more", () => {
  for (const width of widths) {
    for (const layout of layouts) {
      for (let count = 0; count <= longest; count++) {
        const parts = layout.kind === "stream" ? 1 : layout.kind === "planes" ? width : codeFields(width).length;
        const bytes = packedBytes(count, width, layout);
        assert.ok(
          8 * bytes >= count * width && bytes <= count * width / 8 + parts,
          `${width} ${layoutName(layout)} ${count}`,
        );
      }
    }
  }
});

Deno.test("streams: least significant bit first", () => {
  assert.deepEqual(Array.from(packCodes([1, 2, 3, 4], 3, stream)), [0b11_010_001, 0b1000]);
  assert.deepEqual(Array.from(packCodes([-1, -8], 4, stream)), [0x8f]);
});

Deno.test("interleaves: nibbles of a byte lie a run of lanes apart", () => {
  const codes = Array.from({ length: 8 }, (_, index) => index);
  assert.deepEqual(Array.from(packCodes(codes, 4, interleave(4))), [0x40, 0x51, 0x62, 0x73]);
  const crumbs = [0, 1, 2, 3, 3, 2, 1, 0];
  assert.deepEqual(Array.from(packCodes(crumbs, 2, interleave(2))), [0b01_11_10_00, 0b00_10_11_01]);
});

Deno.test("planes: one bit of eight codes a byte", () => {
  assert.deepEqual(Array.from(packCodes([1, 2, 3, 0, 0, 0, 0, 2], 2, planes)), [0b00000101, 0b10000110]);
});

Deno.test("a packer with its nibbles swapped is caught", () => {
  const swapped = (bytes: Uint8Array) => Uint8Array.from(bytes, (byte) => (byte >> 4) | (byte & 15) << 4);
  for (const layout of layouts) {
    const codes = codesOf(4, false, 37);
    const bytes = swapped(packCodes(codes, 4, layout));
    assert.notDeepEqual(Array.from(unpackCodes(bytes, 37, 4, false, layout)), codes, layoutName(layout));
  }
});
