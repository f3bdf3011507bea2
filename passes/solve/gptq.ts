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

import { addProduct, part } from "../../compiler/numeric/dense/product.ts";
import { inverseUpperFactor, type Matrix, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";

/** The inner quantizer of a sweep. */
export interface ColumnGrid {
  /**
   * A grid whose steps follow the weights: in front of the first column of each run of `extent` columns, `fit` sees the
   * run as the errors of all columns before it have left it: `values` [rows, columns of the run], row-major. Columns are
   * then visited in their own order.
   */
  readonly runs?: {
    readonly extent: number;
    readonly fit: (column: number, values: Matrix) => void;
  };
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

export const defaultGptq: GptqOptions = { damping: 0.01, activationOrder: true, lazyBlock: 32 };

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
  const order = visitingOrder(hessian, options.activationOrder && grid.runs === undefined);
  const { upper, damping } = dampedFactor(permute(hessian, order), options.damping);
  const working = permuteColumns(weights, order);
  const result = zeroMatrix(weights.rows, weights.columns);
  sweep(working, upper, order, grid, wholeRuns(options.lazyBlock, grid.runs?.extent), result);
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

/**
 * The upper U with (H + damping · mean(diag H) · I)⁻¹ = Uᵀ U. Changes `hessian`: ones where an input is dead, and the damping.
 * Damping grows tenfold until the factorization succeeds.
 */
export function dampedFactor(
  hessian: Matrix,
  firstDamping: number,
): { readonly upper: Matrix; readonly damping: number } {
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

/** A block that holds whole runs, so that no run begins with columns that still wait for their errors. */
function wholeRuns(lazyBlock: number, extent: number | undefined): number {
  if (extent === undefined) return lazyBlock;
  return Math.max(1, Math.floor(lazyBlock / extent)) * extent;
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
  for (let start = 0; start < columns; start += lazyBlock) {
    const end = Math.min(columns, start + lazyBlock);
    // Apart from the matrix, whose rows lie far from each other: the panel stays in the cache from column to column.
    const panel = columnRun(working, start, end);
    const errors = zeroMatrix(rows, end - start);
    for (let j = start; j < end; j++) {
      if (grid.runs !== undefined && j % grid.runs.extent === 0) {
        grid.runs.fit(j, columnRun(panel, j - start, Math.min(end, j + grid.runs.extent) - start));
      }
      for (let row = 0; row < rows; row++) values[row] = panel.entries[row * panel.columns + j - start];
      grid.round(order[j], values, rounded);
      const pivot = 1 / upper.entries[j * columns + j];
      const factors = upper.entries.subarray(j * columns + start, j * columns + end);
      for (let row = 0; row < rows; row++) {
        result.entries[row * columns + order[j]] = rounded[row];
        const error = (values[row] - rounded[row]) * pivot;
        const place = row * panel.columns;
        errors.entries[place + j - start] = error;
        for (let k = j - start + 1; k < panel.columns; k++) panel.entries[place + k] -= error * factors[k];
      }
    }
    const later = part(viewOf(upper), start, end, end, columns);
    addProduct(part(viewOf(working), 0, rows, end, columns), viewOf(errors), later, { gain: -1, precision: "f64" });
  }
}

/** Columns [start, end) as a matrix of their own. */
export function columnRun(matrix: Matrix, start: number, end: number): Matrix {
  const run = zeroMatrix(matrix.rows, end - start);
  for (let row = 0; row < matrix.rows; row++) {
    const from = row * matrix.columns;
    run.entries.set(matrix.entries.subarray(from + start, from + end), row * run.columns);
  }
  return run;
}

/** tr((W - Ŵ) H (W - Ŵ)ᵀ): the squared output error that the sweep minimizes. */
export function outputError(weights: Matrix, rounded: Matrix, hessian: Matrix): number {
  const difference = zeroMatrix(weights.rows, weights.columns);
  for (let at = 0; at < difference.entries.length; at++) {
    difference.entries[at] = weights.entries[at] - rounded.entries[at];
  }
  const product = zeroMatrix(weights.rows, weights.columns);
  addProduct(viewOf(product), viewOf(difference), viewOf(hessian), { precision: "f64" });
  return product.entries.reduce((sum, value, at) => sum + value * difference.entries[at], 0);
}
