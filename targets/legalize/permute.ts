/** Permutations of axes, of types, schemes and constant tensors. */

import { allocate } from "../../compiler/numeric/element.ts";
import type { QuantScheme } from "../../compiler/numeric/scheme.ts";
import { type PlainTensor, plainTensor, stridesOf, type Tensor } from "../../compiler/ir/tensor.ts";

/** Axis i of the result is axis `permutation[i]` of the source. */
export type Permutation = readonly number[];

export function identity(rank: number): number[] {
  return Array.from({ length: rank }, (_, axis) => axis);
}

/** Channels-first to channels-last: [N, ...spatial, C]. */
export function toLast(rank: number): number[] {
  return [0, ...Array.from({ length: rank - 2 }, (_, index) => index + 2), 1];
}

export function inverse(permutation: Permutation): number[] {
  const result = new Array<number>(permutation.length);
  permutation.forEach((from, to) => result[from] = to);
  return result;
}

export function isIdentity(permutation: Permutation): boolean {
  return permutation.every((from, to) => from === to);
}

export function samePermutation(a: Permutation, b: Permutation): boolean {
  return a.length === b.length && a.every((axis, index) => axis === b[index]);
}

export function permute<T>(list: readonly T[], permutation: Permutation): T[] {
  return permutation.map((axis) => list[axis]);
}

export function permuteScheme(scheme: QuantScheme, permutation: Permutation): QuantScheme {
  const { block, outer } = scheme;
  return {
    ...scheme,
    block: permute(block, permutation),
    ...(outer === undefined ? {} : { outer: { ...outer, block: permute(outer.block, permutation) } }),
  };
}

function permutePlain<T extends PlainTensor>(tensor: T, permutation: Permutation): T {
  const shape = permute(tensor.shape, permutation);
  const strides = permute(stridesOf(tensor.shape), permutation);
  const data = allocate(tensor.element, tensor.data.length);
  const index = new Array<number>(shape.length).fill(0);
  let from = 0;
  for (let to = 0; to < data.length; to++) {
    data[to] = tensor.data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  // `data` was allocated for the tensor's own element.
  return plainTensor(tensor.element, shape, data) as T;
}

/** A constant with its axes permuted: all its parts alike. */
export function permuteTensor(tensor: Tensor, permutation: Permutation): Tensor {
  if (tensor.kind === "plain") return permutePlain(tensor, permutation);
  return {
    ...tensor,
    scheme: permuteScheme(tensor.scheme, permutation),
    shape: permute(tensor.shape, permutation),
    codes: permutePlain(tensor.codes, permutation),
    steps: permutePlain(tensor.steps, permutation),
    ...(tensor.zeros === undefined ? {} : { zeros: permutePlain(tensor.zeros, permutation) }),
    ...(tensor.offsets === undefined ? {} : { offsets: permutePlain(tensor.offsets, permutation) }),
    ...(tensor.outerSteps === undefined ? {} : { outerSteps: permutePlain(tensor.outerSteps, permutation) }),
  };
}
