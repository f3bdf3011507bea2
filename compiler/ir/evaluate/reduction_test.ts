import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { eachIndex, entriesOf, entryAt, plainOf, sumBound } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import type { ElementType } from "../../numeric/element.ts";
import { floatTensor, plainTensor } from "../tensor.ts";
import { tensorType } from "../types.ts";

const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
const cases = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    axes: fc.subarray(shape.map((_, axis) => axis)),
    axis: fc.nat({ max: shape.length - 1 }),
    keepAxes: fc.boolean(),
    flag: fc.boolean(),
    seed: fc.nat(),
  })
);

/** Entries that an index of the reduced tensor stands for. */
function* fibre(shape: readonly number[], axes: readonly number[], kept: readonly number[]): Generator<number[]> {
  for (const inner of eachIndex(axes.map((axis) => shape[axis]))) {
    const index = [...kept];
    axes.forEach((axis, place) => index[axis] = inner[place]);
    yield index;
  }
}

Deno.test("reduce folds every fibre: sum, prod, max, min", () => {
  const kinds = fc.constantFrom<"sum" | "prod" | "max" | "min">("sum", "prod", "max", "min");
  const elements = fc.constantFrom<ElementType>("f32", "i64", "i32", "u8");
  assertWithMutants(fc.tuple(cases, kinds, elements), ["one axis forgotten"], ([of, kind, element], mutant) => {
    const { shape, keepAxes, seed } = of;
    const axes = of.axes;
    const x = randomTensor(tensorType(element, shape), seed);
    const [y] = runOp("reduce", [x], { kind, axes, keepAxes });
    const keptShape = shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    assert.deepEqual(y.shape, keepAxes ? keptShape : shape.filter((_, axis) => !axes.includes(axis)));
    let at = 0;
    for (const kept of eachIndex(keptShape)) {
      const folded = mutant === "one axis forgotten" ? axes.slice(1) : axes;
      const values = [...fibre(shape, folded, kept)].map((index) => entryAt(x, index));
      const actual = entriesOf(y)[at++];
      if (element === "f32" && (kind === "sum" || kind === "prod")) {
        const expected = values.reduce((a, b) => (kind === "sum" ? a + b : a * b), kind === "sum" ? 0 : 1);
        const magnitude = kind === "sum" ? values.reduce((sum, value) => sum + Math.abs(value), 0) : Math.abs(expected);
        assert(Math.abs(actual - expected) <= sumBound(expected, magnitude, values.length));
        continue;
      }
      const exact = values.map(toExact(element));
      const folding = { sum: add, prod: multiply, max: larger, min: smaller }[kind];
      assert.equal(actual, wrapped(element, exact.reduce(folding)), `${kind} of ${element}`);
    }
  }, 200);
});

type Exact = number | bigint;

function toExact(element: ElementType): (value: number) => Exact {
  return (value) => (element === "f32" ? value : BigInt(value));
}

function add(a: Exact, b: Exact): Exact {
  return typeof a === "bigint" && typeof b === "bigint" ? a + b : Number(a) + Number(b);
}

function multiply(a: Exact, b: Exact): Exact {
  return typeof a === "bigint" && typeof b === "bigint" ? a * b : Number(a) * Number(b);
}

function larger(a: Exact, b: Exact): Exact {
  return b > a ? b : a;
}

function smaller(a: Exact, b: Exact): Exact {
  return b < a ? b : a;
}

function wrapped(element: ElementType, value: Exact): number {
  if (typeof value === "number") return value;
  const bits = Number(element.slice(1));
  return Number(element.startsWith("u") ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value));
}

Deno.test("empty reductions give the identities", () => {
  const of = (kind: "sum" | "prod" | "max" | "min", element: "f32" | "i8") => {
    const x = element === "f32"
      ? plainTensor("f32", [0], new Float32Array(0))
      : plainTensor("i8", [0], new Int8Array(0));
    return entriesOf(runOp("reduce", [x], { kind, axes: [0], keepAxes: false })[0])[0];
  };
  assert.deepEqual([of("sum", "f32"), of("prod", "f32"), of("max", "f32"), of("min", "f32")], [
    0,
    1,
    -Infinity,
    Infinity,
  ]);
  assert.deepEqual([of("max", "i8"), of("min", "i8")], [-128, 127]);
});

Deno.test("argReduce finds the first or the last of equals", () => {
  assertWithMutants(cases, ["first always"], ({ shape, axis, keepAxes, flag: last, seed }, mutant) => {
    const x = randomTensor(tensorType("bool", shape), seed);
    for (const kind of ["max", "min"] as const) {
      const [y] = runOp("argReduce", [x], { kind, axis, keepAxes, last });
      const kept = shape.with(axis, 1);
      let at = 0;
      for (const start of eachIndex(kept)) {
        const values = [...fibre(shape, [axis], start)].map((index) => entryAt(x, index));
        const best = kind === "max" ? Math.max(...values) : Math.min(...values);
        const expected = last && mutant === "none" ? values.lastIndexOf(best) : values.indexOf(best);
        assert.equal(entriesOf(y)[at++], expected);
      }
    }
  });
});

/** Relative error of f32 results computed in doubles: half an ulp, and room for the doubles' own rounding. */
const halfUlp = 2 ** -24 * (1 + 2 ** -18);

Deno.test("softmax: exponentials over their sum along the axis, shifted by the maximum", () => {
  assertWithMutants(cases, ["other axis", "not normalized"], ({ shape, axis, seed }, mutant) => {
    const x = randomTensor(tensorType("f32", shape), seed);
    const [y] = runOp("softmax", [x], { axis });
    const along = mutant === "other axis" ? (axis + 1) % shape.length : axis;
    for (const index of eachIndex(shape)) {
      const total = [...fibre(shape, [along], index)].reduce((sum, entry) => sum + Math.exp(entryAt(x, entry)), 0);
      const expected = Math.exp(entryAt(x, index)) / (mutant === "not normalized" ? 1 : total);
      assert(Math.abs(entryAt(y, index) - expected) <= halfUlp * expected);
    }
  });
});

