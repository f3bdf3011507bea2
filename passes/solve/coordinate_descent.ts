/**
 * QuantEase: cyclic coordinate descent on the quantized weights.
 *
 *   S = X Xᵀ,  b_j = Ŵ_j + [(W - Ŵ) S]_j / S_jj,  Ŵ_j = grid(b_j)
 *
 * Each column update is the exact minimizer of the output error over that column's grid, so the error never rises
 * in a sweep that rounds. Needs no inverse and no damping. Run after GPTQ it polishes the result.
 * Source: Behdin et al. 2023 (QuantEase), arXiv 2309.01885.
 */

import { addProduct, part } from "../../compiler/numeric/dense/product.ts";
import { type Matrix, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { type ColumnGrid, columnRun } from "./gptq.ts";

/** Columns whose changes reach the other columns together. Changes speed, not results beyond rounding. */
const lazyBlock = 64;

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
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (let from = 0; from < columns; from += lazyBlock) {
      const to = Math.min(columns, from + lazyBlock);
      const changes = descendBlock(current, columnRun(gradient, from, to), hessian, grid, from);
      const others = part(viewOf(hessian), from, to, 0, columns);
      addProduct(viewOf(gradient), viewOf(changes), others, { gain: -1, precision: "f64" });
    }
  }
  return current;
}

/**
 * One pass over the columns from `from` on whose gradient [rows, columns of the block] is given; it follows every change at
 * once. What each weight has moved by.
 */
function descendBlock(current: Matrix, gradient: Matrix, hessian: Matrix, grid: ColumnGrid, from: number): Matrix {
  const { rows, columns } = current;
  const width = gradient.columns;
  const changes = zeroMatrix(rows, width);
  const values = new Float64Array(rows);
  const rounded = new Float64Array(rows);
  for (let j = 0; j < width; j++) {
    const column = from + j;
    const factors = hessian.entries.subarray(column * columns + from, column * columns + from + width);
    const curvature = factors[j];
    if (!(curvature > 0)) continue;
    for (let row = 0; row < rows; row++) {
      values[row] = current.entries[row * columns + column] + gradient.entries[row * width + j] / curvature;
    }
    grid.round(column, values, rounded);
    for (let row = 0; row < rows; row++) {
      const place = row * columns + column;
      const change = rounded[row] - current.entries[place];
      if (change === 0) continue;
      current.entries[place] = rounded[row];
      changes.entries[row * width + j] = change;
      for (let k = 0; k < width; k++) gradient.entries[row * width + k] -= change * factors[k];
    }
  }
  return changes;
}

/** (W - Ŵ) S. */
function residualProduct(weights: Matrix, current: Matrix, hessian: Matrix): Matrix {
  const { rows, columns } = weights;
  const difference = zeroMatrix(rows, columns);
  for (let at = 0; at < difference.entries.length; at++) {
    difference.entries[at] = weights.entries[at] - current.entries[at];
  }
  const product = zeroMatrix(rows, columns);
  addProduct(viewOf(product), viewOf(difference), viewOf(hessian), { precision: "f64" });
  return product;
}
