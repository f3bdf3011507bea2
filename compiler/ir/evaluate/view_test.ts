import assert from "node:assert/strict";
import fc from "fast-check";
import { assertWithMutants } from "../../../tests/support/mutants.ts";
import { eachIndex, entriesOf, entryAt, flatten, unflatten } from "../../../tests/support/naive_tensor.ts";
import { randomTensor } from "../../../tests/support/random_tensor.ts";
import { runOp } from "../../../tests/support/run_op.ts";
import type { ElementType } from "../../numeric/element.ts";
import { floatTensor, plainTensor, type Tensor } from "../tensor.ts";
import { tensorType } from "../types.ts";

/** One element of each width. */
const elements = fc.constantFrom<ElementType>("u8", "bf16", "f32", "i64", "f64", "bool");
const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
const tensors = fc.tuple(shapes, elements, fc.nat()).map(([shape, element, seed]) =>
  randomTensor(tensorType(element, shape), seed)
);

/** Every entry of the result is the entry of the operand at the place that the definition says; undefined means `fill`. */
function assertMoved(y: Tensor, x: Tensor, source: (index: number[]) => readonly number[] | undefined, fill = 0): void {
  for (const index of eachIndex(y.shape)) {
    const from = source(index);
    assert.deepEqual(entryAt(y, index), from === undefined ? fill : entryAt(x, from), `at ${index}`);
  }
}

Deno.test("transpose permutes axes", () => {
  const cases = tensors.chain((x) =>
    fc.tuple(fc.constant(x), fc.shuffledSubarray(x.shape.map((_, axis) => axis), { minLength: x.shape.length }))
  );
  assertWithMutants(cases, ["inverse permutation"], ([x, permutation], mutant) => {
    const [y] = runOp("transpose", [x], { permutation });
    assert.deepEqual(y.shape, permutation.map((axis) => x.shape[axis]));
    const inverse = permutation.map((_, axis) => permutation.indexOf(axis));
    assertMoved(y, x, (index) => {
      const source = (mutant === "none" ? inverse : permutation).map((axis) => index[axis]);
      return source.map((position, axis) => position % x.shape[axis]);
    });
  });
});

Deno.test("reshape keeps row-major order", () => {
  const x = randomTensor(tensorType("i64", [3, 4, 5]), 1);
  const [y] = runOp("reshape", [x], { shape: [6, 10] });
  assertMoved(y, x, (index) => unflatten(flatten(index, [6, 10]), [3, 4, 5]));
});

Deno.test("expand repeats axes of extent 1 and adds leading ones", () => {
  const cases = fc.tuple(
    shapes,
    fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
    fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
    elements,
    fc.nat(),
  );
  assertWithMutants(cases, ["trailing axes added"], ([shape, ones, lead, element, seed], mutant) => {
    const x = randomTensor(tensorType(element, shape.map((extent, axis) => (ones[axis] ? 1 : extent))), seed);
    const [y] = runOp("expand", [x], { shape: [...lead, ...shape] });
    assertMoved(y, x, (index) => {
      const own = mutant === "none" ? index.slice(lead.length) : index.slice(0, shape.length);
      return own.map((position, axis) => position % x.shape[axis]);
    });
  });
});

Deno.test("slice walks by its steps, backwards too", () => {
  const cases = tensors.chain((x) =>
    fc.tuple(
      fc.constant(x),
      ...x.shape.map((extent) =>
        fc.tuple(fc.nat({ max: extent - 1 }), fc.constantFrom(-2, -1, 1, 2)).chain(([start, step]) => {
          const room = step > 0 ? Math.floor((extent - 1 - start) / step) : Math.floor(start / -step);
          return fc.nat({ max: room + 1 }).map((count) => ({ start, step, count }));
        })
      ),
    )
  );
  assertWithMutants(cases, ["steps forwards"], ([x, ...axes], mutant) => {
    const [y] = runOp("slice", [x], {
      starts: axes.map(({ start }) => start),
      steps: axes.map(({ step }) => step),
      extents: axes.map(({ count }) => count),
    });
    assertMoved(y, x, (index) =>
      index.map((position, axis) => {
        const { start, step } = axes[axis];
        const at = start + position * (mutant === "none" ? step : Math.abs(step));
        return Math.min(at, x.shape[axis] - 1);
      }));
  });
});

