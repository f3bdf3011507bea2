/** Second moments: of activations over calibration samples, of weights over the channels that they read. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { isPlain, plainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { type Matrix, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { gramOf } from "../../compiler/reference/rows.ts";
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
          gramOf(plainTensor("f32", [rows, sum.columns], tensor.data)).forEach((entry, place) => {
            sum.entries[place] += entry;
          });
          counts.set(value, (counts.get(value) ?? 0) + rows);
        },
      });
      onProgress?.((index + 1) / samples.length);
    });
  } finally {
    reference.dispose();
  }
  for (const [value, { entries }] of moments) {
    const count = counts.get(value) ?? 1;
    for (let place = 0; place < entries.length; place++) entries[place] /= count;
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
    for (let start = 0; start < entries.length; start += extent * inner) {
      for (let lane = 0; lane < inner; lane++) {
        const first = start + lane;
        for (let i = 0; i < extent; i++) {
          const gain = entries[first + i * inner];
          for (let j = 0; j < extent; j++) sum.entries[i * extent + j] += gain * entries[first + j * inner];
        }
      }
    }
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
