import assert from "node:assert/strict";
import { addGram, cholesky, inverseUpperFactor, type Matrix, mirror, zeroMatrix } from "./linalg.ts";

/** Deterministic entries in [-1, 1). */
function entry(seed: number): number {
  const x = Math.sin(seed * 12.9898) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}

function gram(columns: number, count: number): { readonly matrix: Matrix; readonly rows: Float32Array } {
  const rows = Float32Array.from({ length: columns * count }, (_, index) => entry(index + 1));
  const matrix = zeroMatrix(columns, columns);
  addGram(matrix, rows, count, 2);
  mirror(matrix);
  for (let i = 0; i < columns; i++) matrix.entries[i * columns + i] += 1;
  return { matrix, rows };
}

Deno.test("addGram equals the direct sum, within the bound of its float32 runs", () => {
  const columns = 7;
  const count = 531;
  const { matrix, rows } = gram(columns, count);
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = i === j ? 1 : 0;
      let magnitude = 0;
      for (let k = 0; k < count; k++) {
        const term = 2 * rows[k * columns + i] * rows[k * columns + j];
        sum += term;
        magnitude += Math.abs(term);
      }
      assert.ok(Math.abs(matrix.entries[i * columns + j] - sum) <= 257 * 2 ** -24 / (1 - 257 * 2 ** -24) * magnitude);
    }
  }
});

Deno.test("cholesky reproduces the matrix across panels", () => {
  for (const n of [1, 5, 64, 65, 150]) {
    const { matrix } = gram(n, 2 * n);
    const lower = cholesky(matrix);
    assert.ok(lower !== undefined);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += lower.entries[i * n + k] * lower.entries[j * n + k];
        assert.ok(Math.abs(sum - matrix.entries[i * n + j]) < 1e-9 * n);
      }
    }
  }
});

Deno.test("cholesky refuses an indefinite matrix", () => {
  assert.equal(cholesky({ rows: 2, columns: 2, entries: Float64Array.of(1, 2, 2, 1) }), undefined);
  assert.equal(cholesky({ rows: 1, columns: 1, entries: Float64Array.of(NaN) }), undefined);
});

Deno.test("inverseUpperFactor gives the upper U with A Uᵀ U = I", () => {
  const n = 70;
  const { matrix } = gram(n, 2 * n);
  const upper = inverseUpperFactor(matrix);
  assert.ok(upper !== undefined);
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) assert.equal(upper.entries[i * n + j], 0);
  const inverse = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < n; k++) {
        inverse.entries[i * n + j] += upper.entries[k * n + i] * upper.entries[k * n + j];
      }
    }
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += matrix.entries[i * n + k] * inverse.entries[k * n + j];
      assert.ok(Math.abs(sum - (i === j ? 1 : 0)) < 1e-9);
    }
  }
});
