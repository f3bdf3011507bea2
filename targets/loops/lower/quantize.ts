/** Codes from reals and reals from codes. */

import type { LoopBuilder } from "../build.ts";
import type { Scalar } from "../program.ts";
import { add, castTo, f32, i32, max, min, unaryOf } from "../scalar.ts";

/**
 * clamp(round(quotient) + zero, low, high) as i32; a NaN quotient counts as 0. The quotient is first held within 2^24 (where
 * f32 still counts by ones), so that the i32 sum cannot overflow: codes and zero points have at most 16 bits here.
 */
export function encodeInteger(
  _b: LoopBuilder,
  quotient: Scalar,
  zero: Scalar | undefined,
  low: number,
  high: number,
): Scalar {
  const rounded = unaryOf("round", quotient);
  if (zero === undefined) return min(max(castTo("i32", rounded), i32(low)), i32(high));
  const held = castTo("i32", min(max(rounded, f32(-(2 ** 24))), f32(2 ** 24)));
  return min(max(add(held, castTo("i32", zero)), i32(low)), i32(high));
}
