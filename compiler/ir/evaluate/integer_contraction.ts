/** Contractions of plain integers, exact modulo 2^64: in doubles when the sums fit, else by 16-bit limbs. */

import { allocate } from "../../numeric/element.ts";
import { type PlainTensor, plainTensor, sizeOf } from "../tensor.ts";
import type { SumStore } from "./convolution.ts";
import { isWideArray, numberData, readNumbers, storeNumbers } from "./numbers.ts";

/** Computes all sums of two operands given as doubles. */
export type SumsOf = (a: PlainTensor, b: PlainTensor, store: SumStore) => void;

/** Σ a * b + bias for integer operands of one element, wrapping; `depth` bounds the terms of one sum. */
export function integerContraction(
  a: PlainTensor,
  b: PlainTensor,
  depth: number,
  shape: readonly number[],
  bias: PlainTensor | undefined,
  sumsOf: SumsOf,
): PlainTensor {
  const offsets = bias === undefined ? undefined : readNumbers(bias);
  if (largest(a) * largest(b) * depth + (offsets === undefined ? 0 : largestOf(offsets)) < 2 ** 53) {
    const sums = new Float64Array(sizeOf(shape));
    sumsOf(asDoubles(a), asDoubles(b), (index, channel, sum) => sums[index] = sum + (offsets?.[channel] ?? 0));
    return storeNumbers(a.element, shape, sums);
  }
  return limbContraction(a, b, shape, bias, sumsOf);
}

function asDoubles(tensor: PlainTensor): PlainTensor {
  return plainTensor("f64", tensor.shape, readNumbers(tensor));
}

function largest(tensor: PlainTensor): number {
  return largestOf(readNumbers(tensor));
}

function largestOf(values: Float64Array): number {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

const limbs = 4;

/** a = Σ_i limb_i * 2^(16 i) modulo 2^64, so Σ a b = Σ_{i+j<4} 2^(16 (i+j)) Σ limb_i limb_j; each inner sum is exact. */
function limbContraction(
  a: PlainTensor,
  b: PlainTensor,
  shape: readonly number[],
  bias: PlainTensor | undefined,
  sumsOf: SumsOf,
): PlainTensor {
  const aLimbs = splitLimbs(a);
  const bLimbs = splitLimbs(b);
  const offsets = bias === undefined ? undefined : wideValues(bias);
  const totals = new BigUint64Array(sizeOf(shape));
  for (let i = 0; i < limbs; i++) {
    for (let j = 0; i + j < limbs; j++) {
      const shift = BigInt(16 * (i + j));
      const addend = i + j === 0 ? offsets : undefined;
      sumsOf(aLimbs[i], bLimbs[j], (index, channel, sum) => {
        totals[index] += (BigInt(sum) << shift) + (addend?.[channel] ?? 0n);
      });
    }
  }
  return fromWide(a, shape, totals);
}

function wideValues(tensor: PlainTensor): bigint[] {
  const { data } = tensor;
  return isWideArray(data) ? Array.from(data) : Array.from(data, BigInt);
}

function splitLimbs(tensor: PlainTensor): PlainTensor[] {
  const whole = wideValues(tensor).map((value) => BigInt.asUintN(64, value));
  return Array.from({ length: limbs }, (_, limb) => {
    const values = Float64Array.from(whole, (value) => Number((value >> BigInt(16 * limb)) & 0xffffn));
    return plainTensor("f64", tensor.shape, values);
  });
}

function fromWide(like: PlainTensor, shape: readonly number[], totals: BigUint64Array): PlainTensor {
  const data = allocate(like.element, totals.length);
  if (isWideArray(data)) data.set(totals);
  else {
    const to = numberData(data);
    for (let index = 0; index < totals.length; index++) to[index] = Number(BigInt.asIntN(32, totals[index]));
  }
  return plainTensor(like.element, shape, data);
}
