/** Dense symmetric linear algebra in float64, row-major. Made for the Hessians of weight solvers. */

import { addProduct, type MatrixView, part, rowMajor, transposed } from "./dense/product.ts";

/** A dense matrix, row-major. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly entries: Float64Array;
}

export function zeroMatrix(rows: number, columns: number): Matrix {
  return { rows, columns, entries: new Float64Array(rows * columns) };
}

/** Extent of the diagonal blocks that are worked on entry by entry; all else is products of blocks. */
const tile = 64;

/**
 * Adds gain · XᵀX of `count` rows of `columns` float32 entries to the lower triangle of `sum`. Products are summed in
 * float32 over runs of 256 rows and in float64 over the runs: an entry errs by at most 257 · 2^-24 of Σ |x_i x_j|.
 * The upper triangle is not defined until `mirror` fills it.
 */
export function addGram(sum: Matrix, rows: Float32Array, count: number, gain = 1): void {
  const inputs = rowMajor(rows, count, sum.columns);
  addProduct(viewOf(sum), transposed(inputs), inputs, { gain, precision: "f32", lowerOnly: true });
}

/** The whole matrix as an operand of products. */
export function viewOf({ entries, rows, columns }: Matrix): MatrixView {
  return rowMajor(entries, rows, columns);
}

/** Copies the lower triangle to the upper one. */
export function mirror(matrix: Matrix): void {
  const { rows: n, entries } = matrix;
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) entries[j * n + i] = entries[i * n + j];
}

/**
 * The lower triangular L with A = L Lᵀ, reading the lower triangle of A; undefined when A is not positive definite in
 * float64. Blocked right-looking form.
 */
export function cholesky(matrix: Matrix): Matrix | undefined {
  const n = matrix.rows;
  const lower = matrix.entries.slice();
  const whole = rowMajor(lower, n, n);
  for (let start = 0; start < n; start += tile) {
    const end = Math.min(n, start + tile);
    if (!factorPanel(lower, n, start, end)) return undefined;
    const panel = part(whole, end, n, start, end);
    const rest = part(whole, end, n, end, n);
    addProduct(rest, panel, transposed(panel), { gain: -1, precision: "f64", lowerOnly: true });
  }
  for (let i = 0; i < n; i++) lower.fill(0, i * n + i + 1, (i + 1) * n);
  return { rows: n, columns: n, entries: lower };
}

function factorPanel(lower: Float64Array, n: number, start: number, end: number): boolean {
  for (let j = start; j < end; j++) {
    let pivot = lower[j * n + j];
    for (let k = start; k < j; k++) pivot -= lower[j * n + k] ** 2;
    if (!(pivot > 0) || !Number.isFinite(pivot)) return false;
    const root = Math.sqrt(pivot);
    lower[j * n + j] = root;
    for (let i = j + 1; i < n; i++) {
      let value = lower[i * n + j];
      for (let k = start; k < j; k++) value -= lower[i * n + k] * lower[j * n + k];
      lower[i * n + j] = value / root;
    }
  }
  return true;
}

/**
 * L⁻¹ of a lower triangular L, a block of rows at a time: with D the block on the diagonal and R what stands left of it,
 * the rows of the inverse are -D⁻¹ (R · rows above) and D⁻¹.
 */
export function invertLower(lower: Matrix): Matrix {
  const n = lower.rows;
  const inverse = zeroMatrix(n, n);
  const [from, to] = [viewOf(lower), viewOf(inverse)];
  for (let start = 0; start < n; start += tile) {
    const end = Math.min(n, start + tile);
    if (start > 0) {
      const above = part(to, 0, start, 0, start);
      addProduct(part(to, start, end, 0, start), part(from, start, end, 0, start), above, {
        gain: -1,
        precision: "f64",
      });
    }
    solvePanel(lower, inverse, start, end);
  }
  return inverse;
}

/** Multiplies rows [start, end) of `inverse`, which end in the identity, by the inverse of L's block there. */
function solvePanel(lower: Matrix, inverse: Matrix, start: number, end: number): void {
  const n = lower.columns;
  const [factors, entries] = [lower.entries, inverse.entries];
  for (let i = start; i < end; i++) {
    const row = i * n;
    entries[row + i] = 1;
    for (let k = start; k < i; k++) {
      const gain = factors[row + k];
      if (gain === 0) continue;
      for (let j = 0; j <= k; j++) entries[row + j] -= gain * entries[k * n + j];
    }
    const pivot = 1 / factors[row + i];
    for (let j = 0; j <= i; j++) entries[row + j] *= pivot;
  }
}

/**
 * The upper triangular U with A⁻¹ = Uᵀ U, which is what the GPTQ sweep reads. With J the reversal of the axes and
 * J A J = L Lᵀ:  A⁻¹ = (J L⁻ᵀ J)(J L⁻¹ J), and U = J L⁻¹ J is upper triangular. One factorization and one inversion.
 */
export function inverseUpperFactor(matrix: Matrix): Matrix | undefined {
  const n = matrix.rows;
  const reversed = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const [a, b] = [n - 1 - i, n - 1 - j];
      reversed.entries[i * n + j] = a >= b ? matrix.entries[a * n + b] : matrix.entries[b * n + a];
    }
  }
  const lower = cholesky(reversed);
  if (lower === undefined) return undefined;
  const inverse = invertLower(lower);
  const upper = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) upper.entries[i * n + j] = inverse.entries[(n - 1 - i) * n + (n - 1 - j)];
  }
  return upper;
}

/** A · B. */
export function product(a: Matrix, b: Matrix): Matrix {
  const result = zeroMatrix(a.rows, b.columns);
  addProduct(viewOf(result), viewOf(a), viewOf(b), { precision: "f64" });
  return result;
}
