/** Packs f32 weights in panel order. */

import { type MatrixView, panelCount, panelPlace } from "./matrix.ts";

/** Panels of [depth][panelColumns] f32, the last one padded with zeros. */
export function packFloatPanels(
  data: Float32Array,
  view: MatrixView,
  panelColumns: number,
): Uint8Array<ArrayBuffer> {
  const { depth, columns, depthStride, columnStride } = view;
  const out = new Float32Array(panelCount(view, panelColumns) * depth * panelColumns);
  for (let column = 0; column < columns; column++) {
    const { panel, lane } = panelPlace(view, panelColumns, column);
    let to = panel * depth * panelColumns + lane;
    let from = column * columnStride;
    for (let k = 0; k < depth; k++) {
      out[to] = data[from];
      to += panelColumns;
      from += depthStride;
    }
  }
  return new Uint8Array(out.buffer);
}
