import assert from "node:assert/strict";
import fc from "fast-check";
import { evaluateShape, type Extent, shapeBound, symbolic } from "../../compiler/ir/extent.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { sizeOf, stridesOf } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { sameOrder, viewsOf } from "./views.ts";

/** Byte-for-byte truth: whether entry i of one dense-over-bounds array lies where entry i of the other does. */
function liesAlike(before: readonly Extent[], after: readonly Extent[], max: number): boolean {
  const symbols = { seq: { min: 1, max } };
  const offsetOf = (shape: readonly number[], strides: readonly number[], index: number) => {
    let offset = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      offset += (index % shape[axis]) * strides[axis];
      index = Math.floor(index / shape[axis]);
    }
    return offset;
  };
  for (let seq = 1; seq <= max; seq++) {
    const from = evaluateShape(before, { seq });
    const to = evaluateShape(after, { seq });
    const fromStrides = stridesOf(shapeBound(before, symbols));
    const toStrides = stridesOf(shapeBound(after, symbols));
    for (let index = 0; index < sizeOf(from); index++) {
      if (offsetOf(from, fromStrides, index) !== offsetOf(to, toStrides, index)) return false;
    }
  }
  return true;
}

const seq = symbolic("seq");

/** Pairs of shapes of one size: 2, 3 and seq in some order, cut into axes in some way. */
const reshapes = fc.shuffledSubarray([2, 3, "seq"] as const, { minLength: 3 }).chain((order) =>
  fc.tuple(
    fc.constant(order),
    fc.array(fc.boolean(), { minLength: 2, maxLength: 2 }),
    fc.array(fc.boolean(), {
      minLength: 2,
      maxLength: 2,
    }),
  )
).map(([order, cutsBefore, cutsAfter]) => {
  const cut = (cuts: readonly boolean[]): Extent[] => {
    const shape: Extent[] = [];
    order.forEach((factor, index) => {
      const last = shape[shape.length - 1];
      const extent = factor === "seq" ? seq : factor;
      if (last === undefined || cuts[index - 1]) shape.push(extent);
      else if (typeof last === "number" && typeof extent === "number") shape[shape.length - 1] = last * extent;
      else {
        const scale = typeof last === "number" ? last : Number(extent);
        const symbol = typeof last === "number" ? seq : last;
        shape[shape.length - 1] = { ...symbol, factor: symbol.factor * scale };
      }
    });
    return shape;
  };
  return [cut(cutsBefore), cut(cutsAfter)] as const;
});

Deno.test("sameOrder allows a view only where every entry keeps its place", () => {
  fc.assert(fc.property(reshapes, ([before, after]) => {
    if (sameOrder(before, after)) assert.ok(liesAlike(before, after, 4));
  }));
});

Deno.test("sameOrder sees the reshapes of attention heads and refuses to merge a batch with a sequence", () => {
  assert.ok(sameOrder([1, seq, 64], [1, seq, 8, 8]));
  assert.ok(sameOrder([2, seq, 64], [2, seq, 8, 8]));
  assert.ok(sameOrder([1, seq, 64], [seq, 64]));
  assert.ok(!sameOrder([2, seq, 64], [symbolic("seq", 2), 64]));
  assert.ok(!liesAlike([2, seq, 64], [symbolic("seq", 2), 64], 3));
});

Deno.test("viewsOf makes a view of an aligned slice of leading entries, and of no other", () => {
  const builder = new GraphBuilder("slices");
  const x = builder.input("x", tensorType("f32", [1, 8, 6]));
  const slice = (start: number, extent: number, axis: number) =>
    builder.add("slice", [x], {
      starts: [0, 0, 0].map((_, index) => (index === axis ? start : 0)),
      steps: [1, 1, 1],
      extents: [1, 8, 6].map((whole, index) => (index === axis ? extent : whole)),
    });
  const values = [slice(2, 3, 1), slice(1, 3, 1), slice(0, 4, 2)];
  const graph = builder.finish();
  const offsets = values.map((value) => {
    const node = graph.nodes.find(({ outputs }) => outputs[0] === value);
    return node && viewsOf(node, graph)?.[0].offset;
  });
  assert.deepEqual(offsets, [48, undefined, undefined]);
});
