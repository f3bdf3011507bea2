/**
 * Two-level integer weights (QServe's progressive quantization): one real step a channel, integer steps a block under it.
 *
 *   s0 = max|w| / 119,   w / s0 ~ (u - z) * s1,   s1 an integer from 1,   (u - z) * s1 in -128..127
 *
 * A contraction with 8-bit codes multiplies 8-bit integers all along the depth and scales once a row. 119 is the protective
 * range: a block that spans 238 has s1 <= 16, and rounding adds at most s1 / 2 <= 8 to 119, which stays in 8 bits. With 127 it
 * would not. Solvers may move a weight past the range of its block, so codes are held to those whose entry fits.
 * Source: Lin et al. 2024 (QServe, QoQ), arXiv 2405.04532, section 4.1.
 */

import { type IntFormat, intRange } from "../../compiler/numeric/number_format.ts";
import { outerScheme, type QuantScheme, roundStep, stepShape } from "../../compiler/numeric/scheme.ts";
import { type PlainTensor, plainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { stepGrid } from "../../compiler/ir/evaluate/step_grid.ts";

/** What the largest magnitude of a channel becomes, in units of its outer step. */
export const protectiveRange = 119;

/** The entries that kernels multiply. */
const entryRange = { min: -128, max: 127 };

/** Codes whose entry (code - zero) * step fits 8 bits. */
export function codesThatFit(
  format: IntFormat,
  step: number,
  zero: number,
): { readonly min: number; readonly max: number } {
  const { min, max } = intRange(format);
  return {
    min: Math.max(min, Math.ceil(entryRange.min / step) + zero),
    max: Math.min(max, Math.floor(entryRange.max / step) + zero),
  };
}

/** The weights in units of outer steps, and these steps. */
export function outerUnits(
  weights: PlainTensor<"f32">,
  scheme: QuantScheme,
): { readonly units: PlainTensor<"f32">; readonly outerSteps: PlainTensor<"f32"> } {
  const outer = outerScheme(scheme);
  const shape = stepShape(outer, weights.shape);
  const steps = new Float32Array(sizeOf(shape));
  const grid = stepGrid(outer, weights.shape);
  const place = (index: number) =>
    grid.rowStep[Math.floor(index / grid.columns)] + grid.columnStep[index % grid.columns];
  weights.data.forEach((value, index) => steps[place(index)] = Math.max(steps[place(index)], Math.abs(value)));
  steps.forEach((largest, at) => {
    const step = roundStep(outer.step, largest / protectiveRange);
    steps[at] = step > 0 && Number.isFinite(step) ? step : 1;
  });
  const units = weights.data.map((value, index) => value / steps[place(index)]);
  return { units: plainTensor("f32", weights.shape, units), outerSteps: plainTensor("f32", shape, steps) };
}
