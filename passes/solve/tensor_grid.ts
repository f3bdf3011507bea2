/** The grid of a quantized weight matrix as solvers see it: fixed steps and zero points, codes free. */

import { allocate } from "../../compiler/numeric/element.ts";
import { decodeCode, intRange, type NumberFormat } from "../../compiler/numeric/number_format.ts";
import { codesElement, plainTensor, type QuantizedTensor } from "../../compiler/ir/tensor.ts";
import { clampCode } from "../../compiler/ir/evaluate/codes.ts";
import { stepOffsets } from "../../compiler/ir/evaluate/step_grid.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Matrix } from "../../compiler/numeric/linalg.ts";
import { outerScheme } from "../../compiler/numeric/scheme.ts";
import { encodeWith } from "../quantize/fit.ts";
import { codesThatFit } from "../quantize/two_level.ts";
import type { ColumnGrid } from "./gptq.ts";

/** Rounds columns to the tensor's grid. Blocks stay those of the original columns, in whatever order they are visited. */
export function tensorGrid(tensor: QuantizedTensor): ColumnGrid {
  const { format } = tensor.scheme;
  const steps = wholeSteps(tensor);
  const zeros = tensor.zeros?.data ?? new Int32Array(steps.length);
  const { rowStep, columnStep } = places(tensor);
  const centred = centredRounding(format);
  const ranges = codeRanges(tensor);
  return {
    round: (column, values, rounded) => {
      for (let row = 0; row < values.length; row++) {
        const place = rowStep[row] + columnStep[column];
        rounded[row] = centred(values[row], steps[place], zeros[place], ranges?.[place]) * steps[place];
      }
    },
  };
}

/** The step of every block in units of the weights: its outer step times its own where steps have two levels. */
function wholeSteps(tensor: QuantizedTensor): ArrayLike<number> {
  const { steps, outerSteps, scheme, shape } = tensor;
  if (outerSteps === undefined) return steps.data;
  const { rowStep, columnStep } = places(tensor);
  const outer = places({ ...tensor, scheme: outerScheme(scheme) });
  const whole = new Float64Array(steps.data.length);
  for (let row = 0; row < shape[0]; row++) {
    for (let column = 0; column < shape[1]; column++) {
      const place = rowStep[row] + columnStep[column];
      whole[place] = steps.data[place] * outerSteps.data[outer.rowStep[row] + outer.columnStep[column]];
    }
  }
  return whole;
}

/** Codes that each block may use, where they are fewer than its format has. */
function codeRanges({ scheme, steps, zeros, outerSteps }: QuantizedTensor): readonly CodeRange[] | undefined {
  const { format } = scheme;
  if (outerSteps === undefined || format.kind !== "int") return undefined;
  return Array.from(steps.data, (step, place) => codesThatFit(format, step, zeros?.data[place] ?? 0));
}

interface CodeRange {
  readonly min: number;
  readonly max: number;
}

/** A grid whose steps are fitted as the sweep goes; `fitted` is the tensor with the steps in force at its end. */
export interface FreshGrid extends ColumnGrid {
  readonly fitted: () => QuantizedTensor;
}

/**
 * The grid of `tensor` with the steps of each block of columns fitted anew by `fit` when the sweep reaches the block, to the
 * weights as the errors of earlier columns have left them.
 */
export function freshGrid(tensor: QuantizedTensor, fit: (run: Matrix) => QuantizedTensor): FreshGrid {
  const [, columns] = tensor.shape;
  const [, block] = tensor.scheme.block;
  const steps = tensor.steps.data.slice();
  const zeros = tensor.zeros?.data.slice();
  const fresh: QuantizedTensor = {
    ...tensor,
    steps: plainTensor("f32", tensor.steps.shape, steps),
    ...(zeros === undefined ? {} : { zeros: plainTensor("i32", tensor.steps.shape, zeros) }),
  };
  const { rowStep, columnStep } = places(tensor);
  return {
    ...tensorGrid(fresh),
    runs: {
      extent: block === "all" ? columns : block,
      fit: (column, values) => {
        const fitted = fit(values);
        rowStep.forEach((rowPlace, row) => {
          const [to, from] = [rowPlace + columnStep[column], fitted.steps.data.length === 1 ? 0 : row];
          steps[to] = fitted.steps.data[from];
          if (zeros !== undefined) zeros[to] = fitted.zeros?.data[from] ?? 0;
        });
      },
    },
    fitted: () => fresh,
  };
}

/** value(code) - zero of the code nearest to a weight. */
function centredRounding(
  format: NumberFormat,
): (value: number, step: number, zero: number, range?: CodeRange) => number {
  if (format.kind !== "int") {
    return (value, step, zero) => decodeCode(format, encodeWith(value, { step, zero }, format)) - zero;
  }
  const whole = intRange(format);
  return (value, step, zero, { min, max } = whole) => clampCode(Math.fround(value / step), zero, min, max) - zero;
}

/** Entry (row, column) of the matrix uses step `rowStep[row] + columnStep[column]`. */
function places({ scheme, shape }: QuantizedTensor): {
  readonly rowStep: Int32Array;
  readonly columnStep: Int32Array;
} {
  return { rowStep: stepOffsets(scheme, shape, [0]), columnStep: stepOffsets(scheme, shape, [1]) };
}

/** Codes of values that lie on the grid already. */
export function encodeOnGrid(tensor: QuantizedTensor, values: Float64Array): QuantizedTensor {
  const element = codesElement(tensor.scheme);
  const codes = allocate(element, values.length);
  if (codes instanceof BigInt64Array || codes instanceof BigUint64Array) {
    throw new InvariantError("Codes are at most 32 bits");
  }
  const { rowStep, columnStep } = places(tensor);
  const { format } = tensor.scheme;
  const steps = wholeSteps(tensor);
  const ranges = codeRanges(tensor);
  for (let row = 0, index = 0; row < rowStep.length; row++) {
    for (let column = 0; column < columnStep.length; column++, index++) {
      const place = rowStep[row] + columnStep[column];
      const fit = { step: steps[place], zero: tensor.zeros?.data[place] ?? 0 };
      codes[index] = encodeWith(values[index], fit, format, ranges?.[place]);
    }
  }
  return { ...tensor, codes: plainTensor(element, tensor.shape, codes) };
}
