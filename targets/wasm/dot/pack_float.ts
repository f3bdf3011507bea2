/** Packs f32 weights in panel order. */

import type { MatrixView } from "./matrix.ts";

/** Panels of [depth][panelColumns] f32, the last one padded with zeros. */
export function packFloatPanels(
  data: Float32Array,
  view: MatrixView,
  panelColumns: number,
): Uint8Array<ArrayBuffer> {
  const { depth, columns, depthStride, columnStride } = view;
  const panels = Math.ceil(columns / panelColumns);
  const out = new Float32Array(panels * depth * panelColumns);
  for (let column = 0; column < columns; column++) {
    const panel = Math.floor(column / panelColumns);
    let to = panel * depth * panelColumns + column % panelColumns;
    let from = column * columnStride;
    for (let k = 0; k < depth; k++) {
      out[to] = data[from];
      to += panelColumns;
      from += depthStride;
    }
  }
  return new Uint8Array(out.buffer);
}
