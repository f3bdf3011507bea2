/** Which step (and zero point) every entry of a quantized tensor uses. */

import type { QuantScheme } from "../../numeric/scheme.ts";
import { stepShape } from "../../numeric/scheme.ts";
import { stridesOf } from "../tensor.ts";

/** Entry (row r, column c) of the flattened tensor uses step `rowStep[r] + columnStep[c]`. */
export interface StepGrid {
  readonly rows: number;
  readonly columns: number;
  readonly rowStep: Int32Array;
  readonly columnStep: Int32Array;
}

/** Splits the axes into rows and columns (trailing axes that share one step are columns) and tabulates both. */
export function stepGrid(scheme: QuantScheme, shape: readonly number[]): StepGrid {
  let split = shape.length;
  const isShared = (axis: number) => blockOf(scheme, shape, axis) >= shape[axis];
  while (split > 0 && isShared(split - 1)) split--;
  if (split === shape.length) split = Math.max(0, split - 1);
  const axes = shape.map((_, axis) => axis);
  const rowStep = stepOffsets(scheme, shape, axes.slice(0, split));
  const columnStep = stepOffsets(scheme, shape, axes.slice(split));
  return { rows: rowStep.length, columns: columnStep.length, rowStep, columnStep };
}

/** Part of the step index that some axes contribute, over all index tuples of these axes in row-major order. */
export function stepOffsets(scheme: QuantScheme, shape: readonly number[], axes: readonly number[]): Int32Array {
  const strides = stridesOf(stepShape(scheme, shape));
  let offsets = new Int32Array(1);
  for (const axis of axes) {
    const extent = shape[axis];
    const block = blockOf(scheme, shape, axis);
    const grown = new Int32Array(offsets.length * extent);
    for (let outer = 0; outer < offsets.length; outer++) {
      for (let index = 0; index < extent; index++) {
        grown[outer * extent + index] = offsets[outer] + Math.floor(index / block) * strides[axis];
      }
    }
    offsets = grown;
  }
  return offsets;
}

function blockOf(scheme: QuantScheme, shape: readonly number[], axis: number): number {
  const block = scheme.block[axis];
  return block === "all" || block === undefined ? Math.max(1, shape[axis]) : block;
}
