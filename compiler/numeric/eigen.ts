/** Eigenvalues and eigenvectors of symmetric matrices, and the matrix functions that they give. Float64. */

import { type Matrix, product, zeroMatrix } from "./linalg.ts";

/** A = V diag(values) Vᵀ; column k of `vectors` belongs to `values[k]`; values fall. */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Matrix;
}

/** Most QL steps for one eigenvalue; two or three are usual. */
const mostSteps = 60;

/**
 * Householder reduction to tridiagonal form, then implicit QL with Wilkinson's shift (Golub and Van Loan, Matrix
 * Computations, 8.3). O(n³). Reads both triangles; entries must be finite.
 */
export function symmetricEigen(matrix: Matrix): Eigen {
  const n = matrix.rows;
  const basis = matrix.entries.slice();
  const diagonal = new Float64Array(n);
  const off = new Float64Array(n);
  tridiagonalize(basis, n, diagonal, off);
  // Rows of the transposed basis are the vectors, so that rotations run over contiguous memory.
  const rows = transposed(basis, n);
  for (let index = 0; index < n; index++) implicitQl(diagonal, off, rows, n, index);
  const order = Array.from(diagonal.keys()).sort((a, b) => diagonal[b] - diagonal[a] || a - b);
  const vectors = zeroMatrix(n, n);
  order.forEach((source, column) => {
    for (let row = 0; row < n; row++) vectors.entries[row * n + column] = rows[source * n + row];
  });
  return { values: Float64Array.from(order, (source) => diagonal[source]), vectors };
}

function transposed(entries: Float64Array, n: number): Float64Array {
  const result = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) result[j * n + i] = entries[i * n + j];
  return result;
}

/** Puts Q with A = Q T Qᵀ in place of A; T's diagonal goes to `diagonal`, its subdiagonal to off[1...]. */
function tridiagonalize(a: Float64Array, n: number, diagonal: Float64Array, off: Float64Array): void {
  const vector = new Float64Array(n);
  const product = new Float64Array(n);
  const reflectors: { readonly vector: Float64Array; readonly gain: number }[] = [];
  for (let k = 0; k + 2 < n; k++) {
    let square = 0;
    for (let i = k + 1; i < n; i++) square += a[i * n + k] ** 2;
    const pivot = a[(k + 1) * n + k];
    const target = pivot > 0 ? -Math.sqrt(square) : Math.sqrt(square);
    vector.fill(0);
    for (let i = k + 1; i < n; i++) vector[i] = a[i * n + k];
    vector[k + 1] -= target;
    const length = square - pivot ** 2 + vector[k + 1] ** 2;
    if (!(square - pivot ** 2 > 0)) continue;
    const gain = 2 / length;
    // A ↦ H A H with H = I - gain v vᵀ, by A - v wᵀ - w vᵀ.
    let projection = 0;
    for (let i = k; i < n; i++) {
      let dot = 0;
      for (let j = k + 1; j < n; j++) dot += a[i * n + j] * vector[j];
      product[i] = gain * dot;
      projection += product[i] * vector[i];
    }
    for (let i = k; i < n; i++) product[i] -= 0.5 * gain * projection * vector[i];
    for (let i = k; i < n; i++) {
      for (let j = k; j < n; j++) a[i * n + j] -= vector[i] * product[j] + product[i] * vector[j];
    }
    reflectors.push({ vector: vector.slice(), gain });
  }
  for (let i = 0; i < n; i++) {
    diagonal[i] = a[i * n + i];
    off[i] = i === 0 ? 0 : a[i * n + i - 1];
  }
  a.fill(0);
  for (let i = 0; i < n; i++) a[i * n + i] = 1;
  for (const { vector: v, gain } of reflectors.reverse()) reflectRows(a, n, v, gain);
}

/** M ↦ (I - gain v vᵀ) M. */
function reflectRows(m: Float64Array, n: number, v: Float64Array, gain: number): void {
  const sums = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    if (v[i] === 0) continue;
    for (let j = 0; j < n; j++) sums[j] += v[i] * m[i * n + j];
  }
  for (let i = 0; i < n; i++) {
    const factor = gain * v[i];
    if (factor === 0) continue;
    for (let j = 0; j < n; j++) m[i * n + j] -= factor * sums[j];
  }
}

/** Makes off[index + 1] vanish; plane rotations are applied to the rows of `rows`. */
function implicitQl(d: Float64Array, off: Float64Array, rows: Float64Array, n: number, index: number): void {
  for (let step = 0; step < mostSteps; step++) {
    let end = index;
    while (end + 1 < n && Math.abs(off[end + 1]) > Number.EPSILON * (Math.abs(d[end]) + Math.abs(d[end + 1]))) end++;
    if (end === index) return;
    const half = (d[index + 1] - d[index]) / (2 * off[index + 1]);
    const root = Math.hypot(half, 1);
    let g = d[end] - d[index] + off[index + 1] / (half + (half < 0 ? -root : root));
    let [sine, cosine, shift] = [1, 1, 0];
    let i = end - 1;
    for (; i >= index; i--) {
      const f = sine * off[i + 1];
      const b = cosine * off[i + 1];
      const length = Math.hypot(f, g);
      if (i + 2 < n) off[i + 2] = length;
      if (length === 0) {
        d[i + 1] -= shift;
        break;
      }
      sine = f / length;
      cosine = g / length;
      const next = d[i + 1] - shift;
      const turn = (d[i] - next) * sine + 2 * cosine * b;
      shift = sine * turn;
      d[i + 1] = next + shift;
      g = cosine * turn - b;
      rotateRows(rows, n, i, cosine, sine);
    }
    if (i >= index) {
      if (end + 1 < n) off[end + 1] = 0;
      continue;
    }
    d[index] -= shift;
    off[index + 1] = g;
    if (end + 1 < n) off[end + 1] = 0;
  }
}

function rotateRows(rows: Float64Array, n: number, i: number, cosine: number, sine: number): void {
  const [low, high] = [i * n, (i + 1) * n];
  for (let k = 0; k < n; k++) {
    const [a, b] = [rows[low + k], rows[high + k]];
    rows[high + k] = sine * a + cosine * b;
    rows[low + k] = cosine * a - sine * b;
  }
}

/** V diag(f(values)) Vᵀ. */
export function spectralMap({ values, vectors }: Eigen, f: (value: number) => number): Matrix {
  const n = vectors.rows;
  const scaled = { ...vectors, entries: vectors.entries.slice() };
  for (let i = 0; i < n; i++) for (let k = 0; k < n; k++) scaled.entries[i * n + k] *= f(values[k]);
  return product(scaled, { ...vectors, entries: transposed(vectors.entries, n) });
}
