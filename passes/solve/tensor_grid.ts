/** The grid of a quantized weight matrix as solvers see it: fixed steps and zero points, codes free. */

import { allocate } from "../../compiler/numeric/element.ts";
import { decodeCode } from "../../compiler/numeric/number_format.ts";
import { codesElement, type PlainTensor, plainTensor, type QuantizedTensor } from "../../compiler/ir/tensor.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { encodeWith } from "../quantize/fit.ts";
import type { ColumnGrid } from "./gptq.ts";

/** Step and zero point of entry (row, column) of a [N, K] tensor. */
function fits(tensor: QuantizedTensor): (row: number, column: number) => { step: number; zero: number } {
  const [rowBlock, columnBlock] = tensor.scheme.block;
  const columns = tensor.steps.shape[1];
  const at = (index: number, block: number | "all") => (block === "all" ? 0 : Math.floor(index / block));
  return (row, column) => {
    const place = at(row, rowBlock) * columns + at(column, columnBlock);
    return { step: tensor.steps.data[place], zero: tensor.zeros?.data[place] ?? 0 };
  };
}

/** Rounds columns to the tensor's grid. Blocks stay those of the original columns, in whatever order they are visited. */
export function tensorGrid(tensor: QuantizedTensor): ColumnGrid {
  const fitOf = fits(tensor);
  const { format } = tensor.scheme;
  return {
    round: (column, values, rounded) => {
      for (let row = 0; row < values.length; row++) {
        const fit = fitOf(row, column);
        rounded[row] = (decodeCode(format, encodeWith(values[row], fit, format)) - fit.zero) * fit.step;
      }
    },
  };
}

/** Codes of values that lie on the grid already. */
export function encodeOnGrid(tensor: QuantizedTensor, values: Float64Array): QuantizedTensor {
  const fitOf = fits(tensor);
  const columns = tensor.shape[1];
  const element = codesElement(tensor.scheme);
  const codes = allocate(element, values.length);
  if (codes instanceof BigInt64Array || codes instanceof BigUint64Array) {
    throw new InvariantError("Codes are at most 32 bits");
  }
  for (let index = 0; index < values.length; index++) {
    codes[index] = encodeWith(values[index], fitOf(Math.floor(index / columns), index % columns), tensor.scheme.format);
  }
  return { ...tensor, codes: plainTensor(element, tensor.shape, codes) };
}

/** The real weights that the codes stand for. */
export function decodeWeights(tensor: QuantizedTensor): PlainTensor<"f32"> {
  const fitOf = fits(tensor);
  const columns = tensor.shape[1];
  const data = new Float32Array(tensor.codes.data.length);
  for (let index = 0; index < data.length; index++) {
    const fit = fitOf(Math.floor(index / columns), index % columns);
    data[index] = (decodeCode(tensor.scheme.format, Number(tensor.codes.data[index])) - fit.zero) * fit.step;
  }
  return plainTensor("f32", tensor.shape, data);
}
