import assert from "node:assert/strict";
import { nearestCode, rational } from "../../tests/support/rational.ts";
import {
  codeElement,
  decodeCode,
  encodeValue,
  formatBits,
  formatMax,
  formatName,
  intFormat,
  intRange,
  nf4,
  type NumberFormat,
  parseFormat,
} from "./number_format.ts";
import { minifloat } from "./minifloat.ts";
import { allocate } from "./element.ts";

function* intFormats(): Generator<NumberFormat & { kind: "int" }> {
  for (let bits = 1; bits <= 8; bits++) for (const signed of [true, false]) yield intFormat(bits, signed);
}

Deno.test("every integer format up to 8 bits: all codes, ties to even, saturation", () => {
  for (const format of intFormats()) {
    const { min, max } = intRange(format);
    assert.equal(max - min + 1, 2 ** format.bits);
    for (let code = min; code <= max; code++) {
      assert.equal(encodeValue(format, decodeCode(format, code)), code);
    }
    // Quarter steps meet every value, every middle, and both sides of each; the ends reach beyond the range.
    for (let quarter = 4 * (min - 2); quarter <= 4 * (max + 2); quarter++) {
      const value = quarter / 4;
      const nearest = Number(nearestCode(rational(value)));
      const expected = Math.min(max, Math.max(min, nearest));
      assert.equal(encodeValue(format, value), expected, `${formatName(format)} of ${value}`);
    }
    assert.equal(encodeValue(format, Infinity), max);
    assert.equal(encodeValue(format, -Infinity), min);
    assert.equal(encodeValue(format, NaN), 0);
    assert(!Object.is(encodeValue(format, -0.25), -0));
  }
});

Deno.test("codes of a format fit its element", () => {
  const formats = [
    ...intFormats(),
    intFormat(12, true),
    intFormat(16, false),
    intFormat(32, true),
    minifloat(4, 3),
    nf4,
  ];
  for (const format of formats) {
    const data = allocate(codeElement(format), 1);
    const ends = format.kind === "int" ? Object.values(intRange(format)) : [0, 2 ** formatBits(format) - 1];
    for (const end of ends) {
      data[0] = end;
      assert.equal(data[0], end, formatName(format));
    }
  }
});

Deno.test("codebooks: every value encodes to its own code, others to the nearest", () => {
  nf4.values.forEach((value, code) => assert.equal(encodeValue(nf4, value), code));
  for (let index = 1; index < nf4.values.length; index++) {
    const [low, high] = [nf4.values[index - 1], nf4.values[index]];
    assert(low < high, "values ascend");
    assert.equal(encodeValue(nf4, low + 0.49 * (high - low)), index - 1);
    assert.equal(encodeValue(nf4, low + 0.51 * (high - low)), index);
  }
  assert.equal(encodeValue(nf4, 9), 15);
  assert.equal(encodeValue(nf4, -9), 0);
  assert.equal(formatBits(nf4), 4);
});

Deno.test("the largest magnitude of a format", () => {
  assert.equal(formatMax(intFormat(8, true)), 127);
  assert.equal(formatMax(intFormat(4, false)), 15);
  assert.equal(formatMax(minifloat(4, 3, "fn")), 448);
  assert.equal(formatMax(minifloat(2, 1)), 6);
  assert.equal(formatMax(nf4), 1);
});

Deno.test("names of formats parse back", () => {
  for (const format of [...intFormats(), intFormat(32, false), minifloat(5, 2, "ieee"), nf4]) {
    assert.deepEqual(parseFormat(formatName(format)), format);
  }
  for (const wrong of ["int0", "int33", "uint", "nf5", "", "int4x"]) assert.equal(parseFormat(wrong), undefined, wrong);
});
