import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, input } from "../../../compiler/ir/expression.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import type { OpAttributes, OpName } from "../../../compiler/ir/node.ts";
import { floatTensor, type PlainTensor, plainTensor, sizeOf } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import type { ElementType } from "../../../compiler/numeric/element.ts";
import { normalArray } from "../../../tests/support/random.ts";
import { assertLoops, assertSeen, gamma, loopText, unit } from "../../../tests/support/loop_kernels.ts";

const extents = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 70);
const shapes = fc.array(extents, { minLength: 1, maxLength: 3 });

/** One op on one operand `x`. */
function graphOf<Op extends OpName>(
  op: Op,
  element: ElementType,
  shape: readonly number[],
  attributes: OpAttributes[Op],
): Graph {
  const builder = new GraphBuilder(op);
  const results = builder.addAll(op, [builder.input("x", tensorType(element, shape))], attributes);
  results.forEach((value, index) => builder.output(`y${index}`, value));
  return builder.finish();
}

function floats(shape: readonly number[], seed: number): PlainTensor<"f32"> {
  return floatTensor(shape, normalArray(sizeOf(shape), seed));
}

/** Small integers, so that equal entries are common. */
function smallIntegers(shape: readonly number[], seed: number): PlainTensor<"i32"> {
  return plainTensor("i32", shape, Int32Array.from(normalArray(sizeOf(shape), seed), (value) => Math.round(3 * value)));
}

const reduceCase = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    axes: fc.subarray(shape.map((_, axis) => axis), { minLength: 1 }),
    keepAxes: fc.boolean(),
    kind: fc.constantFrom("sum", "prod", "max", "min" as const),
    seed: fc.nat(1000),
  })
);

Deno.test("integer reductions and extremes equal the evaluator's over every choice of axes", async () => {
  await fc.assert(
    fc.asyncProperty(reduceCase, async ({ shape, axes, keepAxes, kind, seed }) => {
      const x = smallIntegers(shape, seed);
      await assertLoops(graphOf("reduce", "i32", shape, { kind, axes, keepAxes }), { inputs: [{ x }] });
      if (kind === "sum" || kind === "prod") return;
      const real = floats(shape, seed);
      await assertLoops(graphOf("reduce", "f32", shape, { kind, axes, keepAxes }), { inputs: [{ x: real }] });
    }),
    { numRuns: 60 },
  );
});

Deno.test("float sums lie within gamma(n) times the sum of sizes, products within gamma(n) times themselves", async () => {
  await fc.assert(
    fc.asyncProperty(reduceCase, async ({ shape, axes, keepAxes, kind, seed }) => {
      if (kind !== "sum" && kind !== "prod") return;
      const x = floats(shape, seed);
      const terms = sizeOf(axes.map((axis) => shape[axis]));
      const largest = x.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const tolerance = kind === "sum"
        ? () => gamma(terms) * terms * largest
        : (expected: number) => gamma(terms) * Math.abs(expected) + terms * 2 ** -149;
      await assertLoops(graphOf("reduce", "f32", shape, { kind, axes, keepAxes }), { inputs: [{ x }], tolerance });
    }),
    { numRuns: 40 },
  );
});

const elements: readonly ElementType[] = [
  "bool",
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "u64",
  "i64",
  "f16",
  "bf16",
  "f64",
];

Deno.test("reductions of every element agree with the evaluator; NaN reaches the result of max and min", async () => {
  for (const element of elements) {
    const isFloat = element === "f16" || element === "bf16" || element === "f64";
    for (const kind of ["sum", "max", "min"] as const) {
      if (kind === "sum" && element === "bool") continue;
      for (const axes of [[0], [1]]) {
        // 33 terms of f16 or bf16 are summed in f32 and rounded once, in f64 likewise.
        const tolerance = (expected: number) => (isFloat && kind === "sum" ? 2 ** -7 * Math.abs(expected) + 1e-6 : 0);
        await assertLoops(graphOf("reduce", element, [33, 19], { kind, axes, keepAxes: false }), { tolerance });
      }
    }
  }
  const x = floats([4, 33], 3);
  x.data[40] = NaN;
  for (const kind of ["max", "min"] as const) {
    await assertLoops(graphOf("reduce", "f32", [4, 33], { kind, axes: [1], keepAxes: false }), { inputs: [{ x }] });
    await assertLoops(graphOf("reduce", "f32", [4, 33], { kind, axes: [0], keepAxes: false }), { inputs: [{ x }] });
  }
});

