import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { codesOf, eachIndex, entriesOf, flatten } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import { minifloat } from "../../numeric/minifloat.ts";
import {
  decodeCode,
  int4,
  int8,
  intFormat,
  intRange,
  nf4,
  type NumberFormat,
  uint8,
} from "../../numeric/number_format.ts";
import { type QuantScheme, roundStep, type StepFormat, stepShape } from "../../numeric/scheme.ts";
import { floatTensor, plainTensor, type QuantizedTensor, sizeOf, type Tensor } from "../tensor.ts";
import { quantizedType, tensorType } from "../types.ts";

const integers = fc.constantFrom<NumberFormat & { kind: "int" }>(
  int8,
  uint8,
  int4,
  intFormat(2, true),
  intFormat(16, false),
);
const others = fc.constantFrom<NumberFormat>(minifloat(4, 3, "fn"), minifloat(2, 1), minifloat(3, 2), nf4);
const shapes = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 });
const blocks = fc.constantFrom<number | "all">("all", 1, 2, 3);

const common = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    block: fc.array(blocks, { minLength: shape.length, maxLength: shape.length }),
    zeroPoint: fc.boolean(),
    seed: fc.nat(),
    scale: fc.constantFrom(1, 1e-3, 1e3, 0),
  })
);

function stepAt(scheme: QuantScheme, shape: readonly number[], index: readonly number[]): number {
  const place = index.map((position, axis) => {
    const block = scheme.block[axis];
    return block === "all" ? 0 : Math.floor(position / block);
  });
  return flatten(place, stepShape(scheme, shape));
}

function quantized(tensor: Tensor): QuantizedTensor {
  return tensor.kind === "quantized" ? tensor : assert.fail("plain");
}

/** Half to even, by the digits: no arithmetic that rounds. */
function nearestEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return fraction < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

function clamp(value: number, { min, max }: { readonly min: number; readonly max: number }): number {
  return Math.min(max, Math.max(min, value));
}

Deno.test("static quantize: clamp(round(x / step) + zero), half to even, steps by block", () => {
  assertWithMutants(
    fc.tuple(common, integers),
    ["half up", "zero point dropped", "one step for all"],
    ([of, format], mutant) => {
      const { shape, block, zeroPoint, seed } = of;
      const scheme: QuantScheme = { format, block, step: "f32", zeroPoint, range: "static" };
      // Entries are small multiples of half a step, so that ties are frequent.
      const size = sizeOf(shape);
      const x = floatTensor(shape, Array.from({ length: size }, (_, index) => ((index * 31 + seed) % 41 - 20) / 2));
      const steps = stepShape(scheme, shape);
      const step = floatTensor(steps, Array.from({ length: sizeOf(steps) }, (_, index) => 2 ** (index % 3)));
      const zeros = Int32Array.from({ length: sizeOf(steps) }, (_, index) => clamp(index % 5, intRange(format)));
      const y = quantized(
        runOp("quantize", zeroPoint ? [x, step, plainTensor("i32", steps, zeros)] : [x, step], { scheme })[0],
      );
      for (const index of eachIndex(shape)) {
        const at = mutant === "one step for all" ? 0 : stepAt(scheme, shape, index);
        const quotient = x.data[flatten(index, shape)] / step.data[at];
        const rounded = mutant === "half up" ? Math.round(quotient) : nearestEven(quotient);
        const zero = zeroPoint && mutant !== "zero point dropped" ? zeros[at] : 0;
        assert.equal(codesOf(y)[flatten(index, shape)], clamp(rounded + zero, intRange(format)) + 0);
      }
    },
  );
});

