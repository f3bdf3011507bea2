/**
 * Transforms in closed form from second moments. C = E[xᵀx] of an activation, S = Σ wᵀw of the weights that read it.
 *
 * Principal axes (KLT): C = V Λ Vᵀ; x·V has uncorrelated entries, and a Hadamard matrix behind it gives all of them the
 * mean variance tr(C) / n, whatever the data (MambaQuant, arXiv 2501.13484).
 *
 * Balance: rounding adds noise in proportion to tr(TᵀCT) to the activation and to tr(T⁻¹ST⁻ᵀ) to the weights. Their
 * product is least where M = T·Tᵀ solves M C M = S, the geometric mean of C⁻¹ and S:
 *   M = C^-½ (C^½ S C^½)^½ C^-½,  and then  TᵀCT = T⁻¹ST⁻ᵀ,
 * which one rotation makes diagonal for both sides at once.
 */

import type { SquareMatrix } from "../../compiler/numeric/hadamard.ts";
import { spectralMap, symmetricEigen } from "../../compiler/numeric/eigen.ts";
import { type Matrix, product, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { type DensePair, thenHadamard } from "./rotation.ts";

/** Eigenvalues are held above this fraction of the mean, so that directions without data stay invertible. */
const floor = 1e-3;

/** Principal axes, then Hadamard: orthogonal. */
export function principalRotation(covariance: Matrix): DensePair {
  const vectors = squareOf(symmetricEigen(covariance).vectors);
  return thenHadamard({ matrix: vectors, inverseTranspose: vectors });
}

/** The balanced transform of C and S, then Hadamard. */
export function balancedTransform(covariance: Matrix, weights: Matrix): DensePair {
  const c = symmetricEigen(floored(covariance));
  const [root, inverseRoot] = [spectralMap(c, Math.sqrt), spectralMap(c, (value) => 1 / Math.sqrt(value))];
  const inner = symmetricEigen(symmetric(product(product(root, floored(weights)), root)));
  const mean = symmetricEigen(symmetric(product(product(inverseRoot, spectralMap(inner, rootOf)), inverseRoot)));
  const half = spectralMap(mean, rootOf);
  const axes = symmetricEigen(symmetric(product(product(half, covariance), half))).vectors;
  return thenHadamard({
    matrix: squareOf(product(half, axes)),
    inverseTranspose: squareOf(product(spectralMap(mean, (value) => 1 / rootOf(value)), axes)),
  });
}

/** Second moments of the outer and the inner index of channels that are pairs of them: partial traces. */
export function partialTraces(moments: Matrix, outer: number): { readonly outer: Matrix; readonly inner: Matrix } {
  const n = moments.rows;
  const inner = n / outer;
  const traced = { outer: zeroMatrix(outer, outer), inner: zeroMatrix(inner, inner) };
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const entry = moments.entries[i * n + j];
      const [a, b] = [Math.floor(i / inner), Math.floor(j / inner)];
      const [c, d] = [i % inner, j % inner];
      if (c === d) traced.outer.entries[a * outer + b] += entry;
      if (a === b) traced.inner.entries[c * inner + d] += entry;
    }
  }
  return traced;
}

function rootOf(value: number): number {
  return Math.sqrt(Math.max(value, Number.MIN_VALUE));
}

function squareOf({ rows, entries }: Matrix): SquareMatrix {
  return { order: rows, entries };
}

/** A + floor · mean(diag A) · I. */
function floored(matrix: Matrix): Matrix {
  const n = matrix.rows;
  const entries = matrix.entries.slice();
  let trace = 0;
  for (let i = 0; i < n; i++) trace += entries[i * n + i];
  const added = trace > 0 ? floor * trace / n : 1;
  for (let i = 0; i < n; i++) entries[i * n + i] += added;
  return { ...matrix, entries };
}

/** (A + Aᵀ) / 2: takes out the rounding of a product that is symmetric over the reals. */
function symmetric(matrix: Matrix): Matrix {
  const { rows: n, entries } = matrix;
  const result = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) result.entries[i * n + j] = (entries[i * n + j] + entries[j * n + i]) / 2;
  }
  return result;
}
