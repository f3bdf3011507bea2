/** Packs 8-bit weights in panel order. */

import { panelCount, panelPlace, type QuantizedMatrix } from "./matrix.ts";
import { int8BlockShape, type Int8Layout, paddedDepth } from "./int8.ts";
import { writeStep } from "./steps.ts";

/** What is subtracted from codes so that they fit a signed byte: 128 when unsigned codes pass 127. */
export function codeShift(codes: ArrayLike<number>): number {
  for (let index = 0; index < codes.length; index++) if (codes[index] > 127) return 128;
  return 0;
}

/** Whether any zero point differs from the shift, so that kernels must subtract it. */
export function hasZeros(matrix: QuantizedMatrix, shift: number): boolean {
  return matrix.zeros === undefined ? shift !== 0 : matrix.zeros.some((zero) => zero !== shift);
}

/**
 * Panels of blocks; a block is [depth / 2][panelColumns][2] i8 codes, then its steps (for real sums), its offsets and its
 * zero points (i32), where there are any. Codes past the depth or the columns are 0.
 */
export function packInt8Panels(
  matrix: QuantizedMatrix,
  layout: Int8Layout,
): Uint8Array<ArrayBuffer> {
  const { view, blocks, codes, steps, zeros, offsets } = matrix;
  const { panelColumns } = layout;
  const shift = codeShift(codes);
  const depth = blocks === 1 ? paddedDepth(view.depth) : matrix.block;
  const shape = int8BlockShape(layout, depth);
  const blockBytes = shape.bytes;
  const panels = panelCount(view, panelColumns);
  const bytes = new Uint8Array(panels * blocks * blockBytes);
  const codesOut = new Int8Array(bytes.buffer);
  const words = new DataView(bytes.buffer);
  for (let column = 0; column < view.columns; column++) {
    const { panel, lane } = panelPlace(view, panelColumns, column);
    const panelStart = panel * blocks * blockBytes;
    for (let block = 0; block < blocks; block++) {
      const start = panelStart + block * blockBytes;
      const first = block * matrix.block;
      const count = Math.min(view.depth - first, matrix.block);
      let from = first * view.depthStride + column * view.columnStride;
      for (let k = 0; k < count; k++, from += view.depthStride) {
        codesOut[start + (k >> 1) * 2 * panelColumns + 2 * lane + (k & 1)] = codes[from] - shift;
      }
      const index = matrix.stepIndex(block, column);
      if (layout.sums === "real") writeStep(words, start + shape.stepsAt, lane, layout.step, steps[index]);
      if (layout.weightOffsets) {
        writeStep(words, start + shape.offsetsAt, lane, layout.step, offsets?.[index] ?? 0);
      }
      if (layout.weightZeros) words.setInt32(start + shape.zerosAt + 4 * lane, (zeros?.[index] ?? 0) - shift, true);
    }
  }
  return bytes;
}
