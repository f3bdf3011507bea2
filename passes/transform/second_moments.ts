/** Second moments: of activations over calibration samples, of weights over the channels that they read. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { isPlain, sizeOf } from "../../compiler/ir/tensor.ts";
import { addProduct, rowMajor, transposed } from "../../compiler/numeric/dense/product.ts";
import { addGram, type Matrix, mirror, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { FloatReference, type TensorRecord } from "../../compiler/reference/tfjs.ts";
import type { ChannelTensor } from "../../compiler/rewrite/region/region.ts";
import type { WeightEditor } from "./weight_editor.ts";

/** E[xᵀx] of every value over all rows of all samples; its last axes hold `columns` entries a row. */
export async function activationMoments(
  graph: Graph,
  wanted: ReadonlyMap<ValueName, number>,
  samples: readonly TensorRecord[],
  onProgress?: (fraction: number) => void,
): Promise<ReadonlyMap<ValueName, Matrix>> {
  const moments = new Map<ValueName, Matrix>();
  const counts = new Map<ValueName, number>();
  if (wanted.size === 0) return moments;
  for (const [value, columns] of wanted) moments.set(value, zeroMatrix(columns, columns));
  const reference = await FloatReference.create(graph);
  try {
    samples.forEach((sample, index) => {
      reference.run(sample, {
        observe: (value, read) => {
          const sum = moments.get(value);
          if (sum === undefined) return;
          const tensor = read();
          if (!isPlain(tensor, "f32")) return;
          const rows = tensor.data.length / sum.columns;
          addGram(sum, tensor.data, rows);
          counts.set(value, (counts.get(value) ?? 0) + rows);
        },
      });
      onProgress?.((index + 1) / samples.length);
    });
  } finally {
    reference.dispose();
  }
  for (const [value, sum] of moments) {
    const count = counts.get(value) ?? 1;
    for (let place = 0; place < sum.entries.length; place++) sum.entries[place] /= count;
    mirror(sum);
  }
  return moments;
}

/** Σ wᵀw over the rows of all places, in the order of their axis: what reads each pair of channels together. */
export function weightMoments(editor: WeightEditor, places: readonly ChannelTensor[]): Matrix {
  const extent = editor.tensor(places[0]).shape[places[0].axis];
  const sum = zeroMatrix(extent, extent);
  for (const place of places) {
    const { shape, entries } = editor.tensor(place);
    const inner = sizeOf(shape.slice(place.axis + 1));
    const outer = entries.length / (extent * inner);
    // One product where the channels are the innermost axis, else one a block.
    const blocks = inner === 1
      ? [transposed(rowMajor(entries, outer, extent))]
      : Array.from({ length: outer }, (_, block) => ({
        ...rowMajor(entries, extent, inner),
        offset: block * extent * inner,
      }));
    for (const channels of blocks) addProduct(viewOf(sum), channels, transposed(channels), { precision: "f64" });
  }
  return sum;
}

/** The sum of the diagonal blocks of `extent` channels that `groupOf` puts into one group, group by group. */
export function groupMoments(
  moments: Matrix,
  extent: number,
  groups: number,
  groupOf: (block: number) => number,
): readonly Matrix[] {
  const sums = Array.from({ length: groups }, () => zeroMatrix(extent, extent));
  for (let block = 0; block * extent < moments.columns; block++) {
    const { entries } = sums[groupOf(block)];
    for (let i = 0; i < extent; i++) {
      const from = (block * extent + i) * moments.columns + block * extent;
      for (let j = 0; j < extent; j++) entries[i * extent + j] += moments.entries[from + j];
    }
  }
  return sums;
}
