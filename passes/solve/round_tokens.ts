/** What the dynamic per-token quantizer makes of rows of activations: codes and back. */

import { roundHalfEven } from "../../compiler/numeric/element.ts";
import { type PlainTensor, plainTensor } from "../../compiler/ir/tensor.ts";

/** Every row (last axis) rounded to `bits` with its own step; 0 bits leaves the rows as they are. */
export function roundTokens(x: PlainTensor<"f32">, bits: number, zeroPoint: boolean): PlainTensor<"f32"> {
  if (bits === 0) return x;
  const columns = x.shape[x.shape.length - 1];
  const data = x.data.slice();
  for (let start = 0; start < data.length; start += columns) {
    roundRow(data.subarray(start, start + columns), bits, zeroPoint);
  }
  return plainTensor("f32", x.shape, data);
}

function roundRow(row: Float32Array, bits: number, zeroPoint: boolean): void {
  let low = 0;
  let high = 0;
  for (const value of row) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const largest = Math.max(-low, high);
  if (largest === 0) return;
  const [min, max] = zeroPoint ? [0, 2 ** bits - 1] : [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1];
  const step = zeroPoint ? (high - low) / (max - min) : largest / max;
  const zero = zeroPoint ? Math.min(max, Math.max(min, roundHalfEven(min - low / step))) : 0;
  for (let index = 0; index < row.length; index++) {
    const code = Math.min(max, Math.max(min, roundHalfEven(row[index] / step) + zero));
    row[index] = (code - zero) * step;
  }
}
