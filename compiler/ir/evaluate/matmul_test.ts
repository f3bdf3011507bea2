import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import {
  codesOf,
  eachIndex,
  entriesOf,
  entryAt,
  flatten,
  plainOf,
  sumBound,
} from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import type { ElementType } from "../../numeric/element.ts";
import { decodeCode, int4, int8, intFormat, type NumberFormat, uint8 } from "../../numeric/number_format.ts";
import { minifloat } from "../../numeric/minifloat.ts";
import { type QuantScheme, stepShape } from "../../numeric/scheme.ts";
import type { ContractionResult } from "../node.ts";
import { floatTensor, plainTensor, type QuantizedTensor, type Tensor } from "../tensor.ts";
import { quantizedType, tensorType } from "../types.ts";

const extent = fc.integer({ min: 1, max: 9 });

const floatCases = fc.record({
  batch: fc.constantFrom<[number[], number[], number[]]>(
    [[], [], []],
    [[2], [2], [2]],
    [[3], [], [3]],
    [[], [2], [2]],
    [[2, 1], [3], [2, 3]],
    [[1, 2], [3, 1], [3, 2]],
  ),
  rows: extent,
  columns: fc.integer({ min: 1, max: 40 }),
  depth: fc.oneof(extent, fc.constantFrom(0, 33, 70)),
  transposeB: fc.boolean(),
  hasBias: fc.boolean(),
  seed: fc.nat(),
});

Deno.test("matmul of floats is the sum of products over broadcast batches", () => {
  assertWithMutants(
    floatCases,
    ["other transposition", "bias dropped", "last product dropped", "batch not broadcast"],
    ({ batch: [aBatch, bBatch, batch], rows, columns, depth, transposeB, hasBias, seed }, mutant) => {
      const a = randomTensor(tensorType("f32", [...aBatch, rows, depth]), seed);
      const b = randomTensor(
        tensorType("f32", [...bBatch, ...(transposeB ? [columns, depth] : [depth, columns])]),
        seed + 1,
      );
      const bias = randomTensor(tensorType("f32", [columns]), seed + 2);
      const [y] = runOp("matmul", hasBias ? [a, b, bias] : [a, b], { transposeB, hasBias, result: { kind: "real" } });
      assert.deepEqual(y.shape, [...batch, rows, columns]);
      for (const index of eachIndex(y.shape)) {
        const lead = index.slice(0, -2);
        const [row, column] = index.slice(-2);
        let sum = hasBias && mutant !== "bias dropped" ? entryAt(bias, [column]) : 0;
        let magnitude = Math.abs(sum);
        for (let k = 0; k < depth - (mutant === "last product dropped" ? 1 : 0); k++) {
          const isSwapped = mutant === "other transposition" && columns === depth;
          const right = transposeB !== isSwapped ? [column, k] : [k, column];
          const leftLead = mutant === "batch not broadcast" ? lead.map(() => 0) : lead;
          const product = entryAt(a, [...leftLead, row, k]) * entryAt(b, [...lead, ...right]);
          sum += product;
          magnitude += Math.abs(product);
        }
        const bound = sumBound(sum, magnitude, depth + 1);
        assert(Math.abs(entryAt(y, index) - sum) <= bound, `at ${index}: ${entryAt(y, index)}, not ${sum}`);
      }
    },
    300,
  );
});

Deno.test("matmul of f16, bf16 and f64 rounds the sum once", () => {
  for (const [element, unit] of [["f16", 2 ** -11], ["bf16", 2 ** -8], ["f64", 2 ** -50]] as const) {
    const a = randomTensor(tensorType(element, [3, 20]), 1);
    const b = randomTensor(tensorType(element, [20, 5]), 2);
    const [y] = runOp("matmul", [a, b], { transposeB: false, hasBias: false, result: { kind: "real" } });
    assert.equal(y.element, element);
    for (const [row, column] of eachIndex([3, 5])) {
      let sum = 0;
      for (let k = 0; k < 20; k++) sum += entryAt(a, [row, k]) * entryAt(b, [k, column]);
      assert(Math.abs(entryAt(y, [row, column]) - sum) <= unit * Math.abs(sum) + 20 * 2 ** -52, element);
    }
  }
});

