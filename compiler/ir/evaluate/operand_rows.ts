/** Operands of contractions as rows of one depth, with the step that each row and each depth index uses. */

import { allocate } from "../../numeric/element.ts";
import { type PlainTensor, sizeOf, stridesOf, type Tensor } from "../tensor.ts";
import { centredValues, contractionSteps, decodedTensor } from "./codes.ts";
import { dotRows, type RowBlock, type Rows } from "./dot.ts";
import { floatData } from "./numbers.ts";
import { stepOffsets } from "./step_grid.ts";
import { copyStrided } from "./strided.ts";

/** Entry (r, k) has step `data[row[r] + depth[k]]`, and the offset at the same place. */
export interface Steps {
  readonly data: Float32Array<ArrayBuffer>;
  readonly offsets?: Float32Array<ArrayBuffer>;
  readonly row: Int32Array;
  readonly depth: Int32Array;
}

export interface OperandRows {
  readonly values: Rows;
  readonly rows: number;
  readonly depth: number;
  /** Present when the contraction has to apply the operand's steps. */
  readonly steps?: Steps;
}

/** A tensor as a matrix: rows over `rowAxes`, depth over `depthAxes`, both row-major in the order given. */
export function operandRows(
  tensor: Tensor,
  rowAxes: readonly number[],
  depthAxes: readonly number[],
  withSteps: boolean,
): OperandRows {
  const values = tensor.kind === "plain" ? floatData(tensor) : centredValues(tensor);
  const axes = [...rowAxes, ...depthAxes];
  const matrix = {
    values: permuted(values, tensor.shape, axes),
    rows: sizeOf(rowAxes.map((axis) => tensor.shape[axis])),
    depth: sizeOf(depthAxes.map((axis) => tensor.shape[axis])),
  };
  if (tensor.kind === "plain" || !withSteps) return matrix;
  const { scheme, steps: data } = contractionSteps(tensor);
  const steps = {
    data,
    offsets: tensor.offsets?.data,
    row: stepOffsets(scheme, tensor.shape, rowAxes),
    depth: stepOffsets(scheme, tensor.shape, depthAxes),
  };
  return { ...matrix, steps };
}

function permuted(values: Rows, shape: readonly number[], axes: readonly number[]): Rows {
  const moved = axes.filter((axis) => shape[axis] !== 1);
  if (moved.every((axis, index) => index === 0 || axis > moved[index - 1])) return values;
  const strides = stridesOf(shape);
  const extents = axes.map((axis) => shape[axis]);
  const data = values instanceof Float32Array ? allocate("f32", values.length) : allocate("f64", values.length);
  copyStrided(
    extents,
    { data: values, offset: 0, strides: axes.map((axis) => strides[axis]) },
    { data, offset: 0, strides: stridesOf(extents) },
  );
  return data;
}

/** The operand that a plain contraction sees: quantized tensors decoded to f32. */
export function decodedOperand(tensor: Tensor): PlainTensor {
  return tensor.kind === "plain" ? tensor : decodedTensor(tensor);
}

/** Depth ranges in which neither operand's step changes, ascending. */
export function depthSegments(depth: number, a: Int32Array, b: Int32Array): { from: number; to: number }[] {
  const segments: { from: number; to: number }[] = [];
  let from = 0;
  for (let index = 1; index <= depth; index++) {
    if (index === depth || a[index] !== a[index - 1] || b[index] !== b[index - 1]) {
      segments.push({ from, to: index });
      from = index;
    }
  }
  return segments;
}

/** Rows `start..` of an operand, with their steps. */
export interface StepBlock extends RowBlock {
  readonly steps: Steps;
  /** Index of the first row in `steps.row`. */
  readonly firstRow: number;
}

/**
 * sums[m][n] = Σ_segments f32(stepA * stepB) * f32(Σ a * b), each operation in f32, segments in ascending order. Where an
 * operand has offsets, each segment adds f32(its offset * the other's step) * f32(Σ the other) after its own term.
 * `partial` is scratch of the size of `sums`; both are dense, a.count by b.count.
 */
export function dotSteppedRows(
  a: StepBlock,
  b: StepBlock,
  depth: number,
  segments: readonly { readonly from: number; readonly to: number }[],
  sums: Float64Array<ArrayBuffer>,
  partial: Float64Array<ArrayBuffer>,
): void {
  const stride = b.count;
  sums.fill(0, 0, a.count * stride);
  for (const { from, to } of segments) {
    dotRows(a, b, depth, from, to, { data: partial, offset: 0, stride });
    const aTotals = b.steps.offsets === undefined ? undefined : rowTotals(a, depth, from, to);
    const bTotals = a.steps.offsets === undefined ? undefined : rowTotals(b, depth, from, to);
    for (let m = 0; m < a.count; m++) {
      const placeA = a.steps.row[a.firstRow + m] + a.steps.depth[from];
      const stepA = a.steps.data[placeA];
      const offsetA = a.steps.offsets === undefined ? 0 : a.steps.offsets[placeA];
      const at = m * stride;
      for (let n = 0; n < b.count; n++) {
        const placeB = b.steps.row[b.firstRow + n] + b.steps.depth[from];
        const stepB = b.steps.data[placeB];
        const term = Math.fround(Math.fround(stepA * stepB) * Math.fround(partial[at + n]));
        let sum = Math.fround(sums[at + n] + term);
        if (bTotals !== undefined) sum = addOffset(sum, offsetA, stepB, bTotals[n]);
        if (aTotals !== undefined) sum = addOffset(sum, b.steps.offsets?.[placeB] ?? 0, stepA, aTotals[m]);
        sums[at + n] = sum;
      }
    }
  }
}

function addOffset(sum: number, offset: number, step: number, total: number): number {
  return Math.fround(sum + Math.fround(Math.fround(step * offset) * Math.fround(total)));
}

/** Σ_{from <= k < to} of every row. */
function rowTotals(block: RowBlock, depth: number, from: number, to: number): Float64Array {
  return Float64Array.from({ length: block.count }, (_, row) => {
    let total = 0;
    for (let index = from; index < to; index++) total += block.data[block.offset + row * depth + index];
    return total;
  });
}