Deno.test("dynamic quantize: steps and zero points from each block's extremes, in f32", () => {
  const stepFormats = fc.constantFrom<StepFormat>("f32", "f16", "bf16");
  const mutants = [
    "zero left out of the range",
    "symmetric always",
    "step not rounded",
    "divided by one more",
  ] as const;
  assertWithMutants(fc.tuple(common, integers, stepFormats), mutants, ([of, format, step], mutant) => {
    const { shape, block, zeroPoint, seed, scale } = of;
    const scheme: QuantScheme = { format, block, step, zeroPoint, range: "dynamic" };
    const x = randomTensor(tensorType("f32", shape), seed);
    const values = entriesOf(x).map((value) => Math.fround((value + 0.3) * scale));
    const y = quantized(runOp("quantize", [floatTensor(shape, values)], { scheme })[0]);
    const range = intRange(format);
    for (const index of eachIndex(shape)) {
      const at = stepAt(scheme, shape, index);
      const peers = [...eachIndex(shape)].filter((other) => stepAt(scheme, shape, other) === at)
        .map((other) => values[flatten(other, shape)]);
      const base = mutant === "zero left out of the range" ? [] : [0];
      const low = Math.min(...peers, ...base);
      const high = Math.max(...peers, ...base);
      const count = range.max - (zeroPoint ? range.min : 0) + (mutant === "divided by one more" ? 1 : 0);
      const span = zeroPoint && mutant !== "symmetric always" ? Math.fround(high - low) : Math.max(-low, high);
      const exact = Math.fround(span / count);
      const expected = (mutant === "step not rounded" ? exact : roundStep(step, exact)) || 1;
      assert.equal(y.steps.data[at], expected);
      const zero = zeroPoint ? clamp(nearestEven(Math.fround(range.min - Math.fround(low / expected))), range) : 0;
      if (zeroPoint) assert.equal(y.zeros?.data[at], zero + 0);
      const quotient = Math.fround(values[flatten(index, shape)] / expected);
      assert.equal(codesOf(y)[flatten(index, shape)], clamp(nearestEven(quotient) + zero, range) + 0);
    }
  }, 200);
});

Deno.test("dequantize of dynamic codes lies within half a step of the value", () => {
  assertWithMutants(fc.tuple(common, integers), ["a quarter step"], ([of, format], mutant) => {
    const { shape, block, zeroPoint, seed, scale } = of;
    fc.pre(format.signed || zeroPoint);
    const scheme: QuantScheme = { format, block, step: "f32", zeroPoint, range: "dynamic" };
    const values = entriesOf(randomTensor(tensorType("f32", shape), seed)).map((value) => Math.fround(value * scale));
    const y = quantized(runOp("quantize", [floatTensor(shape, values)], { scheme })[0]);
    const back = entriesOf(runOp("dequantize", [y], {})[0]);
    for (const index of eachIndex(shape)) {
      const step = y.steps.data[stepAt(scheme, shape, index)];
      const place = flatten(index, shape);
      // The zero point rounds once more than the code, so with one the ends may clamp by half a step.
      const half = (zeroPoint ? 1 : 0.5) * (mutant === "none" ? 1 : 0.5);
      // Quotient, difference and product are f32: three relative errors of 2^-24.
      const slack = 3 * 2 ** -24 * (Math.abs(values[place]) + 2 ** formatBits(format) * step);
      assert(Math.abs(back[place] - values[place]) <= half * step + slack, `${back[place]} for ${values[place]}`);
    }
  });
});

function formatBits(format: NumberFormat & { kind: "int" }): number {
  return format.bits;
}

Deno.test("minifloats and codebooks: the nearest code of x / step", () => {
  assertWithMutants(fc.tuple(common, others), ["second nearest"], ([of, format], mutant) => {
    const { shape, block, seed, scale } = of;
    const scheme: QuantScheme = { format, block, step: "f32", zeroPoint: false, range: "dynamic" };
    const values = entriesOf(randomTensor(tensorType("f32", shape), seed)).map((value) => Math.fround(value * scale));
    const y = quantized(runOp("quantize", [floatTensor(shape, values)], { scheme })[0]);
    const count = format.kind === "codebook" ? format.values.length : 256;
    const all = Array.from({ length: count }, (_, code) => decodeCode(format, code)).filter(Number.isFinite);
    for (const index of eachIndex(shape)) {
      const place = flatten(index, shape);
      const quotient = Math.fround(values[place] / y.steps.data[stepAt(scheme, shape, index)]);
      const distances = all.map((value) => Math.abs(value - quotient)).sort((a, b) => a - b);
      const actual = Math.abs(decodeCode(format, codesOf(y)[place]) - quotient);
      assert.equal(actual, distances[mutant === "none" ? 0 : 1]);
    }
  });
});