const axisCase = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    axis: fc.nat(shape.length - 1),
    flag: fc.boolean(),
    other: fc.boolean(),
    seed: fc.nat(1000),
  })
);

Deno.test("argReduce and topK equal the evaluator's, ties and NaN included", async () => {
  await fc.assert(
    fc.asyncProperty(axisCase, async ({ shape, axis, flag, other, seed }) => {
      const x = smallIntegers(shape, seed);
      const kind = other ? "max" : "min";
      await assertLoops(graphOf("argReduce", "i32", shape, { kind, axis, keepAxes: flag, last: seed % 2 === 0 }), {
        inputs: [{ x }],
      });
      const count = 1 + seed % shape[axis];
      await assertLoops(graphOf("topK", "i32", shape, { axis, count, largest: flag }), { inputs: [{ x }] });
      const real = floats(shape, seed);
      real.data[seed % real.data.length] = NaN;
      await assertLoops(graphOf("topK", "f32", shape, { axis, count, largest: flag }), { inputs: [{ x: real }] });
    }),
    { numRuns: 40 },
  );
});

Deno.test("cumulative sums and products agree with the evaluator", async () => {
  await fc.assert(
    fc.asyncProperty(axisCase, async ({ shape, axis, flag, other, seed }) => {
      const attributes = { kind: "sum", axis, exclusive: flag, reverse: other } as const;
      await assertLoops(graphOf("cumulative", "i32", shape, attributes), {
        inputs: [{ x: smallIntegers(shape, seed) }],
      });
      const x = floats(shape, seed);
      const bound = gamma(shape[axis]) * x.data.reduce((sum, value) => sum + Math.abs(value), 0);
      await assertLoops(graphOf("cumulative", "f32", shape, attributes), { inputs: [{ x }], tolerance: () => bound });
      await assertLoops(graphOf("cumulative", "i64", shape, { ...attributes, kind: "prod" }));
    }),
    { numRuns: 25 },
  );
});

/**
 * softmax: x - max errs by half an ulp of at most the spread of x, which exp turns into a relative error; exp adds an ulp
 * (two halves), the sum n - 1 roundings, its inverse and the product one each; the evaluator rounds once.
 */
function softmaxBound(x: PlainTensor<"f32">, terms: number): (expected: number) => number {
  const spread = x.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0) * 2;
  return (expected) => 2 * (spread * unit + 2 * unit) * expected + gamma(terms + 4) * expected + 2 ** -149;
}

Deno.test("softmax along every axis lies within its derived bound", async () => {
  await fc.assert(
    fc.asyncProperty(axisCase, async ({ shape, axis, seed }) => {
      const x = floats(shape, seed);
      await assertLoops(graphOf("softmax", "f32", shape, { axis }), {
        inputs: [{ x }],
        tolerance: softmaxBound(x, shape[axis]),
      });
    }),
    { numRuns: 40 },
  );
});

Deno.test("softmax of rows that hold infinities and NaN agrees with the evaluator", async () => {
  const x = floatTensor([5, 5], [
    ...[1, -Infinity, 2, -Infinity, 0],
    ...[NaN, 1, 2, 3, 4],
    ...[-Infinity, -Infinity, -Infinity, -Infinity, -Infinity],
    ...[Infinity, 1, 2, 3, 4],
    ...[1, 2, 3, NaN, 90],
  ]);
  await assertLoops(graphOf("softmax", "f32", [5, 5], { axis: 1 }), {
    inputs: [{ x }],
    tolerance: (y) => 8 * unit * y,
  });
});

/**
 * norm: with A = max|x|, σ² = variance + ε and n terms, the mean errs by γ(n) A, a centred entry by that and its own
 * rounding, σ² relatively by 4 γ(n + 2) A² / σ² + γ(n + 3), and 1/σ by half of it and 3 more roundings.
 */
function normBound(x: PlainTensor<"f32">, n: number, epsilon: number, isLayer: boolean): () => number {
  const rows = x.data.length / n;
  let most = 0;
  for (let row = 0; row < rows; row++) {
    const values = Array.from(x.data.subarray(row * n, row * n + n));
    const mean = isLayer ? values.reduce((sum, value) => sum + value, 0) / n : 0;
    const largest = Math.max(...values.map(Math.abs));
    const sigma = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n + epsilon);
    const ratio = largest / sigma;
    const centred = isLayer ? (gamma(n) + 2 * unit) * ratio : 0;
    const inverse = (isLayer ? 2 * gamma(n + 2) * ratio * ratio : 0) + gamma(n + 8);
    most = Math.max(most, centred + 2 * ratio * inverse);
  }
  return () => most;
}