Deno.test("matmul of integers is exact, wrapping at the element's width", () => {
  const cases = fc.record({
    element: fc.constantFrom<"i32" | "i64">("i32", "i64"),
    a: fc.array(fc.bigInt({ min: -(2n ** 31n), max: 2n ** 31n - 1n }), { minLength: 6, maxLength: 6 }),
    b: fc.array(fc.bigInt({ min: -(2n ** 31n), max: 2n ** 31n - 1n }), { minLength: 6, maxLength: 6 }),
    shift: fc.constantFrom(0n, 20n),
  });
  fc.assert(fc.property(cases, ({ element, a, b, shift }) => {
    const tensor = (values: readonly bigint[], shape: readonly number[]): Tensor =>
      element === "i64"
        ? plainTensor("i64", shape, BigInt64Array.from(values, (value) => value << shift))
        : plainTensor("i32", shape, Int32Array.from(values, (value) => Number(value >> shift)));
    const [x, y] = [tensor(a, [2, 3]), tensor(b, [3, 2])];
    const [z] = runOp("matmul", [x, y], { transposeB: false, hasBias: false, result: { kind: "real" } });
    const big = (operand: Tensor) => Array.from(plainOf(operand).data, (value: number | bigint) => BigInt(value));
    const [p, q] = [big(x), big(y)];
    for (const [row, column] of eachIndex([2, 2])) {
      let sum = 0n;
      for (let k = 0; k < 3; k++) sum += p[row * 3 + k] * q[k * 2 + column];
      assert.equal(big(z)[row * 2 + column], BigInt.asIntN(element === "i64" ? 64 : 32, sum));
    }
  }));
});

const formats = fc.constantFrom<NumberFormat>(
  int8,
  uint8,
  int4,
  intFormat(2, true),
  intFormat(16, true),
  intFormat(3, false),
);

/** Schemes of a [rows, 12] operand: steps per tensor, per row, or per block of the depth. */
function schemes(batchAxes: number): fc.Arbitrary<QuantScheme> {
  return fc.record({
    format: formats,
    block: fc.constantFrom<(number | "all")[]>(["all", "all"], [1, "all"], [1, 4], [1, 5], [2, 6], ["all", 3]),
    step: fc.constant("f32" as const),
    zeroPoint: fc.boolean(),
    range: fc.constant("static" as const),
  }).map((scheme) => ({ ...scheme, block: [...new Array<1>(batchAxes).fill(1), ...scheme.block] }));
}

/** Step index of an entry. */
function stepAt(tensor: QuantizedTensor, index: readonly number[]): number {
  const blocks = index.map((position, axis) => {
    const block = tensor.scheme.block[axis];
    return block === "all" ? 0 : Math.floor(position / block);
  });
  return flatten(blocks, stepShape(tensor.scheme, tensor.shape));
}

function centred(tensor: QuantizedTensor, index: readonly number[]): bigint {
  const code = BigInt(codesOf(tensor)[flatten(index, tensor.shape)]);
  return code - BigInt(tensor.zeros === undefined ? 0 : tensor.zeros.data[stepAt(tensor, index)]);
}

function quantized(tensor: Tensor): QuantizedTensor {
  return tensor.kind === "quantized" ? tensor : assert.fail("plain");
}

const quantizedCases = fc.record({
  a: schemes(1),
  b: schemes(0),
  rows: fc.integer({ min: 1, max: 4 }),
  columns: fc.integer({ min: 1, max: 6 }),
  seed: fc.nat(),
  withOffset: fc.boolean(),
});

