/** Batched matrix products over rows of equal depth. */

import { sizeOf } from "../tensor.ts";
import type { SumStore } from "./convolution.ts";
import { dotRows } from "./dot.ts";
import { depthSegments, dotSteppedRows, type OperandRows } from "./operand_rows.ts";
import { broadcastAll, broadcastStrides } from "./strided.ts";

export interface MatmulGeometry {
  readonly aRank: number;
  readonly bRank: number;
  /** Rows of the left operand per batch (M), columns of the product (N), and K. */
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly shape: readonly number[];
  /** Batch index of each operand by batch index of the product. */
  readonly batches: readonly { readonly a: number; readonly b: number }[];
}

export function matmulGeometry(a: readonly number[], b: readonly number[], transposeB: boolean): MatmulGeometry {
  const rows = a[a.length - 2];
  const depth = a[a.length - 1];
  const columns = transposeB ? b[b.length - 2] : b[b.length - 1];
  const aBatch = a.slice(0, -2);
  const bBatch = b.slice(0, -2);
  const batch = broadcastAll([aBatch, bBatch]);
  const shape = [...batch, rows, columns];
  const common = { aRank: a.length, bRank: b.length, columns, depth, shape };
  // One right operand for all batches: the left rows of all batches make one matrix.
  if (sizeOf(bBatch) === 1) return { ...common, rows: rows * sizeOf(batch), batches: [{ a: 0, b: 0 }] };
  const aStrides = broadcastStrides(aBatch, batch);
  const bStrides = broadcastStrides(bBatch, batch);
  const batches = Array.from({ length: sizeOf(batch) }, (_, index) => {
    let rest = index;
    let aIndex = 0;
    let bIndex = 0;
    for (let axis = batch.length - 1; axis >= 0; axis--) {
      const position = rest % batch[axis];
      rest = (rest - position) / batch[axis];
      aIndex += position * aStrides[axis];
      bIndex += position * bStrides[axis];
    }
    return { a: aIndex, b: bIndex };
  });
  return { ...common, rows, batches };
}

/** Sums of one tile; bounds its memory to 16 MiB. */
const tileSums = 1 << 20;

/** Calls `store(index in the product, column, sum)` for every entry of the product. */
export function multiplyRows(
  geometry: MatmulGeometry,
  a: OperandRows,
  b: OperandRows,
  store: SumStore,
): void {
  const { rows, columns, depth } = geometry;
  const tileRows = Math.max(1, Math.min(rows, Math.floor(tileSums / Math.max(1, columns))));
  const sums = new Float64Array(tileRows * columns);
  const stepped = a.steps !== undefined && b.steps !== undefined;
  const partial = stepped ? new Float64Array(tileRows * columns) : sums;
  const segments = a.steps !== undefined && b.steps !== undefined
    ? depthSegments(depth, a.steps.depth, b.steps.depth)
    : [];
  geometry.batches.forEach((batch, batchIndex) => {
    for (let start = 0; start < rows; start += tileRows) {
      const count = Math.min(tileRows, rows - start);
      const firstLeft = batch.a * rows + start;
      const firstRight = batch.b * columns;
      const left = { data: a.values, offset: firstLeft * depth, count };
      const right = { data: b.values, offset: firstRight * depth, count: columns };
      if (a.steps !== undefined && b.steps !== undefined) {
        const leftSteps = { ...left, steps: a.steps, firstRow: firstLeft };
        const rightSteps = { ...right, steps: b.steps, firstRow: firstRight };
        dotSteppedRows(leftSteps, rightSteps, depth, segments, sums, partial);
      } else {
        dotRows(left, right, depth, 0, depth, { data: sums, offset: 0, stride: columns });
      }
      let index = (batchIndex * rows + start) * columns;
      for (let row = 0, at = 0; row < count; row++) {
        for (let column = 0; column < columns; column++) store(index++, column, sums[at++]);
      }
    }
  });
}
