import assert from "node:assert/strict";
import { normalArray } from "../../tests/support/random.ts";
import { channelGrids, type Grid, normalStep, tensorGrid } from "./step_search.ts";

function errorOf(values: Float32Array, { step, zero }: Grid, top: number): number {
  return values.reduce((sum, value) => {
    const scaled = value / step + zero;
    const code = Math.max(-top - 1, Math.min(top, Math.round(scaled)));
    return sum + (value - (code - zero) * step) ** 2;
  }, 0);
}

const values = normalArray(4000, 1);
const rows = (data: Float32Array) => ({ columns: 1, count: data.length, data });

/** Expected squared error of a normal variable, by sums over a fine grid of its density. */
function normalError(step: number, top: number): number {
  let sum = 0;
  for (let x = -8; x <= 8; x += 1 / 1024) {
    const code = Math.max(-top - 1, Math.min(top, Math.round(x / step)));
    sum += Math.exp(-x * x / 2) * (x - code * step) ** 2;
  }
  return sum;
}

Deno.test("the constant steps have the least expected error of a normal variable", () => {
  for (const bits of [3, 4, 5, 6, 7, 8]) {
    const top = 2 ** (bits - 1) - 1;
    const [best, less, more] = [1, 0.97, 1.03].map((factor) => normalError(factor * normalStep(bits, 1), top));
    assert.ok(best < less && best < more, `${bits} bits: ${best} against ${less} and ${more}`);
    assert.equal(normalStep(bits, 3), 3 * normalStep(bits, 1));
  }
});

Deno.test("a search never has more squared error than the whole range", () => {
  for (const symmetric of [true, false]) {
    const [searched, whole] = (["search", "none"] as const).map((clip) =>
      errorOf(values, tensorGrid(rows(values), { top: 7, clip, symmetric }), 7)
    );
    assert.ok(searched < 0.8 * whole, `${searched} against ${whole}`);
  }
});

Deno.test("zero points follow the middle of the range: a shifted or one-sided channel errs as little as a centred one", () => {
  const top = 7;
  const centred = errorOf(values, tensorGrid(rows(values), { top, clip: "search", symmetric: false }), top);
  for (const shift of [2, -3]) {
    const shifted = values.map((value) => value + shift);
    const grid = tensorGrid(rows(shifted), { top, clip: "none", symmetric: false });
    assert.ok(Number.isInteger(grid.zero) && grid.zero >= -top - 1 && grid.zero <= top);
    const symmetric = errorOf(shifted, tensorGrid(rows(shifted), { top, clip: "search", symmetric: true }), top);
    const searched = errorOf(shifted, tensorGrid(rows(shifted), { top, clip: "search", symmetric: false }), top);
    // A zero point is whole: it misses the middle by half a step at most, which shortens one end of the range.
    assert.ok(
      searched < 1.5 * centred && searched < symmetric,
      `shift ${shift}: ${searched}, ${symmetric}, ${centred}`,
    );
  }
});

Deno.test("every channel has a grid of its own, tied columns share one, and one that never moves is held at zero", () => {
  const data = Float32Array.from(
    { length: 40 },
    (_, index) => [index % 7, 10 * (index % 5), 0, 5 * (index % 3)][index % 4],
  );
  const grids = channelGrids({ columns: 4, count: 10, data }, Int32Array.of(0, 1, 2, 1), 3, {
    top: 7,
    clip: "none",
    symmetric: true,
  });
  assert.equal(grids.length, 3);
  assert.ok(Math.abs(grids[0].step - 6 / 7) < 1e-6 && Math.abs(grids[1].step - 40 / 7) < 1e-5);
  assert.ok(grids[2].step > 0 && grids[2].zero === 0);
});
