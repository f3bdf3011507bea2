/** Orthogonal matrices as rotations use them: signs, then a fast factored transform; or any dense matrix. */

import { applyHadamard, type HadamardFactors, orthogonalFactors } from "../../compiler/numeric/hadamard.ts";

/** x ↦ x·Q for a row vector x, in place. Q is orthogonal. */
export interface Rotation {
  readonly order: number;
  readonly turn: (vector: Float64Array) => void;
}

/** x ↦ (x ⊙ signs)·H/√n: a randomized Hadamard rotation, exactly orthogonal by construction. */
export interface HadamardRotation extends Rotation {
  readonly signs: Float64Array;
  readonly factors: HadamardFactors;
}

/** A Hadamard rotation (DCT ⊗ Hadamard where no Hadamard matrix is constructed) with signs drawn from `seed`; seed 0 has none. */
export function hadamardRotation(order: number, seed: number): HadamardRotation {
  const factors = orthogonalFactors(order);
  const signs = randomSigns(order, seed);
  const scratch = new Float64Array(factors.core.order);
  return {
    order,
    signs,
    factors,
    turn: (vector) => {
      for (let index = 0; index < order; index++) vector[index] *= signs[index];
      applyHadamard(vector, factors, scratch);
    },
  };
}

/** ±1 by a counter-based hash of the seed, equal everywhere. */
function randomSigns(order: number, seed: number): Float64Array {
  return Float64Array.from({ length: order }, (_, index) => {
    if (seed === 0) return 1;
    let x = Math.imul(seed, 0x9e3779b1) + Math.imul(index + 1, 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
    x = Math.imul(x ^ (x >>> 12), 0x297a2d39);
    return ((x ^ (x >>> 15)) & 1) === 0 ? 1 : -1;
  });
}