Deno.test("real results of quantized operands: integer sums per block, f32 steps in ascending order, then bias", () => {
  assertWithMutants(
    quantizedCases,
    ["zero point of a dropped", "one block for all", "steps multiplied last", "offset dropped", "bias before blocks"],
    ({ a: aScheme, b: bScheme, rows, columns, seed, withOffset }, mutant) => {
      const depth = 12;
      const a = quantized(randomTensor(quantizedType(aScheme, [2, rows, depth]), seed));
      const b = quantized(
        randomTensor(quantizedType(withOffset ? { ...bScheme, offset: true } : bScheme, [columns, depth]), seed + 1),
      );
      const bias = randomTensor(tensorType("f32", [columns]), seed + 2);
      const [y] = runOp("matmul", [a, b, bias], { transposeB: true, hasBias: true, result: { kind: "real" } });
      for (const [sample, row, column] of eachIndex([2, rows, columns])) {
        let real = mutant === "bias before blocks" ? entryAt(bias, [column]) : 0;
        for (let from = 0; from < depth;) {
          const aStep = stepAt(a, [sample, row, from]);
          const bStep = stepAt(b, [column, from]);
          let sum = 0n;
          let total = 0n;
          let to = from;
          while (
            to < depth &&
            (mutant === "one block for all" ||
              (stepAt(a, [sample, row, to]) === aStep && stepAt(b, [column, to]) === bStep))
          ) {
            let left = centred(a, [sample, row, to]);
            if (mutant === "zero point of a dropped") {
              left = BigInt(codesOf(a)[flatten([sample, row, to], a.shape)]);
            }
            sum += left * centred(b, [column, to]);
            total += left;
            to++;
          }
          const [stepA, stepB] = [a.steps.data[aStep], b.steps.data[bStep]];
          const scaled = mutant === "steps multiplied last"
            ? Math.fround(stepA * Math.fround(stepB * Math.fround(Number(sum))))
            : Math.fround(Math.fround(stepA * stepB) * Math.fround(Number(sum)));
          real = Math.fround(real + scaled);
          if (b.offsets !== undefined && mutant !== "offset dropped") {
            const offset = Math.fround(stepA * b.offsets.data[bStep]);
            real = Math.fround(real + Math.fround(offset * Math.fround(Number(total))));
          }
          from = to;
        }
        const expected = mutant === "bias before blocks" ? real : Math.fround(real + entryAt(bias, [column]));
        assert.equal(entryAt(y, [sample, row, column]), expected);
      }
    },
    200,
  );
});

function exactSum(a: QuantizedTensor, b: QuantizedTensor, row: number, column: number, depth: number): bigint {
  let sum = 0n;
  for (let k = 0; k < depth; k++) sum += centred(a, [0, row, k]) * centred(b, [column, k]);
  return sum;
}

Deno.test("accumulators are exact integers plus bias, wrapped to 32 bits", () => {
  assertWithMutants(
    quantizedCases,
    ["bias dropped", "sum off by one code"],
    ({ a: aScheme, b: bScheme, rows, columns, seed }, mutant) => {
      const a = quantized(randomTensor(quantizedType(aScheme, [1, rows, 12]), seed));
      const b = quantized(randomTensor(quantizedType(bScheme, [columns, 12]), seed + 1));
      const bias = plainTensor(
        "i32",
        [columns],
        Int32Array.from({ length: columns }, (_, index) => 2 ** 31 - 1 - index),
      );
      const [y] = runOp("matmul", [a, b, bias], { transposeB: true, hasBias: true, result: { kind: "accumulator" } });
      for (const [, row, column] of eachIndex([1, rows, columns])) {
        let sum = exactSum(a, b, row, column, mutant === "sum off by one code" ? 11 : 12);
        if (mutant !== "bias dropped") sum += BigInt(bias.data[column]);
        assert.equal(entryAt(y, [0, row, column]), Number(BigInt.asIntN(32, sum)));
      }
    },
  );
});

/** Half to even in exact arithmetic: the product of an f32 accumulator and an f32 multiplier is exact in a double. */
function nearestEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return fraction < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

