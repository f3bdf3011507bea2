/**
 * Asymmetric calibration: the weights that a quantized layer should stand for when its inputs X̂ are those of the quantized
 * model and its outputs should be those of the float model on X.
 *
 *   minimize ‖Ŵ X̂ - W X‖²  =  ‖(Ŵ - W*) X̂‖² + const,   W* = W + W (X - X̂) X̂ᵀ H⁻¹,   H = X̂ X̂ᵀ (+ damping)
 *
 * So every solver that minimizes ‖(W - Ŵ) X̂‖² serves, started from W*. Danger: W* fits the calibration rows; a share below
 * one of the correction holds it back. Source: Li et al. 2025 (GPTAQ), arXiv 2504.02692, which spreads each column's
 * residual over the later columns inside the sweep; here all columns take part before it.
 */

import { addProduct, transposed } from "../../compiler/numeric/dense/product.ts";
import { type Matrix, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";

/**
 * W + share · W · cross · H⁻¹ of `weights` [N, K], with `cross` [K, K] = (X - X̂) X̂ᵀ and H⁻¹ = upperᵀ upper. Both may carry a
 * common factor.
 */
export function asymmetricTarget(weights: Matrix, cross: Matrix, upper: Matrix, share: number): Matrix {
  const { rows, columns } = weights;
  const residual = zeroMatrix(rows, columns);
  addProduct(viewOf(residual), viewOf(weights), viewOf(cross), { gain: share, precision: "f64" });
  const half = zeroMatrix(rows, columns);
  addProduct(viewOf(half), viewOf(residual), transposed(viewOf(upper)), { precision: "f64" });
  const target = { rows, columns, entries: weights.entries.slice() };
  addProduct(viewOf(target), viewOf(half), viewOf(upper), { precision: "f64" });
  return target;
}
