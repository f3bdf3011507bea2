import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { eachIndex, entriesOf, entryAt, flatten } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import type { ElementType } from "../../numeric/element.ts";
import { int8, uint8 } from "../../numeric/number_format.ts";
import type { ScatterReduction } from "../node.ts";
import { plainTensor, sizeOf, type Tensor } from "../tensor.ts";
import { quantizedType, tensorType } from "../types.ts";

const elements = fc.constantFrom<ElementType>("u8", "bf16", "f32", "i64", "i32");
const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
const anyIndex = fc.integer({ min: -7, max: 7 });

function indexTensor(shape: readonly number[], values: readonly number[], element: "i32" | "i64"): Tensor {
  const entries = Array.from({ length: sizeOf(shape) }, (_, index) => values[index % values.length]);
  return element === "i64"
    ? plainTensor("i64", shape, BigInt64Array.from(entries, BigInt))
    : plainTensor("i32", shape, Int32Array.from(entries));
}

/** Negative indices count from the end; the rest is clamped. */
function resolved(index: number, extent: number): number {
  const at = index < 0 ? index + extent : index;
  return at < 0 ? 0 : at >= extent ? extent - 1 : at;
}

const common = {
  element: elements,
  shape: shapes,
  pick: fc.nat(),
  indexElement: fc.constantFrom<"i32" | "i64">("i32", "i64"),
  values: fc.array(anyIndex, { minLength: 1, maxLength: 20 }),
  seed: fc.nat(),
};

Deno.test("gather puts the indices' axes in place of the axis", () => {
  const cases = fc.record({ ...common, indexShape: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 2 }) });
  assertWithMutants(cases, ["negative indices clamped", "first axis always"], (of, mutant) => {
    const { element, shape, pick, indexShape, indexElement, values, seed } = of;
    const axis = pick % shape.length;
    const x = randomTensor(tensorType(element, shape), seed);
    const indices = indexTensor(indexShape, values, indexElement);
    const [y] = runOp("gather", [x, indices], { axis });
    for (const index of eachIndex(y.shape)) {
      const at = index.slice(axis, axis + indexShape.length);
      const entry = entryAt(indices, at);
      const raw = mutant === "negative indices clamped" ? Math.max(0, entry) : entry;
      const rest = [...index.slice(0, axis), ...index.slice(axis + indexShape.length)];
      const source = rest.toSpliced(mutant === "first axis always" ? 0 : axis, 0, resolved(raw, shape[axis]));
      assert.equal(
        entryAt(y, index),
        entryAt(x, source.map((position, place) => Math.min(position, shape[place] - 1))),
      );
    }
  });
});

Deno.test("gather decodes a quantized table: per row, in blocks, with zero points and offsets", () => {
  for (
    const [block, axis] of [[[1, "all"], 0], [[1, 2], 0], [["all", "all"], 0], [[2, 1], 0], [[1, 3], 1], [
      ["all", 1],
      1,
    ]] as const
  ) {
    const scheme = {
      format: block[0] === 1 ? int8 : uint8,
      block,
      step: "f32",
      zeroPoint: true,
      offset: true,
      range: "static",
    } as const;
    const x = randomTensor(quantizedType(scheme, [5, 6]), 3);
    const indices = indexTensor([2, 2], [4, -1, 0, 9], "i64");
    const [direct] = runOp("gather", [x, indices], { axis });
    const [decoded] = runOp("dequantize", [x], {});
    assert.deepEqual(direct, runOp("gather", [decoded, indices], { axis })[0], `${block} along ${axis}`);
  }
});

Deno.test("gatherElements and scatterElements exchange the axis for the index", () => {
  const cases = fc.record({ ...common, shorter: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }) });
  assertWithMutants(
    cases,
    ["last axis always"],
    ({ element, shape, pick, indexElement, values, seed, shorter }, mutant) => {
      const axis = pick % shape.length;
      const x = randomTensor(tensorType(element, shape), seed);
      const indexShape = shape.map((extent, place) => (shorter[place] ? Math.ceil(extent / 2) : extent));
      const indices = indexTensor(indexShape, values, indexElement);
      const [y] = runOp("gatherElements", [x, indices], { axis });
      const along = mutant === "none" ? axis : shape.length - 1;
      for (const index of eachIndex(indexShape)) {
        const source = index.with(along, resolved(entryAt(indices, index), shape[along]));
        assert.equal(entryAt(y, index), entryAt(x, source));
      }
    },
  );
});

