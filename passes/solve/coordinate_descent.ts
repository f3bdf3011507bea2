/**
 * QuantEase: cyclic coordinate descent on the quantized weights.
 *
 *   S = X Xᵀ,  b_j = Ŵ_j + [(W - Ŵ) S]_j / S_jj,  Ŵ_j = grid(b_j)
 *
 * Each column update is the exact minimizer of the output error over that column's grid, so the error never rises
 * in a sweep that rounds. Needs no inverse and no damping. Run after GPTQ it polishes the result.
 * Source: Behdin et al. 2023 (QuantEase), arXiv 2309.01885.
 */

import { addProduct, part, rowMajor } from "../../compiler/numeric/dense/product.ts";
import { type Matrix, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import type { ColumnGrid } from "./gptq.ts";

/** Columns whose changes reach the other columns together. Changes speed, not results beyond rounding. */
const lazyBlock = 128;

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
  const changes = new Float64Array(rows * lazyBlock);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (let from = 0; from < columns; from += lazyBlock) {
      const to = Math.min(columns, from + lazyBlock);
      if (!descendBlock(current, gradient, hessian, grid, from, to, changes)) continue;
      const spread = part(rowMajor(changes, rows, lazyBlock), 0, rows, 0, to - from);
      for (const [left, right] of [[0, from], [to, columns]]) {
        const others = part(viewOf(hessian), from, to, left, right);
        addProduct(part(viewOf(gradient), 0, rows, left, right), spread, others, { gain: -1, precision: "f64" });
      }
    }
  }
  return current;
}

/**
 * One pass over the columns [from, to). Their own gradients follow at once; `changes` [rows, lazyBlock] takes what each
 * weight has moved by. Whether any has.
 */
function descendBlock(
  current: Matrix,
  gradient: Matrix,
  hessian: Matrix,
  grid: ColumnGrid,
  from: number,
  to: number,
  changes: Float64Array,
): boolean {
  const { rows, columns } = current;
  const values = new Float64Array(rows);
  const rounded = new Float64Array(rows);
  let moved = false;
  changes.fill(0);
  for (let j = from; j < to; j++) {
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
      moved = true;
      current.entries[place + j] = rounded[row];
      changes[row * lazyBlock + j - from] = change;
      for (let k = from; k < to; k++) gradient.entries[place + k] -= change * hessian.entries[j * columns + k];
    }
  }
  return moved;
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
