import assert from "node:assert/strict";
import fc from "fast-check";
import {
  absoluteRational,
  compareRational,
  type Rational,
  rational,
  scaled,
  subtractRational,
} from "../../tests/support/rational.ts";
import {
  decodeMinifloat,
  e8m0,
  encodeMinifloat,
  minifloat,
  type MinifloatFormat,
  minifloatName,
  parseMinifloat,
  type SpecialValues,
} from "./minifloat.ts";

const policies: readonly SpecialValues[] = ["ieee", "fn", "fnuz", "none"];

/** Every eXmY of up to 8 bits, signed and not, with every policy, at the usual bias, none, and a shifted one. */
function* smallFormats(): Generator<MinifloatFormat> {
  for (const signed of [true, false]) {
    for (let exponentBits = 1; exponentBits <= 8; exponentBits++) {
      for (let mantissaBits = 0; mantissaBits + exponentBits + (signed ? 1 : 0) <= 8; mantissaBits++) {
        for (const specials of policies) {
          // Without a sign there is no code of negative zero to make NaN of; without a mantissa no NaN beside infinity.
          if (specials === "fnuz" && !signed) continue;
          const usual = minifloat(exponentBits, mantissaBits, specials).bias;
          for (const bias of [usual, 0, usual + 5]) {
            yield { kind: "minifloat", exponentBits, mantissaBits, bias, specials, signed };
          }
        }
      }
    }
  }
}

function codeCount(format: MinifloatFormat): number {
  return 2 ** ((format.signed ? 1 : 0) + format.exponentBits + format.mantissaBits);
}

type Exact = { readonly kind: "finite"; readonly value: Rational; readonly negative: boolean } | {
  readonly kind: "nan" | "infinity" | "negative infinity";
};

/** The meaning of a code straight from the definition, on its bits as a string. */
function exactValue(format: MinifloatFormat, code: number): Exact {
  const width = (format.signed ? 1 : 0) + format.exponentBits + format.mantissaBits;
  const bits = code.toString(2).padStart(width, "0");
  const negative = format.signed && bits[0] === "1";
  const fields = format.signed ? bits.slice(1) : bits;
  const exponentField = fields.slice(0, format.exponentBits);
  const mantissaField = fields.slice(format.exponentBits);
  const isTop = !exponentField.includes("0");
  const mantissa = mantissaField === "" ? 0n : BigInt(`0b${mantissaField}`);
  if (format.specials === "ieee" && isTop) {
    if (mantissa !== 0n) return { kind: "nan" };
    return { kind: negative ? "negative infinity" : "infinity" };
  }
  if (format.specials === "fn" && isTop && !mantissaField.includes("0")) return { kind: "nan" };
  if (format.specials === "fnuz" && negative && !fields.includes("1")) return { kind: "nan" };
  const exponent = parseInt(exponentField, 2);
  const hasSubnormals = format.signed || format.mantissaBits > 0;
  const significand = exponent === 0 && hasSubnormals ? mantissa : mantissa + (1n << BigInt(format.mantissaBits));
  const power = (exponent === 0 && hasSubnormals ? 1 : exponent) - format.bias - format.mantissaBits;
  return { kind: "finite", value: scaled(negative ? -significand : significand, power), negative };
}

/** Codes of finite values, by ascending value, one code per value. */
function finiteCodes(format: MinifloatFormat): { readonly code: number; readonly value: Rational }[] {
  const found = new Map<string, { code: number; value: Rational }>();
  for (let code = 0; code < codeCount(format); code++) {
    const exact = exactValue(format, code);
    if (exact.kind !== "finite") continue;
    const key = exact.value.numerator === 0n ? "0" : String(decodeMinifloat(format, code));
    if (!found.has(key)) found.set(key, { code, value: exact.value });
  }
  return [...found.values()].sort((a, b) => compareRational(a.value, b.value));
}

Deno.test("every code of every minifloat up to 8 bits decodes to its definition and encodes back", () => {
  let checked = 0;
  for (const format of smallFormats()) {
    for (let code = 0; code < codeCount(format); code++) {
      const exact = exactValue(format, code);
      const value = decodeMinifloat(format, code);
      const place = `${minifloatName(format)} code ${code}`;
      if (exact.kind === "nan") assert(Number.isNaN(value), place);
      else if (exact.kind !== "finite") assert.equal(value, exact.kind === "infinity" ? Infinity : -Infinity, place);
      else {
        assert.equal(compareRational(rational(value), exact.value), 0, place);
        assert.equal(Object.is(value, -0), exact.negative && exact.value.numerator === 0n, place);
        assert.equal(encodeMinifloat(format, value), code, place);
      }
      checked++;
    }
  }
  assert(checked > 50_000, `only ${checked} codes were checked`);
});

/** The code that rational arithmetic calls nearest, ties to the even code; saturating. */
function nearestByOracle(
  format: MinifloatFormat,
  codes: readonly { readonly code: number; readonly value: Rational }[],
  value: Rational,
): number {
  let low = 0;
  let high = codes.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (compareRational(codes[middle].value, value) <= 0) low = middle;
    else high = middle;
  }
  const order = compareRational(distance(codes[low].value, value), distance(codes[high].value, value));
  if (order !== 0) return codes[order < 0 ? low : high].code;
  // Of two codes of one sign, consecutive numbers, one is even; zero's is.
  return codes[magnitudeCode(format, codes[low].code) % 2 === 0 ? low : high].code;
}

function magnitudeCode(format: MinifloatFormat, code: number): number {
  return format.signed ? code % 2 ** (format.exponentBits + format.mantissaBits) : code;
}

function distance(a: Rational, b: Rational): Rational {
  return absoluteRational(subtractRational(a, b));
}

