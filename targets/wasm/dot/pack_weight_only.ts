/** Packs quantized weights for f32 rows in panel order. */

import { panelCount, panelPlace, type QuantizedMatrix } from "./matrix.ts";
import { writeNibbleZero } from "./pack_nibble.ts";
import { writeStep } from "./steps.ts";
import { type WeightOnlyLayout, weightOnlyShape } from "./weight_only.ts";

/** What is subtracted from codes before they are stored, and the zero point that is left, where all blocks agree. */
export interface StoredCodes {
  readonly shift: number;
  readonly zero?: number;
}

/** Nibbles are stored from 0, bytes from -128; one zero point for all goes into the bytes where they still fit. */
export function storedCodes(matrix: QuantizedMatrix, layout: "nibble" | "byte", low: number): StoredCodes | undefined {
  const { zeros, codes } = matrix;
  const shared = zeros === undefined ? 0 : zeros.every((zero) => zero === zeros[0]) ? zeros[0] : undefined;
  let [least, most] = [Infinity, -Infinity];
  for (let index = 0; index < codes.length; index++) {
    least = Math.min(least, codes[index]);
    most = Math.max(most, codes[index]);
  }
  if (layout === "nibble") {
    if (least < low || most - low > 15) return undefined;
    return { shift: low, zero: shared === undefined ? undefined : shared - low };
  }
  const shift = shared !== undefined && least - shared >= -128 && most - shared <= 127 ? shared : most > 127 ? 128 : 0;
  return { shift, zero: shared === undefined ? undefined : shared - shift };
}

/** Panels of blocks: steps, zero points, offsets, codes. Padding is 0. */
export function packWeightOnlyPanels(
  matrix: QuantizedMatrix,
  stored: StoredCodes,
  layout: WeightOnlyLayout,
): Uint8Array<ArrayBuffer> {
  const { view } = matrix;
  const { panelColumns } = layout;
  const shape = weightOnlyShape(layout);
  const panels = panelCount(view, panelColumns);
  const bytes = new Uint8Array(panels * shape.blocks * shape.blockBytes);
  const words = new DataView(bytes.buffer);
  for (let column = 0; column < view.columns; column++) {
    const { panel, lane } = panelPlace(view, panelColumns, column);
    const panelStart = panel * shape.blocks * shape.blockBytes;
    for (let block = 0; block < shape.blocks; block++) {
      const start = panelStart + block * shape.blockBytes;
      const first = block * matrix.block;
      const count = Math.min(view.depth - first, matrix.block);
      const index = matrix.stepIndex(block, column);
      let from = first * view.depthStride + column * view.columnStride;
      for (let k = 0; k < count; k++, from += view.depthStride) {
        const code = matrix.codes[from] - stored.shift;
        if (layout.codes === "byte") {
          bytes[start + shape.codesAt + (k >> 2) * 4 * panelColumns + 4 * lane + (k & 3)] = code;
        } else {
          const at = start + shape.codesAt + (k >> 3) * 4 * panelColumns + 4 * lane + (k & 3);
          bytes[at] |= (k & 4) === 0 ? code : code << 4;
        }
      }
      writeStep(words, start, lane, layout.step, matrix.steps[index]);
      const zero = (matrix.zeros?.[index] ?? 0) - stored.shift;
      if (layout.zeros === "u4") writeNibbleZero(bytes, start + shape.zerosAt, lane, zero);
      if (layout.zeros === "i16") words.setInt16(start + shape.zerosAt + 2 * lane, zero, true);
      if (layout.offsets) {
        writeStep(words, start + shape.offsetsAt, lane, layout.step, matrix.offsets?.[index] ?? 0);
      }
    }
  }
  return bytes;
}