Deno.test("softmax of large scores does not overflow", () => {
  const [y] = runOp("softmax", [floatTensor([3], [1000, 1000, -Infinity])], { axis: 0 });
  assert.deepEqual(entriesOf(y), [0.5, 0.5, 0]);
});

Deno.test("norm: layer and rms over trailing axes, gain and bias broadcast", () => {
  const norms = cases.chain((of) =>
    fc.tuple(
      fc.constant(of),
      fc.constantFrom<"layer" | "rms">("layer", "rms"),
      // Gain and bias of the normalized row, of its last axis, or varying along leading axes too.
      fc.constantFrom("row", "last", "whole"),
      fc.nat({ max: 2 }),
    )
  );
  const mutants = ["mean kept", "unbiased variance", "gain dropped", "epsilon outside the root"] as const;
  assertWithMutants(norms, mutants, ([{ shape, axis, seed }, kind, reach, operands], mutant) => {
    const x = randomTensor(tensorType("f32", shape), seed);
    const affineShape = { row: shape.slice(axis), last: shape.slice(-1), whole: shape }[reach] ?? [];
    const gain = randomTensor(tensorType("f32", affineShape), seed + 1);
    const bias = randomTensor(tensorType("f32", affineShape), seed + 2);
    const epsilon = 0.01;
    const [y] = runOp("norm", [x, gain, bias].slice(0, operands + 1), { kind, axis, epsilon });
    const axes = shape.map((_, index) => index).slice(axis);
    for (const index of eachIndex(shape)) {
      const row = [...fibre(shape, axes, index)].map((entry) => entryAt(x, entry));
      const mean = kind === "layer" && mutant !== "mean kept"
        ? row.reduce((sum, value) => sum + value, 0) / row.length
        : 0;
      const squares = row.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      const variance = squares / (mutant === "unbiased variance" ? row.length - 1 : row.length);
      const root = mutant === "epsilon outside the root"
        ? Math.sqrt(variance) + epsilon
        : Math.sqrt(variance + epsilon);
      const factor = operands > 0 && mutant !== "gain dropped" ? entryAt(gain, index) : 1;
      const term = operands > 1 ? entryAt(bias, index) : 0;
      const expected = (entryAt(x, index) - mean) / root * factor + term;
      const magnitude = (Math.abs(entryAt(x, index)) + Math.abs(mean)) / root * Math.abs(factor) + Math.abs(term);
      assert(Math.abs(entryAt(y, index) - expected) <= sumBound(expected, magnitude, row.length + 8));
    }
  });
});

Deno.test("cumulative sums and products run along the axis, exclusive and reversed", () => {
  const kinds = fc.constantFrom<"sum" | "prod">("sum", "prod");
  assertWithMutants(
    fc.tuple(cases, kinds, fc.boolean()),
    ["forwards always", "inclusive always"],
    ([of, kind, reverse], mutant) => {
      const { shape, axis, flag: exclusive, seed } = of;
      for (const element of ["f32", "i64"] as const) {
        const x = randomTensor(tensorType(element, shape), seed);
        const [y] = runOp("cumulative", [x], { kind, axis, exclusive, reverse });
        for (const index of eachIndex(shape)) {
          const backwards = reverse && mutant !== "forwards always";
          const open = exclusive && mutant !== "inclusive always";
          const entries = [...fibre(shape, [axis], index)].filter((entry) =>
            backwards ? entry[axis] > index[axis] : entry[axis] < index[axis]
          ).map((entry) => entryAt(x, entry));
          if (!open) entries.push(entryAt(x, index));
          const expected = entries.reduce((a, b) => (kind === "sum" ? a + b : a * b), kind === "sum" ? 0 : 1);
          const magnitude = kind === "sum"
            ? entries.reduce((sum, entry) => sum + Math.abs(entry), 0)
            : Math.abs(expected);
          // Products of five 8-bit integers are exact in doubles.
          if (element === "i64") assert.equal(entryAt(y, index), expected + 0);
          else assert(Math.abs(entryAt(y, index) - expected) <= sumBound(expected, magnitude, entries.length));
        }
      }
    },
  );
});

Deno.test("topK: the first in order, ties to the lower index", () => {
  assertWithMutants(cases, ["ties to the higher index"], ({ shape, axis, flag: largest, seed }, mutant) => {
    const count = Math.ceil(shape[axis] / 2);
    for (const element of ["f32", "u8", "i64", "bool"] as const) {
      const x = randomTensor(tensorType(element, shape), seed);
      const [values, indices] = runOp("topK", [x], { axis, count, largest });
      for (const index of eachIndex(shape.with(axis, 1))) {
        const line = [...fibre(shape, [axis], index)].map((entry, place) => ({ value: entryAt(x, entry), place }));
        line.sort((a, b) =>
          (largest ? b.value - a.value : a.value - b.value) ||
          (mutant === "none" ? a.place - b.place : b.place - a.place)
        );
        for (let rank = 0; rank < count; rank++) {
          const at = index.with(axis, rank);
          assert.equal(entryAt(values, at), line[rank].value);
          assert.equal(entryAt(indices, at), line[rank].place);
        }
      }
    }
  });
  const [values] = runOp("topK", [floatTensor([4], [NaN, 1, 3, 2])], { axis: 0, count: 4, largest: true });
  assert.deepEqual([...plainOf(values).data], [3, 2, 1, NaN]);
});
