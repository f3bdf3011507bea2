import assert from "node:assert/strict";
import {
  cosineMatrix,
  hadamardFactors,
  hadamardMatrix,
  kronecker,
  orthogonalFactors,
  type SquareMatrix,
  squareMatrix,
  transformRuns,
} from "./hadamard.ts";

/** Largest deviation of M Mᵀ from n·I. */
function orthogonalityError({ order, entries }: SquareMatrix): number {
  let worst = 0;
  for (let a = 0; a < order; a++) {
    for (let b = 0; b <= a; b++) {
      let dot = 0;
      for (let k = 0; k < order; k++) dot += entries[a * order + k] * entries[b * order + k];
      worst = Math.max(worst, Math.abs(dot - (a === b ? order : 0)));
    }
  }
  return worst;
}

const orders = [
  1,
  2,
  4,
  8,
  12,
  20,
  24,
  28,
  36,
  40,
  44,
  48,
  52,
  60,
  64,
  76,
  100,
  108,
  140,
  156,
  172,
  192,
  312,
  344,
  352,
  576,
  1536,
];

Deno.test("every constructed order has entries ±1 and H Hᵀ = n I exactly", () => {
  for (const order of orders) {
    const matrix = hadamardMatrix(order);
    assert.ok(matrix !== undefined, `order ${order} is constructed`);
    assert.equal(matrix.order, order);
    assert.ok(matrix.entries.every((entry) => entry === 1 || entry === -1), `order ${order} holds signs`);
    assert.equal(orthogonalityError(matrix), 0, `order ${order}`);
  }
});

Deno.test("the orthogonality check finds one flipped sign", () => {
  const matrix = hadamardMatrix(172);
  assert.ok(matrix !== undefined);
  const entries = matrix.entries.slice();
  entries[172 * 5 + 7] *= -1;
  assert.ok(orthogonalityError({ order: 172, entries }) > 0);
});

Deno.test("orders of the models at hand have small cores", () => {
  const core = (order: number) => hadamardFactors(order)?.core.order;
  assert.deepEqual([172, 352, 576, 1536, 4096, 14336].map(core), [172, 44, 36, 12, 1, 28]);
});

Deno.test("no Hadamard matrix is claimed for odd orders above 1 or 2 mod 4", () => {
  for (const order of [0, 3, 6, 7, 10, 18, 86, 2.5]) assert.equal(hadamardFactors(order), undefined);
});

Deno.test("orthogonalFactors covers every order", () => {
  for (const order of [3, 6, 7, 10, 86, 214]) {
    const { core, doublings } = orthogonalFactors(order);
    assert.equal(core.order * 2 ** doublings, order);
    // Rounding of a dot product of n terms of size at most 2: n · 2 · 2^-53 per term, n terms.
    assert.ok(orthogonalityError(core) <= core.order * core.order * 4 * 2 ** -53);
  }
  assert.ok(orthogonalityError(cosineMatrix(107)) <= 107 * 107 * 4 * 2 ** -53);
});

Deno.test("transformRuns equals the dense product of core, Sylvester and identity, run by run", () => {
  for (const [order, stride, runs] of [[8, 1, 1], [12, 1, 2], [48, 3, 1], [172, 1, 1], [24, 5, 2], [6, 2, 3]]) {
    const { core, doublings } = orthogonalFactors(order);
    const identity = squareMatrix(stride, (row, column) => (row === column ? 1 : 0));
    const sylvester = hadamardMatrix(2 ** doublings);
    assert.ok(sylvester !== undefined);
    const dense = kronecker(kronecker(core, sylvester), identity);
    const run = order * stride;
    const x = Float64Array.from({ length: run * runs }, (_, index) => Math.sin(index * index + 1));
    const actual = x.slice();
    transformRuns(actual, core, doublings, stride);
    actual.forEach((value, index) => {
      const [start, column] = [index - index % run, index % run];
      let sum = 0;
      for (let row = 0; row < run; row++) sum += x[start + row] * dense.entries[row * run + column];
      // `order` terms below √2 by either side, one rounding each.
      assert.ok(Math.abs(value - sum) <= 2 * order * order * 2 ** -52, `${order} apart by ${stride}`);
    });
  }
});
