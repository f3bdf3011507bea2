/** Encodes a whole tensor of weights under a scheme. */

import { allocate } from "../../compiler/numeric/element.ts";
import { formatMax, type NumberFormat } from "../../compiler/numeric/number_format.ts";
import { type QuantScheme, roundStep, stepDivisor, stepShape } from "../../compiler/numeric/scheme.ts";
import {
  codesElement,
  type PlainTensor,
  plainTensor,
  type QuantizedTensor,
  sizeOf,
  stridesOf,
} from "../../compiler/ir/tensor.ts";
import { encodeWith, fitBlock } from "./fit.ts";
import { codesThatFit, outerUnits } from "./two_level.ts";

/** Visits the blocks of a tensor in row-major order of the steps; `entries` are the flat places of one block. */
export function forEachBlock(
  shape: readonly number[],
  scheme: QuantScheme,
  visit: (block: number, entries: Uint32Array) => void,
): void {
  const grid = stepShape(scheme, shape);
  const strides = stridesOf(shape);
  const counts = sizeOf(grid);
  const gridStrides = stridesOf(grid);
  for (let block = 0; block < counts; block++) {
    const ranges = shape.map((extent, axis) => {
      const entry = scheme.block[axis];
      const width = entry === "all" ? extent : entry;
      const start = (Math.floor(block / gridStrides[axis]) % grid[axis]) * width;
      return { start, end: Math.min(extent, start + width) };
    });
    visit(block, placesOf(ranges, strides));
  }
}

function placesOf(ranges: readonly { readonly start: number; readonly end: number }[], strides: readonly number[]) {
  let places: Uint32Array = Uint32Array.of(0);
  ranges.forEach(({ start, end }, axis) => {
    const next = new Uint32Array(places.length * (end - start));
    let at = 0;
    for (const place of places) {
      for (let index = start; index < end; index++) next[at++] = place + index * strides[axis];
    }
    places = next;
  });
  return places;
}

export const stepRules = ["rounded", "floor"] as const;
export type StepRule = (typeof stepRules)[number];

/** 2^(floor(log2 largest) - floor(log2 formatMax)): the shared scale of OCP MX 1.0, section 6.3. Magnitudes may saturate. */
export function floorStep(format: NumberFormat, largest: number): number {
  return 2 ** (floorLog2(largest) - floorLog2(formatMax(format)));
}

/** floor(log2 x) of a finite x > 0. Math.log2 may round up to the next integer just below a power of two. */
function floorLog2(x: number): number {
  const exponent = Math.floor(Math.log2(x));
  return 2 ** exponent > x ? exponent - 1 : exponent;
}

export interface EncodeOptions {
  readonly scheme: QuantScheme;
  readonly clip: "none" | "search";
  /** Power-of-two steps: `rounded` as `stepDivisor` says, `floor` as OCP MX 1.0 does it; `rounded` when absent. */
  readonly stepRule?: StepRule;
  readonly onProgress?: (fraction: number) => void;
}

/** The quantized tensor nearest to `weights`: each block is fitted on its own, under an outer step where there are two levels. */
export function encodeTensor(weights: PlainTensor<"f32">, options: EncodeOptions): QuantizedTensor {
  if (options.scheme.outer === undefined) return encodeBlocks(weights, options);
  const { units, outerSteps } = outerUnits(weights, options.scheme);
  return { ...encodeBlocks(units, options), outerSteps };
}

function encodeBlocks(weights: PlainTensor<"f32">, options: EncodeOptions): QuantizedTensor {
  const { scheme, clip } = options;
  const element = codesElement(scheme);
  const grid = stepShape(scheme, weights.shape);
  const steps = new Float32Array(sizeOf(grid));
  const zeros = new Int32Array(sizeOf(grid));
  const codes = allocate(element, weights.data.length);
  if (codes instanceof BigInt64Array || codes instanceof BigUint64Array) {
    throw new RangeError("codes are at most 32 bits");
  }
  const fitOptions = {
    format: scheme.format,
    zeroPoint: scheme.zeroPoint,
    clip,
    roundStep: (step: number) => roundStep(scheme.step, step),
    wholeStep: (largest: number) =>
      roundStep(
        scheme.step,
        scheme.step === "e8m0" && options.stepRule === "floor"
          ? floorStep(scheme.format, largest)
          : largest / stepDivisor(scheme.format, scheme.step),
      ),
  };
  forEachBlock(weights.shape, scheme, (block, places) => {
    const values = new Float32Array(places.length);
    places.forEach((place, index) => values[index] = weights.data[place]);
    const fit = fitBlock(values, fitOptions);
    steps[block] = fit.step;
    zeros[block] = fit.zero;
    const range = scheme.outer !== undefined && scheme.format.kind === "int"
      ? codesThatFit(scheme.format, fit.step, fit.zero)
      : undefined;
    for (const place of places) codes[place] = encodeWith(weights.data[place], fit, scheme.format, range);
  });
  return {
    kind: "quantized",
    scheme,
    element: "f32",
    shape: weights.shape,
    codes: plainTensor(element, weights.shape, codes),
    steps: plainTensor("f32", grid, steps),
    ...(scheme.zeroPoint ? { zeros: plainTensor("i32", grid, zeros) } : {}),
  };
}
