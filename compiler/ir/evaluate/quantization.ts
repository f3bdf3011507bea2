/** quantize, dequantize, and the ops that take a quantized tensor apart or put it together. */

import { allocate, roundHalfEven } from "../../numeric/element.ts";
import { codeElement, intRange } from "../../numeric/number_format.ts";
import { type QuantScheme, roundStep, stepDivisor, stepShape } from "../../numeric/scheme.ts";
import type { OpAttributes } from "../node.ts";
import { type PlainTensor, plainTensor, type QuantizedTensor, sizeOf, type Tensor } from "../tensor.ts";
import { decodedTensor, encodeQuotient } from "./codes.ts";
import { plainInput, quantizedInput } from "./environment.ts";
import { numberData, readIntegers, readNumbers } from "./numbers.ts";
import { type StepGrid, stepGrid } from "./step_grid.ts";

export function evaluateQuantize(inputs: readonly Tensor[], { scheme }: OpAttributes["quantize"]): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const values = Float32Array.from(readNumbers(x));
  const shape = stepShape(scheme, x.shape);
  const grid = stepGrid(scheme, x.shape);
  const parts = scheme.range === "dynamic"
    ? dynamicSteps(scheme, values, grid, shape)
    : staticSteps(scheme, inputs, shape);
  return [encodeTensor(values, x, scheme, grid, parts.steps, parts.zeros)];
}

interface StepParts {
  readonly steps: PlainTensor<"f32">;
  readonly zeros?: PlainTensor<"i32">;
}

function staticSteps(
  scheme: QuantScheme,
  inputs: readonly Tensor[],
  shape: readonly number[],
): StepParts {
  return stepParts(scheme, plainInput(inputs, 1), scheme.zeroPoint ? plainInput(inputs, 2) : undefined, shape);
}

/** Steps and zero points of the scheme's step shape; one value stands for all. */
function stepParts(
  scheme: QuantScheme,
  step: PlainTensor,
  zero: PlainTensor | undefined,
  shape: readonly number[],
): StepParts {
  const count = sizeOf(shape);
  const steps = spreadSteps(step, shape);
  if (!scheme.zeroPoint || zero === undefined) return { steps };
  return { steps, zeros: plainTensor("i32", shape, Int32Array.from(spread(readIntegers(zero), count))) };
}

function spreadSteps(step: PlainTensor, shape: readonly number[]): PlainTensor<"f32"> {
  return plainTensor("f32", shape, Float32Array.from(spread(readNumbers(step), sizeOf(shape))));
}

function spread(values: ArrayLike<number>, count: number): ArrayLike<number> {
  return values.length === count ? values : new Array<number>(count).fill(values[0]);
}

/** Steps (and zero points) of every block from its own extremes, in f32. */
function dynamicSteps(
  scheme: QuantScheme,
  values: Float32Array,
  grid: StepGrid,
  shape: readonly number[],
): StepParts {
  const count = sizeOf(shape);
  const low = new Float32Array(count);
  const high = new Float32Array(count);
  for (let row = 0, at = 0; row < grid.rows; row++) {
    const base = grid.rowStep[row];
    for (let column = 0; column < grid.columns; column++, at++) {
      const block = base + grid.columnStep[column];
      const value = values[at];
      if (value < low[block]) low[block] = value;
      if (value > high[block]) high[block] = value;
    }
  }
  const steps = new Float32Array(count);
  const zeros = new Int32Array(count);
  const largest = stepDivisor(scheme.format, scheme.step);
  for (let block = 0; block < count; block++) {
    if (scheme.zeroPoint && scheme.format.kind === "int") {
      const { min, max } = intRange(scheme.format);
      const span = Math.fround(high[block] - low[block]);
      const step = roundStep(scheme.step, Math.fround(span / Math.fround(max - min))) || 1;
      const start = Math.fround(min - Math.fround(low[block] / step));
      steps[block] = step;
      zeros[block] = Math.min(max, Math.max(min, roundHalfEven(start)));
    } else {
      const most = Math.max(-low[block], high[block]);
      steps[block] = roundStep(scheme.step, Math.fround(most / largest)) || 1;
    }
  }
  return {
    steps: plainTensor("f32", shape, steps),
    zeros: scheme.zeroPoint ? plainTensor("i32", shape, zeros) : undefined,
  };
}

function encodeTensor(
  values: Float32Array,
  x: PlainTensor,
  scheme: QuantScheme,
  grid: StepGrid,
  steps: PlainTensor<"f32">,
  zeros: PlainTensor<"i32"> | undefined,
): QuantizedTensor {
  const element = codeElement(scheme.format);
  const codes = allocate(element, values.length);
  const target = numberData(codes);
  const { format } = scheme;
  for (let row = 0, at = 0; row < grid.rows; row++) {
    const base = grid.rowStep[row];
    for (let column = 0; column < grid.columns; column++, at++) {
      const block = base + grid.columnStep[column];
      const quotient = Math.fround(values[at] / steps.data[block]);
      target[at] = encodeQuotient(format, quotient, zeros === undefined ? 0 : zeros.data[block]);
    }
  }
  return {
    kind: "quantized",
    scheme,
    element: x.element,
    shape: x.shape,
    codes: plainTensor(element, x.shape, codes),
    steps,
    zeros,
  };
}

export function evaluateDequantize(inputs: readonly Tensor[]): readonly Tensor[] {
  return [decodedTensor(quantizedInput(inputs, 0))];
}

export function evaluateFromCodes(
  inputs: readonly Tensor[],
  { scheme, element }: OpAttributes["fromCodes"],
): readonly Tensor[] {
  const codes = plainInput(inputs, 0);
  const zero = scheme.zeroPoint ? plainInput(inputs, 2) : undefined;
  const parts = stepParts(scheme, plainInput(inputs, 1), zero, stepShape(scheme, codes.shape));
  const offset = scheme.offset ? plainInput(inputs, scheme.zeroPoint ? 3 : 2) : undefined;
  const offsets = offset === undefined ? undefined : spreadSteps(offset, stepShape(scheme, codes.shape));
  return [{ kind: "quantized", scheme, element, shape: codes.shape, codes, ...parts, offsets }];
}

export function evaluateToCodes(inputs: readonly Tensor[]): readonly Tensor[] {
  return [quantizedInput(inputs, 0).codes];
}

export function evaluateToSteps(inputs: readonly Tensor[]): readonly Tensor[] {
  return [quantizedInput(inputs, 0).steps];
}
