import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, input } from "../../../compiler/ir/expression.ts";
import { type Extent, isStatic, symbolic } from "../../../compiler/ir/extent.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import type { OpAttributes, OpName, ValueName } from "../../../compiler/ir/node.ts";
import { floatTensor, plainTensor, sizeOf } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { type ElementType, elementTypes } from "../../../compiler/numeric/element.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertLoops, assertSeen, loopText } from "../../../tests/support/loop_kernels.ts";

/** One op on operand `x` and others that `more` makes, followed by a map that may run as its epilogue. */
function graphOf<Op extends OpName>(
  op: Op,
  element: ElementType,
  shape: readonly Extent[],
  attributes: OpAttributes[Op],
  more: (builder: GraphBuilder) => readonly ValueName[] = () => [],
  tail = false,
): Graph {
  const builder = new GraphBuilder(op);
  if (!shape.every(isStatic)) builder.symbol("seq", { min: 1, max: 9 });
  const y = builder.add(op, [builder.input("x", tensorType(element, shape)), ...more(builder)], attributes);
  builder.output("y", tail ? builder.map(binary("mul", input(0), input(0)), [y]) : y);
  return builder.finish();
}

const extents = fc.constantFrom(1, 2, 3, 4, 5, 7, 16, 17, 33);
const shapes = (least = 1) => fc.array(extents, { minLength: least, maxLength: 4 });
const element = fc.constantFrom<ElementType>("f32", "i64", "u8", "f16", "bool");

const permuted = shapes().chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    element,
    permutation: fc.shuffledSubarray(shape.map((_, axis) => axis), {
      minLength: shape.length,
      maxLength: shape.length,
    }),
  })
);

Deno.test("transposes of every order and element equal the evaluator's", async () => {
  await fc.assert(
    fc.asyncProperty(permuted, async ({ shape, element, permutation }) => {
      await assertLoops(graphOf("transpose", element, shape, { permutation }));
    }),
    { numRuns: 50 },
  );
});

const sliced = shapes().chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    element,
    cuts: fc.tuple(...shape.map((extent) =>
      fc.record({ step: fc.constantFrom(1, 1, 2, 3, -1, -2), start: fc.nat(extent - 1), count: fc.nat(4) })
    )),
  })
);

Deno.test("slices with any start, step and extent equal the evaluator's", async () => {
  await fc.assert(
    fc.asyncProperty(sliced, async ({ shape, element, cuts }) => {
      const room = cuts.map(({ step, start }, axis) =>
        Math.floor((step > 0 ? shape[axis] - 1 - start : start) / Math.abs(step))
      );
      await assertLoops(graphOf("slice", element, shape, {
        starts: cuts.map(({ start }) => start),
        steps: cuts.map(({ step }) => step),
        extents: cuts.map(({ count }, axis) => Math.min(count, room[axis] + 1)),
      }));
    }),
    { numRuns: 50 },
  );
});

const padded = shapes().chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    element,
    mode: fc.constantFrom("constant", "reflect", "edge", "wrap" as const),
    amounts: fc.tuple(...shape.map(() => fc.tuple(fc.integer({ min: -2, max: 4 }), fc.integer({ min: -2, max: 4 })))),
    tail: fc.boolean(),
  })
);

Deno.test("pads of every mode, negative amounts included, equal the evaluator's", async () => {
  await fc.assert(
    fc.asyncProperty(padded, async ({ shape, element, mode, amounts, tail }) => {
      const fits = shape.every((extent, axis) =>
        extent + Math.min(0, amounts[axis][0]) + Math.min(0, amounts[axis][1]) > 0
      );
      if (!fits || (tail && element === "bool")) return;
      const [before, after] = [amounts.map(([amount]) => amount), amounts.map(([, amount]) => amount)];
      const value = (builder: GraphBuilder) =>
        mode === "constant" && element === "f32" ? [builder.constant(floatTensor([], [7]))] : [];
      await assertLoops(graphOf("pad", element, shape, { before, after, mode }, value, tail), { fuse: true });
    }),
    { numRuns: 80 },
  );
});

