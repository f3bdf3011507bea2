/**
 * Invertible matrices as transforms use them, in factors that a `transform` op can run: x ↦ x·T on the side of the
 * activations, w ↦ w·T⁻ᵀ on the side of the weights, so that x·T·(w·T⁻ᵀ)ᵀ = x·wᵀ. For rotations T⁻ᵀ = T.
 */

import { orthogonalFactors, type SquareMatrix, squareMatrix, transformRuns } from "../../compiler/numeric/hadamard.ts";

/** core ⊗ Sylvester(2^doublings) ⊗ I(stride) on every run of that length. The core carries the gain. */
export interface Stage {
  readonly core: SquareMatrix;
  readonly doublings: number;
  readonly stride: number;
}

export interface Rotation {
  readonly order: number;
  /** ±1 by entry, in front of the stages; absent for none. */
  readonly signs?: Float64Array;
  /** T is their product, the first one first. */
  readonly stages: readonly Stage[];
  /** The same for T⁻ᵀ. */
  readonly counter: readonly Stage[];
}

/** x ↦ x·T of a vector of `order` entries, in place. */
export function turnBy({ signs, stages }: Rotation): (vector: Float64Array) => void {
  return turnThrough(signs, stages);
}

/** w ↦ w·T⁻ᵀ, in place. */
export function counterTurnBy({ signs, counter }: Rotation): (vector: Float64Array) => void {
  return turnThrough(signs, counter);
}

function turnThrough(signs: Float64Array | undefined, stages: readonly Stage[]): (vector: Float64Array) => void {
  return (vector) => {
    if (signs !== undefined) { for (let index = 0; index < vector.length; index++) vector[index] *= signs[index]; }
    for (const { core, doublings, stride } of stages) transformRuns(vector, core, doublings, stride);
  };
}

/**
 * A Hadamard rotation (DCT ⊗ Hadamard where no Hadamard matrix is constructed) of every `order · stride` entries, mixed
 * `stride` apart; `seed` draws signs, 0 has none.
 */
export function hadamardRotation(order: number, seed: number, stride = 1): Rotation {
  const { core, doublings } = orthogonalFactors(order);
  const gain = 1 / Math.sqrt(order);
  const stages = [{ core: scaled(core, gain), doublings, stride }];
  const width = order * stride;
  return { order: width, stages, counter: stages, ...(seed === 0 ? {} : { signs: randomSigns(width, seed) }) };
}

/** Block-diagonal: `block` neighbours turn among themselves. `block` divides `order`. */
export function groupedRotation(order: number, block: number): Rotation {
  return { ...hadamardRotation(block, 0), order };
}

/** T given with its T⁻ᵀ, dense. */
export function denseRotation(pair: DensePair): Rotation {
  const stage = (core: SquareMatrix): readonly Stage[] => [{ core, doublings: 0, stride: 1 }];
  return { order: pair.matrix.order, stages: stage(pair.matrix), counter: stage(pair.inverseTranspose) };
}

/** A matrix and its inverse's transpose. */
export interface DensePair {
  readonly matrix: SquareMatrix;
  readonly inverseTranspose: SquareMatrix;
}

/** outer ⊗ inner (FlatQuant, arXiv 2410.09426): n (n₁ + n₂) products a row. (A ⊗ B)⁻ᵀ = A⁻ᵀ ⊗ B⁻ᵀ. */
export function kroneckerRotation(outer: DensePair, inner: DensePair): Rotation {
  const stages = (side: keyof DensePair): readonly Stage[] => [
    { core: inner[side], doublings: 0, stride: 1 },
    { core: outer[side], doublings: 0, stride: inner.matrix.order },
  ];
  return {
    order: outer.matrix.order * inner.matrix.order,
    stages: stages("matrix"),
    counter: stages("inverseTranspose"),
  };
}

/** The two factors of n that are nearest to each other, the smaller first: (1, n) for a prime. */
export function nearestFactors(n: number): readonly [number, number] {
  let smaller = Math.max(1, Math.floor(Math.sqrt(n)));
  while (n % smaller !== 0) smaller--;
  return [smaller, n / smaller];
}

/** Q followed by H / √n: what has a diagonal covariance behind Q has equal variances behind both. */
export function thenHadamard(pair: DensePair): DensePair {
  const { core, doublings } = orthogonalFactors(pair.matrix.order);
  const gained = scaled(core, 1 / Math.sqrt(pair.matrix.order));
  const through = ({ order, entries }: SquareMatrix): SquareMatrix => {
    const turned = entries.slice();
    // The rows of a square matrix are its runs.
    transformRuns(turned, gained, doublings, 1);
    return { order, entries: turned };
  };
  return { matrix: through(pair.matrix), inverseTranspose: through(pair.inverseTranspose) };
}

function scaled({ order, entries }: SquareMatrix, gain: number): SquareMatrix {
  return squareMatrix(order, (row, column) => entries[row * order + column] * gain);
}

/** ±1 by a counter-based hash of the seed, equal everywhere. */
function randomSigns(order: number, seed: number): Float64Array {
  return Float64Array.from({ length: order }, (_, index) => {
    let x = Math.imul(seed, 0x9e3779b1) + Math.imul(index + 1, 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
    x = Math.imul(x ^ (x >>> 12), 0x297a2d39);
    return ((x ^ (x >>> 15)) & 1) === 0 ? 1 : -1;
  });
}