Deno.test("values that are no numbers take code 0, or the format's NaN; infinities saturate", () => {
  const x = floatTensor([4], [NaN, Infinity, -Infinity, 1]);
  const of = (format: NumberFormat, zeroPoint: boolean) => {
    const scheme: QuantScheme = { format, block: ["all"], step: "f32", zeroPoint, range: "static" };
    const zero = zeroPoint ? [plainTensor("i32", [], Int32Array.of(3))] : [];
    return codesOf(runOp("quantize", [x, floatTensor([], [0.5]), ...zero], { scheme })[0]);
  };
  assert.deepEqual(of(int8, false), [0, 127, -128, 2]);
  assert.deepEqual(of(uint8, true), [3, 255, 0, 5]);
  assert.deepEqual(of(minifloat(4, 3, "fn"), false), [0x7f, 0x7e, 0xfe, 0x40]);
});

Deno.test("dequantize: code less zero, times step, plus offset, each rounded to f32", () => {
  const cases = fc.tuple(common, fc.oneof(integers, others), fc.boolean());
  assertWithMutants(
    cases,
    ["offset first", "zero point dropped"],
    ([{ shape, block, seed, zeroPoint }, format, offset], mutant) => {
      const scheme: QuantScheme = {
        format,
        block,
        step: "f32",
        zeroPoint,
        range: "static",
        ...(offset ? { offset } : {}),
      };
      const x = quantized(randomTensor(quantizedType(scheme, shape), seed));
      fc.pre(!codesOf(x).some((code) => Number.isNaN(decodeCode(format, code))));
      const [y] = runOp("dequantize", [x], {});
      for (const index of eachIndex(shape)) {
        const at = stepAt(scheme, shape, index);
        const zero = mutant === "zero point dropped" ? 0 : x.zeros?.data[at] ?? 0;
        const term = x.offsets?.data[at] ?? 0;
        const value = Math.fround(decodeCode(format, codesOf(x)[flatten(index, shape)]) - zero);
        const expected = mutant === "offset first"
          ? Math.fround(Math.fround(value + term) * x.steps.data[at])
          : Math.fround(Math.fround(value * x.steps.data[at]) + term);
        assert(entriesOf(y)[flatten(index, shape)] === expected);
      }
    },
  );
});

Deno.test("dequantize to f16 rounds the f32 result", () => {
  const scheme: QuantScheme = { format: int8, block: ["all"], step: "f32", zeroPoint: false, range: "static" };
  const x = randomTensor(quantizedType(scheme, [9], "f16"), 4);
  const wide = randomTensor(quantizedType(scheme, [9]), 4);
  const [half] = runOp("dequantize", [x], {});
  assert.equal(half.element, "f16");
  assert.deepEqual(entriesOf(half), entriesOf(runOp("dequantize", [wide], {})[0]).map(Math.f16round));
});

Deno.test("fromCodes puts together what toCodes and toSteps take apart", () => {
  const scheme: QuantScheme = {
    format: int4,
    block: [1, 2],
    step: "f16",
    zeroPoint: true,
    offset: true,
    range: "static",
  };
  const x = quantized(randomTensor(quantizedType(scheme, [3, 5]), 2));
  assert(x.zeros !== undefined && x.offsets !== undefined);
  const [codes] = runOp("toCodes", [x], {});
  const [steps] = runOp("toSteps", [x], {});
  const [again] = runOp("fromCodes", [codes, steps, x.zeros, x.offsets], { scheme, element: "f32" });
  assert.deepEqual(again, x);
});
