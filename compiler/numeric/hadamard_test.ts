import assert from "node:assert/strict";
import {
  applyHadamard,
  cosineMatrix,
  hadamardFactors,
  hadamardMatrix,
  kronecker,
  orthogonalFactors,
  type SquareMatrix,
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

const orders = [1, 2, 4, 8, 12, 20, 24, 28, 36, 40, 44, 48, 52, 60, 64, 76, 100, 108, 140, 156, 172, 192, 352, 576];

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

Deno.test("applyHadamard equals the dense product and keeps the length", () => {
  for (const order of [8, 12, 48, 172, 576]) {
    const factors = hadamardFactors(order);
    assert.ok(factors !== undefined);
    const width = { order: 2 ** factors.doublings, entries: hadamardMatrix(2 ** factors.doublings)?.entries };
    assert.ok(width.entries !== undefined);
    const dense = kronecker(factors.core, { order: width.order, entries: width.entries });
    const x = Float64Array.from({ length: order }, (_, index) => Math.sin(index * index + 1));
    const expected = Float64Array.from({ length: order }, (_, column) => {
      let sum = 0;
      for (let row = 0; row < order; row++) sum += x[row] * dense.entries[row * order + column];
      return sum / Math.sqrt(order);
    });
    const actual = x.slice();
    applyHadamard(actual, factors);
    const error = Math.max(...actual.map((value, index) => Math.abs(value - expected[index])));
    assert.ok(error <= order * 2 ** -50, `order ${order}: ${error}`);
  }
});
