import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeTensor } from "../../compiler/ir/evaluate/codes.ts";
import { floatTensor, type QuantizedTensor } from "../../compiler/ir/tensor.ts";
import { intFormat } from "../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../compiler/numeric/scheme.ts";
import { assertWithMutants } from "../../tests/support/mutants.ts";
import { normalArray } from "../../tests/support/random.ts";
import { encodeTensor } from "./encode_tensor.ts";
import { protectiveRange } from "./two_level.ts";

function twoLevel(bits: number, zeroPoint: boolean, block: number | "all"): QuantScheme {
  return {
    format: intFormat(bits, !zeroPoint),
    block: [1, block],
    step: "u8",
    zeroPoint,
    outer: { block: [1, "all"], step: "f16" },
    range: "static",
  };
}

/** Round to nearest as QServe's paper states it, for one block of integers in -reach..reach. */
function paperBlock(values: readonly number[]): { readonly codes: readonly number[]; step: number; zero: number } {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = Math.max(1, Math.round((high - low) / 15));
  const zero = Math.min(15, Math.max(0, Math.round(-low / step)));
  return { codes: values.map((value) => Math.min(15, Math.max(0, Math.round(value / step) + zero))), step, zero };
}

/** Two entries at once in a 16-bit lane, as kernels compute them: multiply the codes, then take the zero point's share away. */
function entriesInLane(codes: readonly [number, number], step: number, zero: number, mutant: string): number[] {
  const bytes = (lane: number) => [lane & 255, (lane >> 8) & 255];
  const signed = (byte: number) => (byte << 24) >> 24;
  const pair = (low: number, high: number) => (low & 255) | ((high & 255) << 8);
  if (mutant === "subtract before multiply") {
    return bytes(Math.imul(pair(codes[0] - zero, codes[1] - zero), step) & 0xffff).map(signed);
  }
  const products = bytes(Math.imul(pair(codes[0], codes[1]), step) & 0xffff);
  const share = mutant === "zero point not multiplied"
    ? zero
    : mutant === "zero point added"
    ? -zero * step
    : zero * step;
  return products.map((byte) => signed(byte - share));
}

Deno.test("entries of two-level codes come out of byte arithmetic exactly, in the protective range", () => {
  // The upper end of the range is over-represented: there the bytes are full.
  const unit = fc.oneof(fc.constant(1), fc.integer({ min: -1000, max: 1000 }).map((thousandths) => thousandths / 1000));
  const blocks = fc.array(unit, { minLength: 2, maxLength: 6 }).map((values) => values.slice(0, values.length & ~1));
  const mutants = [
    "range of 127",
    "subtract before multiply",
    "zero point not multiplied",
    "zero point added",
  ] as const;
  assertWithMutants(blocks, mutants, (values, mutant) => {
    const reach = mutant === "range of 127" ? 127 : protectiveRange;
    const { codes, step, zero } = paperBlock(values.map((value) => Math.round(value * reach)));
    for (let index = 0; index < codes.length; index += 2) {
      const pair = [codes[index], codes[index + 1]] as const;
      const wanted = pair.map((code) => (code - zero) * step);
      assert.deepEqual(entriesInLane(pair, step, zero, mutant), wanted);
    }
  }, 400);
});

/** (code - zero) * step of every entry. */
function entriesOf({ codes, steps, zeros, shape, scheme }: QuantizedTensor): number[] {
  const [, columns] = shape;
  const block = scheme.block[1] === "all" ? columns : scheme.block[1];
  return Array.from(codes.data, Number).map((code, index) => {
    const place = Math.floor(index / columns) * Math.ceil(columns / block) + Math.floor((index % columns) / block);
    return (code - (zeros?.data[place] ?? 0)) * steps.data[place];
  });
}

Deno.test("encoded two-level weights have integer steps, entries of 8 bits, and the error of their grid", () => {
  for (const bits of [2, 3, 4, 5, 6]) {
    for (const zeroPoint of [false, true]) {
      for (const block of [16, 24, "all"] as const) {
        for (const spread of [1e-6, 1, 300]) {
          const real = floatTensor([6, 80], normalArray(480, bits).map((value) => spread * value ** 3));
          const clip = block === 16 ? "search" as const : "none" as const;
          const encoded = encodeTensor(real, { scheme: twoLevel(bits, zeroPoint, block), clip });
          assert.ok(encoded.steps.data.every((step) => Number.isInteger(step) && step >= 1 && step <= 255));
          assert.ok(entriesOf(encoded).every((entry) => entry >= -128 && entry <= 127));
          if (clip === "search") continue;
          const outer = encoded.outerSteps?.data ?? [];
          const decoded = decodeTensor(encoded);
          entriesOf(encoded).forEach((_, index) => {
            const row = Math.floor(index / 80);
            // Integer steps round the range by half a step an end, f16 outer steps the row by 2^-11; nothing else clips.
            const width = block === "all" ? 80 : block;
            const place = row * Math.ceil(80 / width) + Math.floor((index % 80) / width);
            const top = 2 ** bits;
            const bound = encoded.steps.data[place] * outer[row] * (0.5 + top / 2) +
              2 ** -9 * Math.abs(real.data[index]);
            assert.ok(Math.abs(decoded[index] - real.data[index]) <= bound);
          });
        }
      }
    }
  }
});

Deno.test("weights that are two-level numbers come back as they are", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 32, maxLength: 32 }), (codes) => {
    // A block from 0 to 15 steps of 8 under a row whose largest entry is 119 outer steps of 1/4.
    const block = [...codes.slice(2, 16), 0, 15].map((code) => (code - 7) * 8);
    const other = [...codes.slice(17, 32), 0].map((code) => code - 8);
    other[0] = protectiveRange;
    const real = floatTensor([1, 32], [...block, ...other].map((value) => value / 4));
    const encoded = encodeTensor(real, { scheme: twoLevel(4, true, 16), clip: "none" });
    assert.equal(encoded.outerSteps?.data[0], 0.25);
    assert.deepEqual(Array.from(decodeTensor(encoded).slice(0, 16)), Array.from(real.data.slice(0, 16)));
  }));
});
