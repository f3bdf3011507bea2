/**
 * GPTQ: rounds a weight matrix column by column and spreads each column's error over the columns still to come.
 *
 *   minimize ‖(W - Ŵ) X‖²,  H = X Xᵀ (+ damping),  H⁻¹ = Uᵀ U
 *   for each column j:  ŵ_j = grid(w_j),  e = (w_j - ŵ_j) / U_jj,  W_{j+1:} -= e · U_{j,j+1:}
 *
 * With H = I the sweep is round to nearest. Columns may be visited in the order of falling diag(H) ("activation order");
 * the grid's blocks stay those of the original columns, so nothing is gathered at run time.
 * Source: Frantar et al. 2022 (GPTQ), arXiv 2210.17323. The grid is a callback, so that codebooks and trellises use the
 * same sweep (LDLQ is the same recursion, Chee et al. 2023).
 */

import { inverseUpperFactor, type Matrix, zeroMatrix } from "../../compiler/numeric/linalg.ts";

/** The inner quantizer of a sweep. */
export interface ColumnGrid {
  /**
   * Rounds one column: `values` holds the column's current weights, one per row; the rounded real values go to
   * `rounded`. `column` is the column's index in the original order.
   */
  readonly round: (column: number, values: Float64Array, rounded: Float64Array) => void;
}

export interface GptqOptions {
  /** Added to the diagonal, as a fraction of its mean; grows tenfold until the factorization succeeds. */
  readonly damping: number;
  /** Visit columns in the order of falling diag(H). */
  readonly activationOrder: boolean;
  /** Columns whose updates are applied together to the rest. Changes speed, not results. */
  readonly lazyBlock: number;
}

export const defaultGptq: GptqOptions = { damping: 0.01, activationOrder: true, lazyBlock: 128 };

export interface GptqResult {
  /** The rounded weights, in the original column order. */
  readonly weights: Matrix;
  /** The damping that was needed. */
  readonly damping: number;
}

/** Most times that damping grows before the Hessian is replaced by its diagonal. */
const dampingTries = 6;

/**
 * Rounds `weights` [rows, columns] against `hessian` [columns, columns] (symmetric, both triangles filled).
 * Columns that no input reaches (a zero on the diagonal) are rounded as they are and pass no error on.
 */
export function gptq(
  weights: Matrix,
  hessian: Matrix,
  grid: ColumnGrid,
  options: GptqOptions = defaultGptq,
): GptqResult {
  const order = visitingOrder(hessian, options.activationOrder);
  const { upper, damping } = factor(permute(hessian, order), options.damping);
  const working = permuteColumns(weights, order);
  const result = zeroMatrix(weights.rows, weights.columns);
  sweep(working, upper, order, grid, options.lazyBlock, result);
  return { weights: result, damping };
}

function visitingOrder(hessian: Matrix, byActivation: boolean): number[] {
  const order = Array.from({ length: hessian.columns }, (_, column) => column);
  if (!byActivation) return order;
  const diagonal = (column: number) => hessian.entries[column * hessian.columns + column];
  return order.sort((a, b) => diagonal(b) - diagonal(a) || a - b);
}

function permute(matrix: Matrix, order: readonly number[]): Matrix {
  const n = matrix.columns;
  const result = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) result.entries[i * n + j] = matrix.entries[order[i] * n + order[j]];
  }
  return result;
}

function permuteColumns(matrix: Matrix, order: readonly number[]): Matrix {
  const result = zeroMatrix(matrix.rows, matrix.columns);
  for (let row = 0; row < matrix.rows; row++) {
    const start = row * matrix.columns;
    for (let j = 0; j < matrix.columns; j++) result.entries[start + j] = matrix.entries[start + order[j]];
  }
  return result;
}

function factor(hessian: Matrix, firstDamping: number): { readonly upper: Matrix; readonly damping: number } {
  const n = hessian.columns;
  let mean = 0;
  for (let i = 0; i < n; i++) {
    const place = i * n + i;
    if (hessian.entries[place] === 0) hessian.entries[place] = 1;
    mean += hessian.entries[place] / n;
  }
  let damping = firstDamping;
  let added = 0;
  for (let attempt = 0; attempt < dampingTries; attempt++, damping *= 10) {
    for (let i = 0; i < n; i++) hessian.entries[i * n + i] += (damping - added) * mean;
    added = damping;
    const upper = inverseUpperFactor(hessian);
    if (upper !== undefined) return { upper, damping };
  }
  // Not positive definite at any damping (NaN or overflow in the statistics): without U the sweep is plain rounding.
  const identity = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) identity.entries[i * n + i] = 1;
  return { upper: identity, damping: Infinity };
}

function sweep(
  working: Matrix,
  upper: Matrix,
  order: readonly number[],
  grid: ColumnGrid,
  lazyBlock: number,
  result: Matrix,
): void {
  const { rows, columns } = working;
  const values = new Float64Array(rows);
  const rounded = new Float64Array(rows);
  const errors = new Float64Array(rows * lazyBlock);
  for (let start = 0; start < columns; start += lazyBlock) {
    const end = Math.min(columns, start + lazyBlock);
    for (let j = start; j < end; j++) {
      for (let row = 0; row < rows; row++) values[row] = working.entries[row * columns + j];
      grid.round(order[j], values, rounded);
      const pivot = 1 / upper.entries[j * columns + j];
      for (let row = 0; row < rows; row++) {
        result.entries[row * columns + order[j]] = rounded[row];
        const error = (values[row] - rounded[row]) * pivot;
        errors[row * lazyBlock + j - start] = error;
        if (error === 0) continue;
        const place = row * columns;
        for (let k = j + 1; k < end; k++) working.entries[place + k] -= error * upper.entries[j * columns + k];
      }
    }
    spread(working, upper, errors, start, end, lazyBlock);
  }
}

/** Applies a block's errors to every later column. */
function spread(
  working: Matrix,
  upper: Matrix,
  errors: Float64Array,
  start: number,
  end: number,
  lazyBlock: number,
): void {
  const { rows, columns } = working;
  for (let row = 0; row < rows; row++) {
    const place = row * columns;
    for (let j = start; j < end; j++) {
      const error = errors[row * lazyBlock + j - start];
      if (error === 0) continue;
      const from = j * columns;
      for (let k = end; k < columns; k++) working.entries[place + k] -= error * upper.entries[from + k];
    }
  }
}

/** tr((W - Ŵ) H (W - Ŵ)ᵀ): the squared output error that the sweep minimizes. */
export function outputError(weights: Matrix, rounded: Matrix, hessian: Matrix): number {
  const { rows, columns } = weights;
  const difference = new Float64Array(columns);
  let total = 0;
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      difference[j] = weights.entries[row * columns + j] - rounded.entries[row * columns + j];
    }
    for (let i = 0; i < columns; i++) {
      let dot = 0;
      for (let j = 0; j < columns; j++) dot += hessian.entries[i * columns + j] * difference[j];
      total += dot * difference[i];
    }
  }
  return total;
}
