import assert from "node:assert/strict";
import fc from "fast-check";
import { symbolic } from "../../compiler/ir/extent.ts";
import { sizeOf, stridesOf } from "../../compiler/ir/tensor.ts";
import { axisGroups } from "./lower/movement.ts";
import { axisRange, joinAxes } from "./space.ts";

const shapes = fc.array(fc.constantFrom(1, 2, 3, 5), { maxLength: 5 });

/** Strides of a participant of `shape` that broadcasts along some axes. */
const walks = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    kept: fc.array(fc.tuple(...shape.map(() => fc.boolean())), { minLength: 1, maxLength: 3 }),
  })
);

/** Places that a participant visits, in order, over axes with these extents and strides. */
function places(extents: readonly number[], strides: readonly number[]): number[] {
  let visited = [0];
  extents.forEach((extent, axis) => {
    visited = visited.flatMap((place) => Array.from({ length: extent }, (_, index) => place + index * strides[axis]));
  });
  return visited;
}

Deno.test("joined axes visit the places of the whole shape in order, for every participant", () => {
  fc.assert(fc.property(walks, ({ shape, kept }) => {
    const participants = kept.map((own) => {
      const strides = stridesOf(shape.map((extent, axis) => (own[axis] ? extent : 1)));
      return strides.map((stride, axis) => (own[axis] ? stride : 0));
    });
    const joined = joinAxes(shape, axisRange(0, shape.length), participants);
    for (const strides of participants) {
      const extents = joined.map(({ extent }) => Number(extent));
      assert.deepEqual(places(extents, joined.map(({ axis }) => strides[axis])), places(shape, strides));
    }
  }));
});

Deno.test("dense axes join into one; rows of a symbolic extent join outwards only", () => {
  const strides = stridesOf([2, 3, 4]);
  assert.deepEqual(joinAxes([2, 3, 4], [0, 1, 2], [strides, strides]), [{ axis: 2, extent: 24 }]);
  assert.deepEqual(joinAxes([2, 3, 4], [0, 1, 2], [strides, [0, 4, 1]]), [{ axis: 0, extent: 2 }, {
    axis: 2,
    extent: 12,
  }]);
  const seq = symbolic("seq");
  const bound = stridesOf([2, 9, 4]);
  assert.deepEqual(joinAxes([2, seq, 4], [0, 1, 2], [bound]), [
    { axis: 0, extent: 2 },
    { axis: 2, extent: symbolic("seq", 4) },
  ]);
});

Deno.test("a reshape's groups hold every axis once, in order, with equal products on both sides", () => {
  const pair = fc.array(fc.constantFrom(1, 2, 3, 4, 6), { minLength: 1, maxLength: 5 }).chain((from) =>
    fc.tuple(
      fc.constant(from),
      fc.shuffledSubarray(from, { minLength: from.length, maxLength: from.length }),
      fc.nat(3),
    )
  );
  fc.assert(fc.property(pair, ([from, shuffled, cut]) => {
    // Multiplying two neighbours gives another shape of the same size.
    const to = [...shuffled.slice(0, cut), ...(shuffled.length > cut ? [sizeOf(shuffled.slice(cut))] : [])];
    const groups = axisGroups(from, to);
    assert.deepEqual(groups.flatMap((group) => group.from), axisRange(0, from.length));
    assert.deepEqual(groups.flatMap((group) => group.to), axisRange(0, to.length));
    for (const group of groups) {
      assert.equal(sizeOf(group.from.map((axis) => from[axis])), sizeOf(group.to.map((axis) => to[axis])));
    }
  }));
});

Deno.test("symbolic axes that stay whole make groups of their own", () => {
  const seq = symbolic("seq");
  const groups = axisGroups([2, seq, 12], [2, seq, 3, 4]);
  assert.ok(groups.some(({ from, to }) => from.join() === "1" && to.join() === "1"), JSON.stringify(groups));
});