const joined = shapes(2).chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    element,
    axis: fc.nat(shape.length - 1),
    others: fc.array(extents, { minLength: 0, maxLength: 3 }),
    tail: fc.boolean(),
  })
);

Deno.test("concat, expand and reshape equal the evaluator's, epilogues included", async () => {
  await fc.assert(
    fc.asyncProperty(joined, async ({ shape, element, axis, others, tail }) => {
      const square = tail && element !== "bool";
      const parts = (builder: GraphBuilder) =>
        others.map((extent, index) =>
          builder.input(`w${index}`, tensorType(element, shape.map((old, each) => (each === axis ? extent : old))))
        );
      await assertLoops(graphOf("concat", element, shape, { axis }, parts, square), { fuse: true });
      const narrow = shape.map((extent, each) => (each === axis ? 1 : extent));
      await assertLoops(graphOf("expand", element, narrow, { shape: [3, ...shape] }, () => [], square), { fuse: true });
      const flat = [sizeOf(shape.slice(axis)), ...shape.slice(0, axis)];
      await assertLoops(graphOf("reshape", element, shape, { shape: flat }, () => [], square), { fuse: true });
    }),
    { numRuns: 40 },
  );
});

/** Indices that reach past both ends. */
function indexInput(
  builder: GraphBuilder,
  shape: readonly number[],
  reach: number,
  seed: number,
  wide: boolean,
): ValueName {
  const next = uniform(seed);
  const entries = Array.from({ length: sizeOf(shape) }, () => Math.floor((3 * next() - 1.5) * reach));
  return builder.constant(
    wide
      ? plainTensor("i64", shape, BigInt64Array.from(entries, BigInt))
      : plainTensor("i32", shape, Int32Array.from(entries)),
  );
}

const gathered = shapes(2).chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    element,
    axis: fc.nat(shape.length - 1),
    indices: fc.array(fc.constantFrom(1, 2, 3, 5), { maxLength: 2 }),
    seed: fc.nat(1000),
    wide: fc.boolean(),
    reduction: fc.constantFrom("none", "add", "mul", "max", "min" as const),
    tail: fc.boolean(),
  })
);

Deno.test("gathers equal the evaluator's with negative, clamped and repeated indices", async () => {
  await fc.assert(
    fc.asyncProperty(gathered, async ({ shape, element, axis, indices, seed, wide, tail }) => {
      const square = tail && element !== "bool";
      const rows = (builder: GraphBuilder) => [indexInput(builder, indices, shape[axis], seed, wide)];
      await assertLoops(graphOf("gather", element, shape, { axis }, rows, square), { fuse: true });
      const same = shape.map((extent, each) => (each === axis ? 3 : extent));
      const entries = (builder: GraphBuilder) => [indexInput(builder, same, shape[axis], seed, wide)];
      await assertLoops(graphOf("gatherElements", element, shape, { axis }, entries));
      const batchAxes = axis === shape.length - 1 ? 0 : axis;
      const tuple = [...shape.slice(0, batchAxes), 4, Math.min(2, shape.length - batchAxes)];
      const tuples = (builder: GraphBuilder) => [indexInput(builder, tuple, Math.max(...shape), seed, wide)];
      await assertLoops(graphOf("gatherNd", element, shape, { batchAxes }, tuples, square), { fuse: true });
    }),
    { numRuns: 40 },
  );
});

Deno.test("scatters equal the evaluator's, duplicates in order, under an epilogue too", async () => {
  await fc.assert(
    fc.asyncProperty(gathered, async ({ shape, element, axis, seed, wide, reduction, tail }) => {
      if (element === "bool") return;
      const size = shape.map((extent) => Math.min(extent, 3));
      const updates = (builder: GraphBuilder, updateShape: readonly number[]) =>
        builder.input("updates", tensorType(element, updateShape));
      const entries = (
        builder: GraphBuilder,
      ) => [indexInput(builder, size, shape[axis], seed, wide), updates(builder, size)];
      await assertLoops(graphOf("scatterElements", element, shape, { axis, reduction }, entries, tail), { fuse: tail });
      const depth = 1 + seed % shape.length;
      const tuples = (builder: GraphBuilder) => [
        indexInput(builder, [5, depth], Math.max(...shape), seed, wide),
        updates(builder, [5, ...shape.slice(depth)]),
      ];
      await assertLoops(graphOf("scatterNd", element, shape, { reduction }, tuples, tail), { fuse: tail });
    }),
    { numRuns: 40 },
  );
});