/** Doubles around the middle of every two neighbours, around every value, and beyond both ends. */
function* probes(codes: readonly { readonly value: Rational }[]): Generator<number> {
  const toDouble = ({ numerator, denominator }: Rational) => Number(numerator) / Number(denominator);
  const values = codes.map(({ value }) => toDouble(value));
  for (let index = 0; index < values.length; index++) {
    yield* around(values[index]);
    if (index > 0) yield* around((values[index - 1] + values[index]) / 2);
  }
  const largest = values[values.length - 1];
  yield* [2 * largest, -2 * largest, largest * (1 + 2 ** -9), 1e300, -1e300, 1e-300, -1e-300];
}

function* around(value: number): Generator<number> {
  yield value;
  yield value * (1 - 2 ** -50);
  yield value * (1 + 2 ** -50);
}

Deno.test("every minifloat up to 8 bits encodes to the nearest code, ties to the even one, saturating", () => {
  for (const format of smallFormats()) {
    // A bias is a scale: one per format is enough for the expensive comparison.
    if (format.bias !== minifloat(format.exponentBits, format.mantissaBits, format.specials).bias) continue;
    const codes = finiteCodes(format);
    if (codes.length === 0) continue;
    for (const probe of probes(codes)) {
      const expected = nearestByOracle(format, codes, rational(probe));
      const actual = encodeMinifloat(format, probe);
      const [a, b] = [decodeMinifloat(format, actual), decodeMinifloat(format, expected)];
      // Zero has two codes in signed formats; the oracle knows one of them.
      assert(a === b, `${minifloatName(format)} of ${probe}: code ${actual} (${a}), not ${expected} (${b})`);
    }
  }
});

Deno.test("encoding is monotone", () => {
  const formats = [...smallFormats()];
  fc.assert(
    fc.property(fc.constantFrom(...formats), fc.double({ noNaN: true }), fc.double({ noNaN: true }), (format, a, b) => {
      const [low, high] = a <= b ? [a, b] : [b, a];
      const decoded = [low, high].map((value) => decodeMinifloat(format, encodeMinifloat(format, value)));
      fc.pre(!Number.isNaN(decoded[0]) && !Number.isNaN(decoded[1]));
      assert(decoded[0] <= decoded[1], `${minifloatName(format)}: ${low} and ${high} give ${decoded}`);
    }),
  );
});

Deno.test("special values: NaN, infinities and negative zero by policy", () => {
  for (const format of smallFormats()) {
    const place = minifloatName(format);
    const codes = finiteCodes(format);
    const nan = encodeMinifloat(format, NaN);
    const hasNaN = Array.from({ length: codeCount(format) }, (_, code) => exactValue(format, code).kind === "nan");
    if (hasNaN.includes(true)) assert(Number.isNaN(decodeMinifloat(format, nan)), place);
    else assert.equal(nan, 0, place);
    if (codes.length === 0) continue;
    const [first, last] = [codes[0], codes[codes.length - 1]];
    assert.equal(
      compareRational(rational(decodeMinifloat(format, encodeMinifloat(format, Infinity))), last.value),
      0,
      place,
    );
    assert.equal(
      compareRational(rational(decodeMinifloat(format, encodeMinifloat(format, -Infinity))), first.value),
      0,
      place,
    );
    const zero = decodeMinifloat(format, encodeMinifloat(format, -0));
    if (format.signed) assert(zero === 0, place);
    assert.equal(Object.is(zero, -0), format.signed && format.specials !== "fnuz", place);
  }
});

Deno.test("values that the formats' own specifications list", () => {
  const e4m3 = minifloat(4, 3, "fn");
  assert.deepEqual([0x00, 0x01, 0x08, 0x38, 0x7e].map((code) => decodeMinifloat(e4m3, code)), [
    0,
    2 ** -9,
    2 ** -6,
    1,
    448,
  ]);
  assert(Number.isNaN(decodeMinifloat(e4m3, 0x7f)));
  const e5m2 = minifloat(5, 2, "ieee");
  assert.deepEqual([0x01, 0x3c, 0x7b, 0x7c].map((code) => decodeMinifloat(e5m2, code)), [2 ** -16, 1, 57344, Infinity]);
  const e4m3fnuz = minifloat(4, 3, "fnuz");
  assert.deepEqual([0x01, 0x40, 0x7f].map((code) => decodeMinifloat(e4m3fnuz, code)), [2 ** -10, 1, 240]);
  assert(Number.isNaN(decodeMinifloat(e4m3fnuz, 0x80)));
  const e2m1 = minifloat(2, 1);
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7].map((code) => decodeMinifloat(e2m1, code)), [0, 0.5, 1, 1.5, 2, 3, 4, 6]);
  assert.deepEqual([1, 0x1f].map((code) => decodeMinifloat(minifloat(2, 3), code)), [0.125, 7.5]);
  assert.deepEqual([1, 0x1f].map((code) => decodeMinifloat(minifloat(3, 2), code)), [0.0625, 28]);
  assert.deepEqual([0, 127, 254].map((code) => decodeMinifloat(e8m0, code)), [2 ** -127, 1, 2 ** 127]);
  assert(Number.isNaN(decodeMinifloat(e8m0, 255)));
});

Deno.test("names of minifloats parse back", () => {
  for (const format of smallFormats()) {
    const name = minifloatName(format);
    assert.deepEqual(parseMinifloat(name), format, name);
  }
  assert.equal(minifloatName(minifloat(4, 3, "fn")), "e4m3fn");
  assert.equal(minifloatName(e8m0), "ue8m0fn");
  for (const wrong of ["e0m3", "e4", "m3", "e4m3xx", "e9m9", "e4m3fn ", ""]) {
    assert.equal(parseMinifloat(wrong), undefined, wrong);
  }
});