Deno.test("layer and rms norm over trailing axes lie within their derived bound", async () => {
  await fc.assert(
    fc.asyncProperty(axisCase, async ({ shape, axis, flag, other, seed }) => {
      const builder = new GraphBuilder("norm");
      const row = shape.slice(axis);
      const affine = (seedOffset: number) => {
        const values = floats(row, seed + seedOffset);
        return builder.constant(plainTensor("f32", row, values.data.map((value) => Math.max(-1, Math.min(1, value)))));
      };
      const x = floats(shape, seed);
      const inputs = [builder.input("x", tensorType("f32", shape)), ...(flag ? [affine(1), affine(2)] : [])];
      const kind = other ? "layer" : "rms";
      builder.output("y", builder.add("norm", inputs, { kind, axis, epsilon: 1e-2 }));
      const bound = normBound(x, sizeOf(row), 1e-2, other);
      const tolerance = (expected: number) => bound() + 4 * unit * (Math.abs(expected) + 1);
      await assertLoops(builder.finish(), { inputs: [{ x }], tolerance });
    }),
    { numRuns: 40 },
  );
});

Deno.test("the comparison sees a wrong axis, a wrong epsilon, a dropped mean and the other order of ties", async () => {
  const x = floats([5, 6, 7], 4);
  const inputs = [{ x }];
  const soft = (axis: number) => graphOf("softmax", "f32", [5, 6, 7], { axis });
  await assertSeen(soft(1), soft(2), { inputs, tolerance: softmaxBound(x, 7) });
  const norm = (kind: "layer" | "rms", epsilon: number) =>
    graphOf("norm", "f32", [5, 6, 7], { kind, axis: 1, epsilon });
  const bound = normBound(x, 42, 1e-2, true);
  await assertSeen(norm("layer", 1.1e-2), norm("layer", 1e-2), { inputs, tolerance: bound });
  await assertSeen(norm("rms", 1e-2), norm("layer", 1e-2), { inputs, tolerance: bound });
  const arg = (last: boolean) => graphOf("argReduce", "i32", [9, 9], { kind: "max", axis: 1, keepAxes: false, last });
  await assertSeen(arg(true), arg(false), { inputs: [{ x: smallIntegers([9, 9], 1) }] });
  const sums = (exclusive: boolean) =>
    graphOf("cumulative", "i32", [9, 9], { kind: "sum", axis: 0, exclusive, reverse: false });
  await assertSeen(sums(true), sums(false), { inputs: [{ x: smallIntegers([9, 9], 1) }] });
});

Deno.test("rows reduce in lanes along the row, columns in lanes across the columns", () => {
  const rows = loopText(graphOf("reduce", "f32", [8, 64], { kind: "sum", axes: [1], keepAxes: false }));
  assert.match(rows, /f32x4\.extract_lane/);
  const columns = loopText(graphOf("reduce", "f32", [8, 64], { kind: "sum", axes: [0], keepAxes: false }));
  assert.match(columns, /f32x4\.add/);
  assert.doesNotMatch(columns, /extract_lane/);
  for (const axis of [0, 1]) assert.match(loopText(graphOf("softmax", "f32", [8, 64], { axis })), /block \$exp_f32x4/);
  assert.match(loopText(graphOf("norm", "f32", [8, 64], { kind: "layer", axis: 1, epsilon: 0 })), /f32x4\.mul/);
});

Deno.test("reductions of nothing give the operator's neutral value", async () => {
  for (const kind of ["sum", "prod", "max", "min"] as const) {
    const graph = graphOf("reduce", "f32", [3, 0], { kind, axes: [1], keepAxes: false });
    await assertLoops(graph, { inputs: [{ x: floatTensor([3, 0], []) }] });
  }
});

Deno.test("an epilogue is applied as each result is stored", async () => {
  const builder = new GraphBuilder("epilogue");
  const x = builder.input("x", tensorType("i32", [5, 7, 9]));
  const sum = builder.add("reduce", [x], { kind: "sum", axes: [1], keepAxes: false });
  const row = builder.input("row", tensorType("i32", [9]));
  builder.output("y", builder.map(binary("mul", binary("sub", input(0), input(1)), input(0)), [sum, row]));
  await assertLoops(builder.finish(), { fuse: true });
});