/** old and update combined, as the element's arithmetic rounds or wraps it. */
function combined(element: ElementType, reduction: ScatterReduction, old: number, update: number): number {
  const results = {
    none: update,
    add: old + update,
    mul: old * update,
    max: Math.max(old, update),
    min: Math.min(old, update),
  };
  const value = results[reduction];
  if (element === "f32") return Math.fround(value);
  const bits = element === "u8" ? 8 : element === "i32" ? 32 : 64;
  return Number(element === "u8" ? BigInt.asUintN(bits, BigInt(value)) : BigInt.asIntN(bits, BigInt(value)));
}

const reductions = fc.constantFrom<ScatterReduction>("none", "add", "mul", "max", "min");
const scatterElement = fc.constantFrom<ElementType>("u8", "f32", "i64", "i32");

Deno.test("scatterElements applies updates in order, duplicates included", () => {
  const cases = fc.record({ ...common, element: scatterElement, reduction: reductions });
  assertWithMutants(cases, ["reverse order", "reduction dropped"], (of, mutant) => {
    const { element, shape, pick, indexElement, values, seed, reduction } = of;
    const axis = pick % shape.length;
    const x = randomTensor(tensorType(element, shape), seed);
    const updates = randomTensor(tensorType(element, shape), seed + 1);
    const indices = indexTensor(shape, values, indexElement);
    const [y] = runOp("scatterElements", [x, indices, updates], { axis, reduction });
    const expected = entriesOf(x);
    const order = [...eachIndex(shape)];
    if (mutant === "reverse order") order.reverse();
    for (const index of order) {
      const at = flatten(index.with(axis, resolved(entryAt(indices, index), shape[axis])), shape);
      const kind = mutant === "reduction dropped" ? "none" : reduction;
      expected[at] = combined(element, kind, expected[at], entryAt(updates, index));
    }
    assert.deepEqual(entriesOf(y), expected);
  });
});

const tuples = fc.record({ ...common, depth: fc.nat(), batchAxes: fc.nat(), count: fc.integer({ min: 1, max: 4 }) });

Deno.test("gatherNd reads slices at index tuples, per batch", () => {
  assertWithMutants(tuples, ["batch ignored"], (of, mutant) => {
    const { element, shape, indexElement, values, seed, count } = of;
    const batchAxes = of.batchAxes % shape.length;
    const depth = 1 + of.depth % (shape.length - batchAxes);
    const x = randomTensor(tensorType(element, shape), seed);
    const lead = [...shape.slice(0, batchAxes), count];
    const indices = indexTensor([...lead, depth], values, indexElement);
    const [y] = runOp("gatherNd", [x, indices], { batchAxes });
    assert.deepEqual(y.shape, [...lead, ...shape.slice(batchAxes + depth)]);
    for (const index of eachIndex(y.shape)) {
      const place = index.slice(0, lead.length);
      const tuple = Array.from(
        { length: depth },
        (_, k) => resolved(entryAt(indices, [...place, k]), shape[batchAxes + k]),
      );
      const batch = place.slice(0, batchAxes).map((position) => (mutant === "none" ? position : 0));
      assert.equal(entryAt(y, index), entryAt(x, [...batch, ...tuple, ...index.slice(lead.length)]));
    }
  });
});

Deno.test("scatterNd writes slices at index tuples in order", () => {
  const cases = fc.tuple(tuples, reductions, scatterElement);
  assertWithMutants(cases, ["reverse order"], ([of, reduction, element], mutant) => {
    const { shape, indexElement, values, seed, count } = of;
    const depth = 1 + of.depth % shape.length;
    const x = randomTensor(tensorType(element, shape), seed);
    const indices = indexTensor([count, depth], values, indexElement);
    const tail = shape.slice(depth);
    const updates = randomTensor(tensorType(element, [count, ...tail]), seed + 1);
    const [y] = runOp("scatterNd", [x, indices, updates], { reduction });
    const expected = entriesOf(x);
    const order = [...eachIndex([count, ...tail])];
    if (mutant === "reverse order") order.reverse();
    for (const [row, ...inner] of order) {
      const tuple = Array.from({ length: depth }, (_, k) => resolved(entryAt(indices, [row, k]), shape[k]));
      const at = flatten([...tuple, ...inner], shape);
      expected[at] = combined(element, reduction, expected[at], entryAt(updates, [row, ...inner]));
    }
    assert.deepEqual(entriesOf(y), expected);
  });
});

Deno.test("a scatter leaves its operand as it was", () => {
  const x = randomTensor(tensorType("f32", [3]), 1);
  const before = entriesOf(x);
  runOp("scatterNd", [x, indexTensor([1, 1], [0], "i32"), randomTensor(tensorType("f32", [1]), 2)], {
    reduction: "none",
  });
  assert.deepEqual(entriesOf(x), before);
});
