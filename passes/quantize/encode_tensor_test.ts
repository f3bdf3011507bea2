import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../tests/support/mutants.ts";
import { normalArray } from "../../tests/support/random.ts";
import { intFormat, nf4, type NumberFormat, parseFormat } from "../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../compiler/numeric/scheme.ts";
import { floatTensor, type PlainTensor, type QuantizedTensor } from "../../compiler/ir/tensor.ts";
import { decodeTensor } from "../../compiler/reference/held.ts";
import { encodeTensor } from "./encode_tensor.ts";

const shape = [5, 11];

function scheme(format: NumberFormat, zeroPoint: boolean, block: QuantScheme["block"]): QuantScheme {
  return { format, block, step: "f32", zeroPoint, range: "static" };
}

function weights(seed: number): PlainTensor<"f32"> {
  return floatTensor(shape, normalArray(55, seed));
}

function squaredError(a: PlainTensor<"f32">, b: QuantizedTensor): number {
  const decoded = decodeTensor(b).data;
  return a.data.reduce((sum, value, index) => sum + (value - decoded[index]) ** 2, 0);
}

const blocks: readonly QuantScheme["block"][] = [["all", "all"], [1, "all"], [1, 4], [2, 3]];

const plans = fc.record({
  bits: fc.integer({ min: 2, max: 8 }),
  zeroPoint: fc.boolean(),
  block: fc.constantFrom(...blocks),
  seed: fc.integer({ min: 1, max: 10000 }),
});

/** The step of each entry, by the definition of blocks. */
function stepOf(tensor: QuantizedTensor, row: number, column: number): number {
  const [rowBlock, columnBlock] = tensor.scheme.block;
  const place = (index: number, block: number | "all") => (block === "all" ? 0 : Math.floor(index / block));
  return tensor.steps.data[place(row, rowBlock) * tensor.steps.shape[1] + place(column, columnBlock)];
}

Deno.test("round to nearest leaves at most half a step, in every block, up to the last short one", () => {
  assertWithMutants(plans, ["codes cut off", "steps of another block"], ({ bits, zeroPoint, block, seed }, mutant) => {
    const format = intFormat(bits, !zeroPoint);
    const real = weights(seed);
    const encoded = encodeTensor(real, { scheme: scheme(format, zeroPoint, block), clip: "none" });
    const faulty = mutant === "codes cut off"
      ? encodeTensor({ ...real, data: real.data.map((value) => 0.7 * value) }, { scheme: encoded.scheme, clip: "none" })
      : encoded;
    const decoded = decodeTensor(faulty).data;
    for (let row = 0; row < shape[0]; row++) {
      for (let column = 0; column < shape[1]; column++) {
        const index = row * shape[1] + column;
        const step = mutant === "steps of another block"
          ? stepOf(encoded, shape[0] - 1 - row, shape[1] - 1 - column) / 4
          : stepOf(encoded, row, column);
        // A zero point moves the range by up to half a step, so that an end may lie a whole step away.
        const reach = (zeroPoint ? 1 : 0.5) * step * (1 + 2 ** -20);
        assert.ok(Math.abs(decoded[index] - real.data[index]) <= reach);
      }
    }
  });
});

Deno.test("a search never has more squared error than the whole range", () => {
  fc.assert(fc.property(plans, ({ bits, zeroPoint, block, seed }) => {
    const target = scheme(intFormat(bits, !zeroPoint), zeroPoint, block);
    const real = weights(seed);
    const whole = squaredError(real, encodeTensor(real, { scheme: target, clip: "none" }));
    const searched = squaredError(real, encodeTensor(real, { scheme: target, clip: "search" }));
    assert.ok(searched <= whole * (1 + 2 ** -20));
  }));
});

