/** Second moments: of activations over calibration samples, of weights over the channels that they read. */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import { addProduct, rowMajor, transposed } from "../../compiler/numeric/dense/product.ts";
import { addGram, type Matrix, mirror, viewOf, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import type { TensorRecord } from "../../compiler/reference/tfjs.ts";
import type { ChannelTensor } from "../../compiler/rewrite/region/region.ts";
import { observeSamples } from "../calibrate/observe_samples.ts";
import type { WeightEditor } from "./weight_editor.ts";

/** A value whose last axes hold `columns` entries a row, and whether only the squares of the entries are wanted. */
export interface MomentRequest {
  readonly value: ValueName;
  readonly columns: number;
  readonly squaresOnly: boolean;
}

/** E[xᵀx] by value, and E[x²] where no more was wanted. */
export interface Moments {
  readonly whole: ReadonlyMap<ValueName, Matrix>;
  readonly squares: ReadonlyMap<ValueName, Float64Array>;
}

/** Moments of every value over all rows of all samples. */
export async function activationMoments(
  graph: Graph,
  wanted: readonly MomentRequest[],
  samples: readonly TensorRecord[],
  onProgress?: (fraction: number) => void,
): Promise<Moments> {
  const whole = new Map<ValueName, Matrix>();
  const squares = new Map<ValueName, Float64Array>();
  const counts = new Map<ValueName, number>();
  for (const { value, columns, squaresOnly } of wanted) {
    if (squaresOnly) squares.set(value, new Float64Array(columns));
    else whole.set(value, zeroMatrix(columns, columns));
  }
  if (wanted.length === 0) return { whole, squares };
  const isWanted = (value: ValueName) => whole.has(value) || squares.has(value);
  await observeSamples(graph, samples, isWanted, (value, { data }) => {
    const [sum, squareSum] = [whole.get(value), squares.get(value)];
    const columns = sum?.columns ?? squareSum?.length ?? 1;
    const rows = data.length / columns;
    if (sum !== undefined) addGram(sum, data, rows);
    if (squareSum !== undefined) {
      for (let place = 0; place < data.length; place++) squareSum[place % columns] += data[place] ** 2;
    }
    counts.set(value, (counts.get(value) ?? 0) + rows);
  }, onProgress);
  const average = (value: ValueName, sums: Float64Array): void => {
    const count = counts.get(value) ?? 1;
    for (let place = 0; place < sums.length; place++) sums[place] /= count;
  };
  for (const [value, sums] of squares) average(value, sums);
  for (const [value, sum] of whole) {
    average(value, sum.entries);
    mirror(sum);
  }
  return { whole, squares };
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