Deno.test("requantized codes: f32 of the accumulator times the multiplier, half to even, zero point, clamp", () => {
  const cases = fc.record({
    aScheme: schemes(1),
    bScheme: schemes(0),
    perChannel: fc.boolean(),
    exponent: fc.integer({ min: -14, max: -2 }),
    zero: fc.integer({ min: -20, max: 20 }),
    low: fc.integer({ min: -128, max: 0 }),
    seed: fc.nat(),
  });
  const mutants = ["half away from zero", "zero point dropped", "not clamped", "one multiplier"] as const;
  assertWithMutants(cases, mutants, ({ aScheme, bScheme, perChannel, exponent, zero, low, seed }, mutant) => {
    const columns = 5;
    const a = quantized(randomTensor(quantizedType(aScheme, [1, 4, 12]), seed));
    const b = quantized(randomTensor(quantizedType(bScheme, [columns, 12]), seed + 1));
    const scheme: QuantScheme = {
      format: int8,
      block: ["all", "all", "all"],
      step: "f32",
      zeroPoint: true,
      range: "static",
    };
    // Powers of two make ties frequent.
    const multiplier = floatTensor(
      perChannel ? [columns] : [1],
      Array.from(
        { length: perChannel ? columns : 1 },
        (_, index) => 2 ** (exponent + index),
      ),
    );
    const result: ContractionResult = { kind: "quantized", scheme, low, high: 100 };
    const [y] = runOp(
      "matmul",
      [a, b, multiplier, floatTensor([], [0.25]), plainTensor("i32", [], Int32Array.of(zero))],
      { transposeB: true, hasBias: false, result },
    );
    assert(y.kind === "quantized");
    assert.deepEqual([...y.steps.data], [0.25]);
    for (const [, row, column] of eachIndex([1, 4, columns])) {
      const accumulator = Math.fround(Number(BigInt.asIntN(32, exactSum(a, b, row, column, 12))));
      const channel = perChannel && mutant !== "one multiplier" ? column : 0;
      const product = Math.fround(accumulator * multiplier.data[channel]);
      const rounded = mutant === "half away from zero"
        ? Math.sign(product) * Math.round(Math.abs(product))
        : nearestEven(product);
      const shifted = rounded + (mutant === "zero point dropped" ? 0 : zero);
      const code = mutant === "not clamped" ? shifted : Math.min(100, Math.max(low, shifted));
      assert.equal(codesOf(y)[row * columns + column], code);
    }
  }, 200);
});

Deno.test("a quantized right operand under a float left one is decoded first", () => {
  const scheme: QuantScheme = {
    format: minifloat(4, 3, "fn"),
    block: [1, 4],
    step: "f32",
    zeroPoint: false,
    range: "static",
  };
  const codes = Uint8Array.from({ length: 24 }, (_, index) => (index * 37) % 0x7f);
  const steps = floatTensor([2, 3], [0.5, 0.25, 1, 2, 0.125, 0.0625]);
  const b: Tensor = {
    kind: "quantized",
    scheme,
    element: "f32",
    shape: [2, 12],
    codes: plainTensor("u8", [2, 12], codes),
    steps,
  };
  const a = randomTensor(tensorType("f32", [3, 12]), 5);
  const attributes = { transposeB: true, hasBias: false, result: { kind: "real" } } as const;
  const [direct] = runOp("matmul", [a, b], attributes);
  const decoded = floatTensor(
    [2, 12],
    Array.from(codes, (code, index) =>
      Math.fround(
        decodeCode(scheme.format, code) * steps.data[Math.floor(index / 12) * 3 + Math.floor((index % 12) / 4)],
      )),
  );
  const [plain] = runOp("matmul", [a, decoded], attributes);
  assert.deepEqual(entriesOf(direct), entriesOf(plain));
  assert.deepEqual(entriesOf(runOp("dequantize", [b], {})[0]), [...decoded.data]);
});

Deno.test("large products go through tiles and panels without seams", () => {
  const [rows, columns, depth] = [37, 1031, 300];
  const element: ElementType = "f32";
  const a = randomTensor(tensorType(element, [rows, depth]), 1);
  const b = randomTensor(tensorType(element, [columns, depth]), 2);
  const [y] = runOp("matmul", [a, b], { transposeB: true, hasBias: false, result: { kind: "real" } });
  const [p, q, r] = [plainOf(a).data, plainOf(b).data, plainOf(y).data];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column += 7) {
      let sum = 0;
      let magnitude = 0;
      for (let k = 0; k < depth; k++) {
        const product = Number(p[row * depth + k]) * Number(q[column * depth + k]);
        sum += product;
        magnitude += Math.abs(product);
      }
      assert(Math.abs(Number(r[row * columns + column]) - sum) <= sumBound(sum, magnitude, depth));
    }
  }
});
