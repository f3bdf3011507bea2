import assert from "node:assert/strict";
import fc from "fast-check";
import { float32Encoder } from "./float32_encoder.ts";
import { encodeMinifloat, minifloat, type SpecialValues } from "./minifloat.ts";
import { encodeValue, formatName, type NumberFormat, parseFormat } from "./number_format.ts";

function* minifloats(): Generator<NumberFormat> {
  for (let exponentBits = 1; exponentBits <= 7; exponentBits++) {
    for (let mantissaBits = 0; exponentBits + mantissaBits <= 7; mantissaBits++) {
      const isByte = exponentBits + mantissaBits === 7;
      const policies: readonly SpecialValues[] = isByte ? ["ieee", "fn", "fnuz", "none"] : ["none"];
      for (const specials of policies) yield minifloat(exponentBits, mantissaBits, specials);
    }
  }
}

const formats = [...minifloats(), ...["ue8m0fn", "nf4", "int4", "uint8"].flatMap((name) => parseFormat(name) ?? [])];

function float32(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0];
}

Deno.test("the table encoder gives encodeValue's code for every float32", () => {
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  for (const format of formats) {
    const encode = float32Encoder(format);
    // Encoding is monotone: what holds at both ends of the values that share their upper 16 bits holds between them.
    for (let upper = 0; upper < 2 ** 15; upper++) {
      for (const lower of [0, 1, 0xffff]) {
        for (const sign of upper % 16 === 0 ? [0, 1] : [0]) {
          bits[0] = sign * 2 ** 31 + upper * 2 ** 16 + lower;
          if (encode(value[0]) === encodeValue(format, value[0])) continue;
          assert.fail(`${formatName(format)} of ${value[0]}: ${encode(value[0])}`);
        }
      }
    }
  }
});

Deno.test("the table encoder agrees on random bits, and a table of edges alone would not", () => {
  const patterns = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  fc.assert(
    fc.property(fc.constantFrom(...formats), patterns, (format, pattern) => {
      assert.equal(float32Encoder(format)(float32(pattern)), encodeValue(format, float32(pattern)));
    }),
    { numRuns: 3000 },
  );
  // The middle of 1 and 1.125 is a tie, which goes to 1; what lies above it shares its upper 16 bits and does not.
  const e4m3 = minifloat(4, 3, "fn");
  const [tie, above] = [float32(0x3f880000), float32(0x3f880001)];
  assert.equal(tie, 1.0625);
  assert.notEqual(encodeMinifloat(e4m3, tie), encodeMinifloat(e4m3, above));
  assert.equal(float32Encoder(e4m3)(above), encodeMinifloat(e4m3, above));
});