Deno.test("a search finds the best step of a normal distribution, known for every width", () => {
  // Steps that minimize the squared error of N(0,1) on -2^(b-1)..2^(b-1)-1.
  const known: readonly (readonly [bits: number, step: number])[] = [
    [2, 1.048],
    [3, 0.602],
    [4, 0.3385],
    [5, 0.1888],
    [6, 0.1042],
    [8, 0.0308],
  ];
  const real = floatTensor([1, 100_000], normalArray(100_000, 5));
  const errorAt = (step: number, bits: number) =>
    real.data.reduce((sum, value) => {
      const code = Math.max(-(2 ** (bits - 1)), Math.min(2 ** (bits - 1) - 1, Math.round(value / step)));
      return sum + (value - code * step) ** 2;
    }, 0);
  for (const [bits, step] of known) {
    const encoded = encodeTensor(real, { scheme: scheme(intFormat(bits, true), false, [1, "all"]), clip: "search" });
    // The search walks in steps of 2% of the range; the error is flat about its minimum.
    assert.ok(Math.abs(encoded.steps.data[0] / step - 1) < 0.05, `${bits} bits: step ${encoded.steps.data[0]}`);
    const best = Array.from({ length: 21 }, (_, index) => errorAt(step * (0.9 + index * 0.01), bits))
      .reduce((a, b) => Math.min(a, b));
    assert.ok(squaredError(real, encoded) < 1.005 * best, `${bits} bits`);
  }
});

Deno.test("zeros, constants and tiny weights encode to finite steps that are above zero", () => {
  for (const value of [0, 3, -3, 1e-42, 1e-30]) {
    for (const zeroPoint of [false, true]) {
      for (const step of ["f32", "f16"] as const) {
        const target: QuantScheme = { ...scheme(intFormat(4, !zeroPoint), zeroPoint, [1, 4]), step };
        const encoded = encodeTensor(floatTensor([1, 8], new Array(8).fill(value)), { scheme: target, clip: "search" });
        assert.ok(encoded.steps.data.every((entry) => entry > 0 && Number.isFinite(entry)));
        if (value === 0) assert.deepEqual([...decodeTensor(encoded).data], new Array(8).fill(0));
      }
    }
  }
});

Deno.test("steps are held in their storage format", () => {
  const target: QuantScheme = { ...scheme(intFormat(4, true), false, [1, 4]), step: "f16" };
  const { steps } = encodeTensor(weights(1), { scheme: target, clip: "search" });
  for (const step of steps.data) assert.equal(Math.f16round(step), step);
});

Deno.test("minifloats and codebooks encode to the nearest code of the scaled weight", () => {
  for (const format of [parseFormat("e2m1"), parseFormat("e4m3fn"), nf4]) {
    assert.ok(format !== undefined);
    const real = weights(7);
    const encoded = encodeTensor(real, { scheme: scheme(format, false, [1, "all"]), clip: "none" });
    const error = squaredError(real, encoded);
    const energy = real.data.reduce((sum, value) => sum + value * value, 0);
    // The coarsest of these, E2M1, has a largest relative gap of 1/3 above half its smallest normal.
    assert.ok(error < energy * (1 / 6) ** 2, `${error} of ${energy}`);
  }
});

Deno.test("the floor rule of OCP MX: the block's exponent less that of the format's largest power of two", () => {
  const values = fc.record({ exponent: fc.integer({ min: -30, max: 30 }), fraction: fc.nat(2 ** 23 - 1) });
  assertWithMutants(values, ["rounded", "emax of the largest value"], ({ exponent, fraction }, mutant) => {
    // The largest entry of the block, exact in float32; fraction 2^23 - 1 is the float just below the next power of two.
    const largest = (1 + fraction / 2 ** 23) * 2 ** exponent;
    const format = parseFormat("e2m1");
    assert.ok(format !== undefined);
    const encoded = encodeTensor(floatTensor([1, 4], [largest / 3, -largest, 0, largest / 2]), {
      scheme: { ...scheme(format, false, [1, 4]), step: "e8m0" },
      clip: "none",
      stepRule: mutant === "rounded" ? "rounded" : "floor",
    });
    assert.equal(encoded.steps.data[0], 2 ** exponent / (mutant === "emax of the largest value" ? 6 : 4));
  });
});
