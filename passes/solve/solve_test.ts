import assert from "node:assert/strict";
import { roundHalfEven } from "../../compiler/numeric/element.ts";
import { addGram, type Matrix, mirror, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { normalArray } from "../../tests/support/random.ts";
import { coordinateDescent } from "./coordinate_descent.ts";
import { type ColumnGrid, defaultGptq, gptq, outputError } from "./gptq.ts";

/** A symmetric integer grid with one step per row. */
function rowGrid(weights: Matrix, bits: number): ColumnGrid {
  const top = 2 ** (bits - 1) - 1;
  const steps = Array.from({ length: weights.rows }, (_, row) => {
    const values = weights.entries.subarray(row * weights.columns, (row + 1) * weights.columns);
    return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / top;
  });
  return {
    round: (_, values, rounded) => {
      values.forEach((value, row) => {
        rounded[row] = Math.max(-top - 1, Math.min(top, roundHalfEven(value / steps[row]))) * steps[row];
      });
    },
  };
}

function roundToNearest(weights: Matrix, grid: ColumnGrid): Matrix {
  const result = zeroMatrix(weights.rows, weights.columns);
  const values = new Float64Array(weights.rows);
  const rounded = new Float64Array(weights.rows);
  for (let column = 0; column < weights.columns; column++) {
    for (let row = 0; row < weights.rows; row++) values[row] = weights.entries[row * weights.columns + column];
    grid.round(column, values, rounded);
    for (let row = 0; row < weights.rows; row++) result.entries[row * weights.columns + column] = rounded[row];
  }
  return result;
}

/** Correlated inputs: each channel is a mixture of a few shared factors and its own noise. */
function problem(seed: number): { readonly weights: Matrix; readonly hessian: Matrix } {
  const [rows, columns, samples, factors] = [24, 96, 400, 8];
  const mixing = normalArray(factors * columns, seed);
  const shared = normalArray(samples * factors, seed + 1);
  const noise = normalArray(samples * columns, seed + 2);
  const inputs = Float32Array.from({ length: samples * columns }, (_, index) => {
    const [sample, column] = [Math.floor(index / columns), index % columns];
    let value = 0.3 * noise[index];
    for (let k = 0; k < factors; k++) value += shared[sample * factors + k] * mixing[k * columns + column];
    return value;
  });
  const hessian = zeroMatrix(columns, columns);
  addGram(hessian, inputs, samples, 2 / samples);
  mirror(hessian);
  const weights = { rows, columns, entries: Float64Array.from(normalArray(rows * columns, seed + 3)) };
  return { weights, hessian };
}

Deno.test("the output error falls: round to nearest, then GPTQ, then coordinate descent", () => {
  for (const seed of [1, 11, 21]) {
    for (const bits of [3, 4]) {
      const { weights, hessian } = problem(seed);
      const grid = rowGrid(weights, bits);
      const nearest = outputError(weights, roundToNearest(weights, grid), hessian);
      const swept = gptq(weights, hessian, grid).weights;
      const polished = coordinateDescent(weights, swept, hessian, grid, 2);
      assert.ok(outputError(weights, swept, hessian) < nearest);
      assert.ok(outputError(weights, polished, hessian) <= outputError(weights, swept, hessian));
    }
  }
});

Deno.test("with an identity Hessian GPTQ is round to nearest", () => {
  const { weights } = problem(5);
  const identity = zeroMatrix(weights.columns, weights.columns);
  for (let i = 0; i < weights.columns; i++) identity.entries[i * weights.columns + i] = 1;
  const grid = rowGrid(weights, 4);
  assert.deepEqual(gptq(weights, identity, grid).weights.entries, roundToNearest(weights, grid).entries);
});

Deno.test("the lazy block changes speed, not results", () => {
  const { weights, hessian } = problem(7);
  const grid = rowGrid(weights, 4);
  const whole = gptq(weights, hessian, grid, { ...defaultGptq, lazyBlock: weights.columns }).weights.entries;
  for (const lazyBlock of [1, 7, 32]) {
    const blocked = gptq(weights, hessian, grid, { ...defaultGptq, lazyBlock }).weights.entries;
    const moved = blocked.filter((value, index) => value !== whole[index]).length;
    // The order of the subtractions differs, so a weight within rounding of a tie may land on the other side.
    assert.ok(moved <= whole.length / 1000, `${moved} of ${whole.length} weights differ`);
  }
});

Deno.test("a sweep that spreads errors with the wrong sign loses to round to nearest", () => {
  const { weights, hessian } = problem(9);
  const grid = rowGrid(weights, 4);
  const nearest = outputError(weights, roundToNearest(weights, grid), hessian);
  const flipped = zeroMatrix(weights.columns, weights.columns);
  for (let i = 0; i < hessian.entries.length; i++) {
    const diagonal = i % (weights.columns + 1) === 0;
    flipped.entries[i] = diagonal ? hessian.entries[i] * weights.columns : -hessian.entries[i];
  }
  assert.ok(outputError(weights, gptq(weights, flipped, grid).weights, hessian) > nearest);
});

Deno.test("dead input channels and a singular Hessian still give weights on the grid", () => {
  const { weights, hessian } = problem(13);
  const n = weights.columns;
  for (let k = 0; k < n; k++) {
    hessian.entries[3 * n + k] = 0;
    hessian.entries[k * n + 3] = 0;
  }
  const grid = rowGrid(weights, 4);
  const result = gptq(weights, hessian, grid, { ...defaultGptq, damping: 1e-12 });
  const again = roundToNearest(result.weights, grid);
  assert.deepEqual(again.entries, result.weights.entries);
});
