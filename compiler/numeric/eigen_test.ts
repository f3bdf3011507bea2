import assert from "node:assert/strict";
import { normalArray } from "../../tests/support/random.ts";
import { spectralMap, symmetricEigen } from "./eigen.ts";
import type { Matrix } from "./linalg.ts";

function randomSymmetric(n: number, seed: number, rank = n): Matrix {
  const factor = normalArray(n * rank, seed);
  const entries = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < rank; k++) entries[i * n + j] += factor[i * rank + k] * factor[j * rank + k];
    }
  }
  return { rows: n, columns: n, entries };
}

/** Rounding of n³ operations on numbers up to the largest eigenvalue; 8 for the constants of both phases. */
const boundOf = (n: number, largest: number) => 8 * n * n * largest * 2 ** -53;

Deno.test("eigenvectors are orthonormal, values fall, and together they make the matrix", () => {
  for (const [n, rank] of [[1, 1], [2, 2], [3, 3], [8, 8], [17, 17], [40, 40], [12, 3], [9, 0]]) {
    const matrix = randomSymmetric(n, n + 1, rank);
    const eigen = symmetricEigen(matrix);
    const largest = Math.max(1, Math.abs(eigen.values[0]));
    for (let k = 1; k < n; k++) assert.ok(eigen.values[k] <= eigen.values[k - 1]);
    const bound = boundOf(n, largest);
    const identity = spectralMap(eigen, () => 1);
    const again = spectralMap(eigen, (value) => value);
    for (let i = 0; i < n * n; i++) {
      assert.ok(Math.abs(identity.entries[i] - (i % (n + 1) === 0 ? 1 : 0)) <= boundOf(n, 1));
      assert.ok(Math.abs(again.entries[i] - matrix.entries[i]) <= bound, `${n}, rank ${rank}`);
    }
  }
});

Deno.test("diagonal, repeated and negative eigenvalues", () => {
  const entries = Float64Array.of(3, 0, 0, 0, -2, 0, 0, 0, 3);
  assert.deepEqual([...symmetricEigen({ rows: 3, columns: 3, entries }).values], [3, 3, -2]);
  const swap = symmetricEigen({ rows: 2, columns: 2, entries: Float64Array.of(0, 1, 1, 0) });
  assert.ok(Math.abs(swap.values[0] - 1) < 1e-15 && Math.abs(swap.values[1] + 1) < 1e-15);
});
