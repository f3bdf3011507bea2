import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { eachIndex, entriesOf, entryAt } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import { int8 } from "../../numeric/number_format.ts";
import { perToken, type QuantScheme } from "../../numeric/scheme.ts";
import { plainTensor, type Tensor } from "../tensor.ts";
import { quantizedType, tensorType } from "../types.ts";

const cases = fc.record({
  batch: fc.integer({ min: 1, max: 2 }),
  length: fc.integer({ min: 1, max: 5 }),
  keys: fc.integer({ min: 1, max: 6 }),
  groups: fc.integer({ min: 1, max: 2 }),
  shared: fc.integer({ min: 1, max: 3 }),
  width: fc.integer({ min: 1, max: 8 }),
  valueWidth: fc.integer({ min: 1, max: 5 }),
  causal: fc.boolean(),
  softcap: fc.constantFrom(0, 0.5),
  window: fc.constantFrom(0, 1, 2, 3),
  mask: fc.constantFrom<"none" | "bool" | "f32">("none", "bool", "f32"),
  maskAxes: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
  seed: fc.nat(),
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

const scale = 0.7;

function tensorsOf(of: Case): { q: Tensor; k: Tensor; v: Tensor; mask: Tensor | undefined } {
  const { batch, length, keys, groups, shared, width, valueWidth, seed } = of;
  const random = (shape: readonly number[], index: number, element: "f32" | "bool" = "f32") =>
    randomTensor(tensorType(element, shape), seed + index);
  const full = [batch, groups * shared, length, keys];
  const maskShape = full.map((extent, axis) => (of.maskAxes[axis] ? extent : 1));
  return {
    q: random([batch, length, groups * shared, width], 0),
    k: random([batch, keys, groups, width], 1),
    v: random([batch, keys, groups, valueWidth], 2),
    mask: of.mask === "none" ? undefined : random(maskShape, 3, of.mask),
  };
}

Deno.test("attention is softmax of capped, masked scores over the keys that a row sees, times the values", () => {
  const mutants = [
    "scale dropped",
    "causal from the first key",
    "heads not shared",
    "mask dropped",
    "window one wider",
    "cap dropped",
  ] as const;
  assertWithMutants(cases, mutants, (of, mutant) => {
    const { length, keys, shared, width, causal, softcap, window } = of;
    const { q, k, v, mask } = tensorsOf(of);
    const attributes = { scale, causal, softcap, window };
    const [y] = runOp("attention", mask === undefined ? [q, k, v] : [q, k, v, mask], attributes);
    for (const [sample, row, head, column] of eachIndex(y.shape)) {
      const group = mutant === "heads not shared" ? head % of.groups : Math.floor(head / shared);
      const last = mutant === "causal from the first key" ? row : keys - length + row;
      const weights: { key: number; score: number }[] = [];
      for (let key = 0; key < keys; key++) {
        if (causal && key > last) continue;
        const reach = window + (mutant === "window one wider" ? 1 : 0);
        if (window > 0 && key < keys - length + row + 1 - reach) continue;
        let score = 0;
        for (let index = 0; index < width; index++) {
          score += entryAt(q, [sample, row, head, index]) * entryAt(k, [sample, key, group, index]);
        }
        if (mutant !== "scale dropped") score *= scale;
        if (softcap > 0 && mutant !== "cap dropped") score = softcap * Math.tanh(score / softcap);
        if (mask !== undefined && mutant !== "mask dropped") {
          const entry = entryAt(mask, [sample, head, row, key]);
          if (mask.element === "bool" && entry === 0) continue;
          score += mask.element === "bool" ? 0 : entry;
        }
        weights.push({ key, score });
      }
      const total = weights.reduce((sum, { score }) => sum + Math.exp(score), 0);
      const expected = weights.length === 0 ? 0 : weights.reduce(
        (sum, { key, score }) => sum + Math.exp(score) / total * entryAt(v, [sample, key, group, column]),
        0,
      );
      // Weights are rounded to f32 before their sum and the sum with values: 2^-24 each of entries below 1; then the result.
      assert(
        Math.abs(entryAt(y, [sample, row, head, column]) - expected) <= 4 * 2 ** -24,
        `${entryAt(y, [sample, row, head, column])}, not ${expected}`,
      );
    }
  });
});

Deno.test("attention equals its composition of matmul, softmax and matmul", () => {
  const q = randomTensor(tensorType("f32", [1, 6, 1, 16]), 1);
  const k = randomTensor(tensorType("f32", [1, 7, 1, 16]), 2);
  const v = randomTensor(tensorType("f32", [1, 7, 1, 4]), 3);
  const [y] = runOp("attention", [q, k, v], { scale: 1, causal: false, softcap: 0, window: 0 });
  const rows = (tensor: Tensor, shape: readonly number[]) => runOp("reshape", [tensor], { shape })[0];
  const matmul = { hasBias: false, result: { kind: "real" } } as const;
  const [scores] = runOp("matmul", [rows(q, [6, 16]), rows(k, [7, 16])], { ...matmul, transposeB: true });
  const [weights] = runOp("softmax", [scores], { axis: 1 });
  const [composed] = runOp("matmul", [weights, rows(v, [7, 4])], { ...matmul, transposeB: false });
  // Scores of magnitude up to 16 are rounded to f32 in the composition: 2^-20 relative in every weight.
  entriesOf(y).forEach((value, index) => assert(Math.abs(value - entriesOf(composed)[index]) <= 2 * 2 ** -20));
});

Deno.test("quantized keys and values are decoded", () => {
  const scheme: QuantScheme = { format: int8, block: perToken(4), step: "f32", zeroPoint: false, range: "static" };
  const q = randomTensor(tensorType("f32", [1, 2, 2, 8]), 1);
  const k = randomTensor(quantizedType(scheme, [1, 3, 1, 8]), 2);
  const v = randomTensor(quantizedType(scheme, [1, 3, 1, 8]), 3);
  const attributes = { scale, causal: true, softcap: 0, window: 0 };
  const decoded = [k, v].map((tensor) => runOp("dequantize", [tensor], {})[0]);
  assert.deepEqual(runOp("attention", [q, k, v], attributes), runOp("attention", [q, ...decoded], attributes));
});

Deno.test("a row that sees no key gives 0", () => {
  const ones = (shape: readonly number[]) => randomTensor(tensorType("f32", shape), 1);
  const mask = plainTensor("bool", [1, 1, 2, 1], Uint8Array.of(0, 1));
  const [y] = runOp("attention", [ones([1, 2, 1, 4]), ones([1, 1, 1, 4]), ones([1, 1, 1, 2]), mask], {
    scale,
    causal: false,
    softcap: 0,
    window: 0,
  });
  assert.deepEqual(entriesOf(y).slice(0, 2), [0, 0]);
  assert.deepEqual(entriesOf(y).slice(2), entriesOf(ones([1, 1, 1, 2])));
});

const ropeCases = fc.record({
  length: fc.integer({ min: 1, max: 4 }),
  heads: fc.integer({ min: 1, max: 2 }),
  half: fc.integer({ min: 1, max: 3 }),
  rest: fc.nat({ max: 3 }),
  interleaved: fc.boolean(),
  seed: fc.nat(),
});

Deno.test("rope rotates pairs of the first entries by its row's angles and passes the rest on", () => {
  assertWithMutants(
    ropeCases,
    ["pairs otherwise", "angle of the head"],
    ({ length, heads, half, rest, interleaved, seed }, mutant) => {
      const width = 2 * half + rest;
      const x = randomTensor(tensorType("f32", [2, length, heads, width]), seed);
      const cos = randomTensor(tensorType("f32", [5, half]), seed + 1);
      const sin = randomTensor(tensorType("f32", [5, half]), seed + 2);
      const [y] = runOp("rope", [x, cos, sin], { extent: 2 * half, interleaved, fromPast: false });
      const isPaired = interleaved !== (mutant === "pairs otherwise");
      for (const [sample, row, head, index] of eachIndex(y.shape)) {
        const at = (place: number) => entryAt(x, [sample, row, head, place]);
        if (index >= 2 * half) {
          assert.equal(entryAt(y, [sample, row, head, index]), at(index));
          continue;
        }
        const pair = isPaired ? Math.floor(index / 2) : index % half;
        const isFirst = isPaired ? index % 2 === 0 : index < half;
        const table = [mutant === "angle of the head" ? head : row, pair];
        const other = isPaired ? index + (isFirst ? 1 : -1) : index + (isFirst ? half : -half);
        const turned = entryAt(sin, table) * at(other);
        const expected = entryAt(cos, table) * at(index) + (isFirst ? -turned : turned);
        // Two exact products, one sum in doubles, one rounding to f32.
        assert(entryAt(y, [sample, row, head, index]) === Math.fround(expected));
      }
    },
  );
});
