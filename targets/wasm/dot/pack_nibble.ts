/** Packs 4-bit weights in panel order. */

import { panelCount, panelPlace, type QuantizedMatrix } from "./matrix.ts";
import { type NibbleLayout, nibbleShape } from "./nibble_rows.ts";
import { type PanelStep, panelStepOf, writeStep } from "./steps.ts";

/** How panels store the steps, and the offsets where there are any. */
export function panelStep(matrix: QuantizedMatrix): PanelStep {
  return panelStepOf(matrix.steps, matrix.offsets ?? []);
}

/** Codes and zero points moved to 0..15 by the format's least code. */
export interface NibbleCodes {
  readonly low: number;
  /** The zero point of all blocks, when they agree. */
  readonly zero?: number;
}

/** Reads how the codes lie in 0..15; undefined when a zero point lies outside. */
export function nibbleCodes(matrix: QuantizedMatrix, low: number): NibbleCodes | undefined {
  const { zeros } = matrix;
  if (zeros === undefined) return { low, zero: -low };
  if (zeros.some((zero) => zero - low < 0 || zero - low > 15)) return undefined;
  const [first] = zeros;
  return zeros.every((zero) => zero === first) ? { low, zero: first - low } : { low };
}

/**
 * Panels of blocks: steps, zero points (two to a byte), sums Σ (u - z) (i32), then codes as [depth / 8][panelColumns][4] bytes; byte
 * j of a column holds k = 8g + j in its low nibble and k = 8g + 4 + j in its high one. Padding is 0.
 */
export function packNibblePanels(
  matrix: QuantizedMatrix,
  codes: NibbleCodes,
  layout: NibbleLayout,
): Uint8Array<ArrayBuffer> {
  const { view } = matrix;
  const { panelColumns } = layout;
  const shape = nibbleShape(layout);
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
      const zero = codes.zero ?? (matrix.zeros?.[index] ?? 0) - codes.low;
      let from = first * view.depthStride + column * view.columnStride;
      let total = 0;
      for (let k = 0; k < count; k++, from += view.depthStride) {
        const code = matrix.codes[from] - codes.low;
        total += code - zero;
        const at = start + shape.codesAt + (k >> 3) * 4 * panelColumns + 4 * lane + (k & 3);
        bytes[at] |= (k & 4) === 0 ? code : code << 4;
      }
      if (layout.step !== undefined) writeStep(words, start, lane, layout.step, matrix.steps[index]);
      if (layout.offsets) {
        writeStep(words, start + shape.offsetsAt, lane, layout.step ?? "f32", matrix.offsets?.[index] ?? 0);
      }
      if (layout.zeros) writeNibbleZero(bytes, start + shape.zerosAt, lane, zero);
      if (layout.sums) words.setInt32(start + shape.sumsAt + 4 * lane, total, true);
    }
  }
  return bytes;
}

/** Writes the zero point (0..15) of one column of a block. */
export function writeNibbleZero(bytes: Uint8Array, start: number, lane: number, zero: number): void {
  bytes[start + lane % 4] |= lane < 4 ? zero : zero << 4;
}
