import assert from "node:assert/strict";
import fc from "fast-check";
import { minifloat } from "./minifloat.ts";
import { int4, int8, nf4, parseFormat, uint4, uint8 } from "./number_format.ts";
import {
  outerScheme,
  parseScheme,
  perAxis,
  perBlock,
  perTensor,
  perToken,
  printScheme,
  type QuantScheme,
  roundStep,
  schemeFault,
  stepDivisor,
  type StepFormat,
  stepShape,
} from "./scheme.ts";

const base: QuantScheme = { format: int8, block: perTensor(2), step: "f32", zeroPoint: false, range: "static" };

const schemes: readonly QuantScheme[] = [
  base,
  { ...base, format: uint8, zeroPoint: true, range: "dynamic", block: perToken(3) },
  { ...base, format: int4, block: perBlock(2, 1, 32), step: "f16", offset: true },
  { ...base, format: minifloat(2, 1), block: perBlock(2, 1, 16), step: "e4m3fn" },
  { ...base, format: minifloat(4, 3, "fnuz"), block: perAxis(4, 0), step: "e8m0" },
  { ...base, format: { ...minifloat(4, 3), bias: -3 }, block: [], step: "bf16" },
  { ...base, format: nf4, block: [1, 64], zeroPoint: true },
  {
    ...base,
    format: uint4,
    block: [1, 128],
    step: "u8",
    zeroPoint: true,
    outer: { block: [1, "all"], step: "f16" },
  },
];

Deno.test("schemes print and parse back", () => {
  for (const scheme of schemes) assert.deepEqual(parseScheme(printScheme(scheme)), scheme, printScheme(scheme));
  assert.equal(printScheme(schemes[1]), "q<uint8, block[1,1,*], f32, zero, dynamic>");
  assert.equal(printScheme(schemes[7]), "q<uint4, block[1,128], u8, zero, outer[1,*] f16>");
});

Deno.test("texts that are no scheme are refused", () => {
  for (
    const wrong of [
      "",
      "q<>",
      "q<int8>",
      "q<int8, block[0], f32>",
      "q<int8, block[1.5], f32>",
      "q<int9x, block[*], f32>",
      "q<int8, block[*], f64>",
      "q<int8, block[*], f32, dynamic, zero>",
      "q<int8, block[,], f32>",
      "q<int8, block[1,8], u8, outer[1,*]>",
      "q<int8, block[1,8], u8, outer[1,0] f32>",
      "q<int8, block[1,8], u8, outer[1,*] f64>",
    ]
  ) assert.equal(parseScheme(wrong), undefined, wrong);
});

Deno.test("blocks of two levels nest, and stand beside neither offsets nor dynamic steps", () => {
  const scheme: QuantScheme = { ...base, block: [1, 16], step: "u8", outer: { block: [1, 32], step: "f32" } };
  assert.equal(schemeFault(scheme, 2), undefined);
  assert.deepEqual(stepShape(outerScheme(scheme), [3, 70]), [3, 3]);
  const wrong: readonly QuantScheme[] = [
    { ...scheme, block: [1, 12] },
    { ...scheme, block: ["all", 16] },
    { ...scheme, outer: { block: [1], step: "f32" } },
    { ...scheme, offset: true },
    { ...scheme, range: "dynamic" },
    { ...scheme, block: [1] },
  ];
  for (const one of wrong) assert.notEqual(schemeFault(one, 2), undefined, printScheme(one));
});

Deno.test("steps: one per block, the last block may be short", () => {
  assert.deepEqual(stepShape({ ...base, block: [1, 32] }, [3, 70]), [3, 3]);
  assert.deepEqual(stepShape(base, [3, 70]), [1, 1]);
  assert.deepEqual(stepShape({ ...base, block: ["all", 1] }, [3, 70]), [1, 70]);
  assert.deepEqual(stepShape({ ...base, block: [] }, []), []);
});

Deno.test("steps are rounded to their format", () => {
  const cases: readonly (readonly [StepFormat, number, number])[] = [
    ["u8", 2.5, 2],
    ["u8", 300, 255],
    ["u8", 0.4, 0],
    ["f32", 0.1, Math.fround(0.1)],
    ["f16", 0.1, Math.f16round(0.1)],
    ["bf16", 1 + 2 ** -8, 1],
    ["bf16", 1 + 3 * 2 ** -8, 1 + 2 ** -6],
    ["e8m0", 3.1, 4],
    ["e8m0", 2.9, 2],
    ["e4m3fn", 0.3, 0.3125],
    ["e4m3fn", 1e9, 448],
    ["f16", 1e-9, 0],
  ];
  for (const [format, step, expected] of cases) assert.equal(roundStep(format, step), expected, `${format} ${step}`);
});

Deno.test("power-of-two steps follow the rounded rule of OCP MX, for every element format", () => {
  const formats = ["e2m1", "e2m3", "e3m2", "e4m3fn", "e5m2ieee", "int8", "int4"];
  // emax and mantissa bits by the MX specification; integers as 1.(bits - 2) significands.
  const facts: Record<string, readonly [emax: number, mantissaBits: number]> = {
    e2m1: [2, 1],
    e2m3: [2, 3],
    e3m2: [4, 2],
    e4m3fn: [8, 3],
    e5m2ieee: [15, 2],
    int8: [6, 6],
    int4: [2, 2],
  };
  fc.assert(fc.property(
    fc.constantFrom(...formats),
    fc.integer({ min: -20, max: 20 }),
    fc.integer({ min: 1, max: 2 ** 12 - 1 }),
    (name, exponent, fraction) => {
      const format = parseFormat(name);
      assert.ok(format !== undefined);
      const [emax, mantissaBits] = facts[name];
      const largest = (1 + fraction / 2 ** 12) * 2 ** exponent;
      // Adding half a unit of the mantissa carries into the exponent exactly when rounding to the mantissa does.
      const limit = 2 ** (exponent + 1) - 2 ** (exponent - mantissaBits - 1);
      // At the limit itself the quotient's rounding decides.
      if (largest === limit) return;
      const wanted = 2 ** ((largest > limit ? exponent + 1 : exponent) - emax);
      assert.equal(roundStep("e8m0", Math.fround(largest / stepDivisor(format, "e8m0"))), wanted);
    },
  ));
});
