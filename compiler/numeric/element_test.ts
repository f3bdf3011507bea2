import assert from "node:assert/strict";
import fc from "fast-check";
import {
  allocate,
  bytesOf,
  decodeBf16,
  elementBytes,
  elementTypes,
  encodeBf16,
  fromBytes,
  integerRange,
  isElementType,
  isFloat,
  isSigned,
  isWide,
  roundHalfEven,
} from "./element.ts";
import { compareRational, nearestCode, rational } from "../../tests/support/rational.ts";

Deno.test("every bfloat16 survives decode and encode", () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = decodeBf16(bits);
    const again = encodeBf16(value);
    if (Number.isNaN(value)) assert(Number.isNaN(decodeBf16(again)), `NaN ${bits.toString(16)}`);
    else assert.equal(again, bits);
  }
});

Deno.test("bfloat16 of a point between two neighbours is the nearer one, and the even one at the middle", () => {
  const scratch = new DataView(new ArrayBuffer(8));
  const step = (value: number, direction: -1n | 1n) => {
    scratch.setFloat64(0, value);
    scratch.setBigInt64(0, scratch.getBigInt64(0) + direction);
    return scratch.getFloat64(0);
  };
  // Magnitudes from the least subnormal to the largest finite one; the middle of two neighbours is an exact double.
  for (let bits = 0; bits < 0x7f7f; bits++) {
    const [low, high] = [decodeBf16(bits), decodeBf16(bits + 1)];
    const middle = (low + high) / 2;
    const even = bits % 2 === 0 ? bits : bits + 1;
    assert.equal(encodeBf16(middle), even, `middle above ${bits.toString(16)}`);
    assert.equal(encodeBf16(step(middle, -1n)), bits, `below the middle above ${bits.toString(16)}`);
    assert.equal(encodeBf16(step(middle, 1n)), bits + 1, `above the middle above ${bits.toString(16)}`);
    assert.equal(encodeBf16(-middle), even + 0x8000);
  }
});

Deno.test("bfloat16 overflows to infinity from half a unit above the largest finite value", () => {
  const largest = decodeBf16(0x7f7f);
  const unit = largest - decodeBf16(0x7f7e);
  assert.equal(encodeBf16(largest + unit / 2), 0x7f80);
  assert.equal(encodeBf16((largest + unit / 2) * (1 - 2 ** -53)), 0x7f7f);
  assert.equal(encodeBf16(-Infinity), 0xff80);
  assert.equal(encodeBf16(Number.MAX_VALUE), 0x7f80);
  assert.equal(encodeBf16(-0), 0x8000);
});

Deno.test("half-to-even rounding agrees with exact arithmetic", () => {
  const whole = (value: number) => nearestCode(rational(value));
  fc.assert(fc.property(fc.double({ min: -1e6, max: 1e6, noNaN: true }), (value) => {
    assert.equal(BigInt(roundHalfEven(value)), whole(value));
  }));
  for (let twice = -2001; twice <= 2001; twice++) {
    assert.equal(BigInt(roundHalfEven(twice / 2)), whole(twice / 2), String(twice / 2));
  }
  for (
    const value of [0.5 - 2 ** -54, 0.5 + 2 ** -53, 2 ** 52 + 1, 2 ** 53 + 2, -(2 ** 52) + 0.5, 4503599627370495.5]
  ) {
    assert.equal(BigInt(roundHalfEven(value)), whole(value), String(value));
  }
  assert(Number.isNaN(roundHalfEven(NaN)));
  assert.equal(roundHalfEven(Infinity), Infinity);
  assert.equal(roundHalfEven(-Infinity), -Infinity);
  assert(Object.is(roundHalfEven(-0), -0));
  assert(Object.is(roundHalfEven(-0.3), -0));
  assert(Object.is(roundHalfEven(-0.5), -0));
});

Deno.test("elements: widths, ranges, storage and bytes agree", () => {
  for (const element of elementTypes) {
    const data = allocate(element, 3);
    assert.equal(data.BYTES_PER_ELEMENT, elementBytes(element), element);
    assert.equal(isWide(element), typeof data[0] === "bigint", element);
    assert.deepEqual(fromBytes(element, bytesOf(data)), data, element);
    assert(isElementType(element));
    if (isFloat(element)) continue;
    const { min, max } = integerRange(element);
    assert.equal(min < 0n, isSigned(element), element);
    assert.equal(max - min + 1n, element === "bool" ? 2n : 1n << BigInt(8 * elementBytes(element)), element);
  }
  assert(!isElementType("f8"));
});

Deno.test("the rational oracle tells apart what doubles cannot", () => {
  const big = rational(2 ** 53);
  assert.equal(compareRational(big, { numerator: big.numerator + 1n, denominator: 1n }), -1);
  assert.equal(nearestCode({ numerator: 5n, denominator: 2n }), 2n);
  assert.equal(nearestCode({ numerator: 7n, denominator: 2n }), 4n);
  assert.equal(nearestCode({ numerator: -5n, denominator: 2n }), -2n);
  assert.equal(nearestCode({ numerator: -51n, denominator: 20n }), -3n);
});
