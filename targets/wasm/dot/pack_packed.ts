/** Packs codes of any width in panel order. */

import { packCodes } from "../../pack/codes.ts";
import { panelCount, panelPlace, type QuantizedMatrix } from "./matrix.ts";
import { writeNibbleZero } from "./pack_nibble.ts";
import { hasZeros, packedColumns, packedGroup, type PackedLayout, packedOrder, packedShape } from "./packed.ts";
import type { PackedEntries } from "./packed_entries.ts";
import { writeStep } from "./steps.ts";

/** Panels: outer steps where there are two levels, then per block steps, inner steps, zero points and codes. Padding is 0. */
export function packPackedPanels(
  matrix: QuantizedMatrix,
  entries: PackedEntries,
  layout: PackedLayout,
): Uint8Array<ArrayBuffer> {
  const { view } = matrix;
  const shape = packedShape(layout);
  const bytes = new Uint8Array(panelCount(view, packedColumns) * shape.panelBytes);
  const words = new DataView(bytes.buffer);
  const { groupColumns } = view;
  for (let start = 0; start < view.columns; start += groupColumns) {
    for (let from = 0; from < groupColumns; from += packedColumns) {
      const columns = Array.from(
        { length: Math.min(packedColumns, groupColumns - from) },
        (_, lane) => start + from + lane,
      );
      const { panel } = panelPlace(view, packedColumns, columns[0]);
      const at = panel * shape.panelBytes;
      writeOuterSteps(words, at, columns, matrix, layout);
      for (let block = 0; block < shape.blocks; block++) {
        writeBlock(bytes, at + shape.headBytes + block * shape.blockBytes, block, columns, matrix, entries, layout);
      }
    }
  }
  return bytes;
}

function writeOuterSteps(
  words: DataView,
  at: number,
  columns: readonly number[],
  { outerStep }: QuantizedMatrix,
  { step }: PackedLayout,
): void {
  if (outerStep === undefined || step === undefined) return;
  columns.forEach((column, lane) => writeStep(words, at, lane, step, outerStep(column)));
}

function writeBlock(
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  block: number,
  columns: readonly number[],
  matrix: QuantizedMatrix,
  { low }: PackedEntries,
  layout: PackedLayout,
): void {
  const { view, codes, steps, zeros } = matrix;
  const shape = packedShape(layout);
  const words = new DataView(bytes.buffer);
  const first = block * layout.block;
  const count = Math.min(view.depth - first, shape.blockDepth);
  const raw = new Uint8Array(Math.ceil(count / packedGroup) * packedGroup * packedColumns);
  columns.forEach((column, lane) => {
    const index = matrix.stepIndex(Math.floor(first / matrix.block), column);
    const zero = (zeros?.[index] ?? 0) - low;
    // Rows past the depth meet zeros on the other side, whatever stands here.
    for (let k = 0; k < count; k++) {
      const place = (first + k) * view.depthStride + column * view.columnStride;
      raw[(k >> 1) * 2 * packedColumns + 2 * lane + (k & 1)] = codes[place] - low;
    }
    if (matrix.outerStep !== undefined) bytes[at + shape.innerAt + lane] = steps[index];
    else if (layout.step !== undefined) writeStep(words, at, lane, layout.step, steps[index]);
    if (!hasZeros(layout.entries)) return;
    if (layout.width <= 4) writeNibbleZero(bytes, at + shape.zerosAt, lane, zero);
    else bytes[at + shape.zerosAt + lane] = zero;
  });
  bytes.set(packCodes(raw, layout.width, packedOrder), at + shape.codesAt);
}
