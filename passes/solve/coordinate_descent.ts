/**
 * QuantEase: cyclic coordinate descent on the quantized weights.
 *
 *   S = X Xᵀ,  b_j = Ŵ_j + [(W - Ŵ) S]_j / S_jj,  Ŵ_j = grid(b_j)
 *
 * Each column update is the exact minimizer of the output error over that column's grid, so the error never rises
 * in a sweep that rounds. Needs no inverse and no damping. Run after GPTQ it polishes the result.
 * Source: Behdin et al. 2023 (QuantEase), arXiv 2309.01885.
 */

import { type Matrix, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import type { ColumnGrid } from "./gptq.ts";

/**
 * Improves `start` (on the grid) against `hessian` in `sweeps` passes over the columns. Columns with a zero on the
 * diagonal stay as they are.
 */
export function coordinateDescent(
  weights: Matrix,
  start: Matrix,
  hessian: Matrix,
  grid: ColumnGrid,
  sweeps: number,
): Matrix {
  const { rows, columns } = weights;
  const current = { rows, columns, entries: start.entries.slice() };
  const gradient = residualProduct(weights, current, hessian);
  const values = new Float64Array(rows);
  const rounded = new Float64Array(rows);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (let j = 0; j < columns; j++) {
      const curvature = hessian.entries[j * columns + j];
      if (!(curvature > 0)) continue;
      for (let row = 0; row < rows; row++) {
        const place = row * columns + j;
        values[row] = current.entries[place] + gradient.entries[place] / curvature;
      }
      grid.round(j, values, rounded);
      for (let row = 0; row < rows; row++) {
        const place = row * columns;
        const change = rounded[row] - current.entries[place + j];
        if (change === 0) continue;
        current.entries[place + j] = rounded[row];
        for (let k = 0; k < columns; k++) gradient.entries[place + k] -= change * hessian.entries[j * columns + k];
      }
    }
  }
  return current;
}

/** (W - Ŵ) S. */
function residualProduct(weights: Matrix, current: Matrix, hessian: Matrix): Matrix {
  const { rows, columns } = weights;
  const product = zeroMatrix(rows, columns);
  for (let row = 0; row < rows; row++) {
    const place = row * columns;
    for (let j = 0; j < columns; j++) {
      const difference = weights.entries[place + j] - current.entries[place + j];
      if (difference === 0) continue;
      for (let k = 0; k < columns; k++) product.entries[place + k] += difference * hessian.entries[j * columns + k];
    }
  }
  return product;
}