Deno.test("moves of every element are whole vectors", () => {
  for (const each of elementTypes) {
    const text = loopText(graphOf("transpose", each, [4, 5, 64], { permutation: [1, 0, 2] }));
    assert.match(text, /v128\.store/, each);
  }
});

const seq = symbolic("seq");
const runs = [{ seq: 1 }, { seq: 4 }, { seq: 9 }];

/** Shapes with symbolic extents, and what they may be reshaped to. */
const reshapes: readonly (readonly [readonly Extent[], readonly Extent[]])[] = [
  [[seq, 12], [seq, 3, 4]],
  [[2, seq, 12], [2, seq, 3, 4]],
  [[2, seq, 3, 4], [2, seq, 12]],
  [[2, seq, 6], [2, symbolic("seq", 3), 2]],
  [[2, 3, seq], [6, seq]],
  [[6, seq, 2], [2, 3, seq, 2]],
  [[2, seq, 6], [symbolic("seq", 2), 6]],
  [[symbolic("seq", 4), 3], [2, symbolic("seq", 2), 3]],
  [[3, seq], [symbolic("seq", 3)]],
  [[3, symbolic("seq", 2)], [symbolic("seq", 3), 2]],
];

Deno.test("reshapes of symbolic extents equal the evaluator's at every length", async () => {
  for (const [from, to] of reshapes) {
    await assertLoops(graphOf("reshape", "f32", from, { shape: to }), { runs });
    await assertLoops(graphOf("reshape", "f32", from, { shape: to }, () => [], true), { runs, fuse: true });
  }
});

Deno.test("other moves of symbolic extents equal the evaluator's at every length", async () => {
  const shape = [2, seq, 5];
  await assertLoops(graphOf("transpose", "f32", shape, { permutation: [2, 1, 0] }), { runs });
  await assertLoops(graphOf("transpose", "f32", shape, { permutation: [1, 0, 2] }), { runs });
  await assertLoops(graphOf("expand", "f32", [seq, 1], { shape: [3, seq, 5] }), { runs });
  await assertLoops(graphOf("slice", "f32", shape, { starts: [0, 0, 4], steps: [1, 1, -2], extents: [2, seq, 3] }), {
    runs,
  });
  for (const mode of ["constant", "edge", "wrap", "reflect"] as const) {
    await assertLoops(graphOf("pad", "f32", shape, { before: [0, 1, 2], after: [1, 2, 0], mode }), { runs });
  }
  const more = (builder: GraphBuilder) => [builder.input("w", tensorType("f32", [2, 3, 5]))];
  await assertLoops(graphOf("concat", "f32", shape, { axis: 1 }, more), { runs });
  const rows = (builder: GraphBuilder) => [builder.constant(plainTensor("i32", [3], Int32Array.of(0, -1, 20)))];
  await assertLoops(graphOf("gather", "f32", shape, { axis: 1 }, rows), { runs });
});

Deno.test("the comparison sees a wrong permutation, start, fill and mode", async () => {
  const transposed = (permutation: readonly number[]) => graphOf("transpose", "f32", [3, 3, 3], { permutation });
  await assertSeen(transposed([1, 0, 2]), transposed([1, 2, 0]));
  const cut = (start: number) => graphOf("slice", "f32", [9], { starts: [start], steps: [2], extents: [3] });
  await assertSeen(cut(1), cut(2));
  const pad = (mode: "reflect" | "edge") => graphOf("pad", "f32", [6], { before: [2], after: [2], mode });
  await assertSeen(pad("edge"), pad("reflect"));
  const filled = (value: number) =>
    graphOf("pad", "f32", [6], { before: [2], after: [2], mode: "constant" }, (builder) => [builder.scalar(value)]);
  await assertSeen(filled(0), filled(1));
});
