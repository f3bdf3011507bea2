/** Sums of matrix products over strided views, in blocks through the WebAssembly kernel. */

import { block, type Precision, productKernel, tileColumns, tileRows } from "./kernel.ts";

/** Numbers of a matrix, or of a part of one, where they lie: entry (i, j) is at offset + i · rowStride + j · columnStride. */
export interface MatrixView {
  readonly entries: Float32Array | Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly offset: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/** A row-major matrix as a view. */
export function rowMajor(entries: Float32Array | Float64Array, rows: number, columns: number): MatrixView {
  return { entries, rows, columns, offset: 0, rowStride: columns, columnStride: 1 };
}

/** Rows [top, bottom) and columns [left, right) of a view. */
export function part(view: MatrixView, top: number, bottom: number, left: number, right: number): MatrixView {
  return {
    ...view,
    rows: bottom - top,
    columns: right - left,
    offset: view.offset + top * view.rowStride + left * view.columnStride,
  };
}

export function transposed(view: MatrixView): MatrixView {
  return {
    ...view,
    rows: view.columns,
    columns: view.rows,
    rowStride: view.columnStride,
    columnStride: view.rowStride,
  };
}

export interface ProductOptions {
  /** Factor of the product; 1 when absent. */
  readonly gain?: number;
  /** What products are computed and summed in, over at most 256 entries of depth; longer sums add up in `sum`'s own format. */
  readonly precision: Precision;
  /** Leaves out the blocks that lie above the diagonal altogether. */
  readonly lowerOnly?: boolean;
}

/**
 * sum [m, n] += gain · left [m, k] · right [k, n]. Views may share an array if their places are apart.
 *
 * With u the unit roundoff of the precision, every entry errs by at most 257 u / (1 - 257 u) · |gain| · Σ |left| |right|
 * beside the rounding of the at most k / 256 additions into `sum` (Higham, "Accuracy and Stability", section 3.1).
 */
export function addProduct(sum: MatrixView, left: MatrixView, right: MatrixView, options: ProductOptions): void {
  const { gain = 1, precision, lowerOnly = false } = options;
  const kernel = productKernel(precision);
  const width = tileColumns(precision);
  for (let from = 0; from < left.columns; from += block.depth) {
    const depth = Math.min(block.depth, left.columns - from);
    for (let start = 0; start < sum.columns; start += block.columns) {
      const columns = Math.min(block.columns, sum.columns - start);
      const rightPanels = pack(
        kernel.right,
        transposed(part(right, from, from + depth, start, start + columns)),
        width,
      );
      for (let top = 0; top < sum.rows; top += block.rows) {
        const rows = Math.min(block.rows, sum.rows - top);
        if (lowerOnly && start >= top + rows) continue;
        const leftPanels = pack(kernel.left, part(left, top, top + rows, from, from + depth), tileRows);
        kernel.multiply(leftPanels, rightPanels, depth);
        addTiles(part(sum, top, top + rows, start, start + columns), kernel.tiles, width, gain);
      }
    }
  }
}

/** Writes a view [extent, depth] as panels [depth][height] of `height` rows, the last one filled with zeros; the number of panels. */
function pack(packed: Float32Array | Float64Array, view: MatrixView, height: number): number {
  const { entries, rows, columns: depth, offset, rowStride, columnStride } = view;
  const panels = Math.ceil(rows / height);
  for (let panel = 0; panel < panels; panel++) {
    const base = panel * height * depth;
    for (let lane = 0; lane < height; lane++) {
      const row = panel * height + lane;
      if (row >= rows) {
        for (let step = 0, to = base + lane; step < depth; step++, to += height) packed[to] = 0;
        continue;
      }
      let from = offset + row * rowStride;
      for (let step = 0, to = base + lane; step < depth; step++, to += height, from += columnStride) {
        packed[to] = entries[from];
      }
    }
  }
  return panels;
}

function addTiles(sum: MatrixView, tiles: Float32Array | Float64Array, width: number, gain: number): void {
  const { entries, rows, columns, offset, rowStride, columnStride } = sum;
  const leftPanels = Math.ceil(rows / tileRows);
  for (let start = 0, tile = 0; start < columns; start += width) {
    const end = Math.min(width, columns - start);
    for (let panel = 0; panel < leftPanels; panel++, tile += tileRows * width) {
      const height = Math.min(tileRows, rows - panel * tileRows);
      for (let row = 0; row < height; row++) {
        let to = offset + (panel * tileRows + row) * rowStride + start * columnStride;
        const from = tile + row * width;
        for (let column = 0; column < end; column++, to += columnStride) entries[to] += gain * tiles[from + column];
      }
    }
  }
}