const modes = ["constant", "reflect", "edge", "wrap"] as const;

/** Where an index outside 0..extent comes from, one step at a time. */
function padSource(index: number, extent: number, mode: typeof modes[number]): number | undefined {
  let at = index;
  while (at < 0 || at >= extent) {
    if (mode === "constant") return undefined;
    if (mode === "edge") at = at < 0 ? 0 : extent - 1;
    else if (mode === "wrap") at += at < 0 ? extent : -extent;
    else if (extent === 1) at = 0;
    else at = at < 0 ? -at : 2 * (extent - 1) - at;
  }
  return at;
}

Deno.test("pad in every mode, with crops", () => {
  const cases = tensors.chain((x) =>
    fc.tuple(
      fc.constant(x),
      fc.constantFrom(...modes),
      fc.array(fc.tuple(fc.integer({ min: -1, max: 7 }), fc.integer({ min: -1, max: 7 })), {
        minLength: x.shape.length,
        maxLength: x.shape.length,
      }),
      fc.boolean(),
    )
  ).filter(([x, , amounts]) => x.shape.every((extent, axis) => extent + amounts[axis][0] + amounts[axis][1] >= 0));
  assertWithMutants(
    cases,
    ["pads exchanged", "edge repeated when reflecting"],
    ([x, mode, amounts, hasValue], mutant) => {
      const before = amounts.map(([first]) => first);
      const after = amounts.map(([, last]) => last);
      const value = randomTensor(tensorType(x.element, []), 77);
      const [y] = runOp("pad", hasValue ? [x, value] : [x], { before, after, mode });
      assertMoved(y, x, (index) => {
        const start = mutant === "pads exchanged" ? after : before;
        const sources = index.map((position, axis) => {
          const at = position - start[axis];
          const shifted = mutant === "edge repeated when reflecting" && mode === "reflect" && at < 0 ? at + 1 : at;
          return padSource(shifted, x.shape[axis], mode);
        });
        return sources.includes(undefined) ? undefined : sources.map((source) => source ?? 0);
      }, hasValue ? entryAt(value, []) : 0);
    },
  );
});

Deno.test("concat lines operands up along the axis", () => {
  const cases = fc.tuple(shapes, fc.nat(), fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 3 }), elements).map(
    ([shape, place, extents, element]) => {
      const axis = place % shape.length;
      return {
        axis,
        parts: extents.map((extent, index) => randomTensor(tensorType(element, shape.with(axis, extent)), index)),
      };
    },
  );
  assertWithMutants(cases, ["parts in reverse"], ({ axis, parts }, mutant) => {
    const [y] = runOp("concat", parts, { axis });
    const ordered = mutant === "none" ? parts : [...parts].reverse();
    for (const index of eachIndex(y.shape)) {
      let at = index[axis];
      const part = ordered.find((candidate) => {
        if (at < candidate.shape[axis]) return true;
        at -= candidate.shape[axis];
        return false;
      });
      assert(part !== undefined);
      assert.equal(entryAt(y, index), entryAt(part, index.with(axis, at)));
    }
  });
});

Deno.test("views of empty tensors are empty", () => {
  const x = plainTensor("f32", [0, 3], new Float32Array(0));
  assert.deepEqual(runOp("transpose", [x], { permutation: [1, 0] })[0].shape, [3, 0]);
  assert.deepEqual(entriesOf(runOp("concat", [x, floatTensor([1, 3], [1, 2, 3])], { axis: 0 })[0]), [1, 2, 3]);
  assert.deepEqual(runOp("expand", [x], { shape: [2, 0, 3] })[0].shape, [2, 0, 3]);
});

Deno.test("bits survive being moved: NaN payloads and negative zero", () => {
  const data = new Float32Array(Uint32Array.of(0x7fc12345, 0x80000000, 0xffc00001).buffer);
  const [y] = runOp("transpose", [plainTensor("f32", [1, 3], data)], { permutation: [1, 0] });
  assert(y.kind === "plain" && y.data instanceof Float32Array);
  assert.deepEqual([...new Uint32Array(y.data.buffer)], [0x7fc12345, 0x80000000, 0xffc00001]);
});
