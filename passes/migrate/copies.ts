/**
 * Dimension reconstruction (MergeQuant, Wang et al. 2025; after QLLM, Liu et al. 2023, arXiv 2310.08041): a channel whose
 * weights are loud, after its step has moved into them, is read c times with a c-th of its weights each,
 *
 *   q_j W_j = Σ_c q_j (W_j / c)
 *
 * so that it no longer sets the weight steps of whole rows. The depth K grows: copies fill it up to the tile that kernels
 * pad to anyway. No channel is dropped.
 *
 * Danger: weights that keep their size count a channel c times.
 */

export interface CopyOptions {
  /** A channel louder than this many times the median is split. */
  readonly threshold: number;
  /** Most columns added, as a share of all. */
  readonly growth: number;
}

/** Columns of the depth that kernels take at a time. */
export const depthTile = 32;

/** How often each column is read, for columns of these largest weights. The sum is a multiple of the tile, or nothing is split. */
export function copyCounts(loudness: Float64Array, { threshold, growth }: CopyOptions): Int32Array<ArrayBuffer> {
  const count = loudness.length;
  const copies = new Int32Array(count).fill(1);
  const sorted = loudness.toSorted();
  const limit = threshold * sorted[Math.floor(count / 2)];
  const room = Math.floor(count * (1 + growth) / depthTile) * depthTile;
  if (!(limit > 0) || room <= count) return copies;
  let total = count;
  while (total < room) {
    const loudest = largestShare(loudness, copies);
    const isQuiet = loudness[loudest] / copies[loudest] <= limit;
    if (isQuiet && (total === count || total % depthTile === 0)) break;
    copies[loudest]++;
    total++;
  }
  return copies;
}

function largestShare(loudness: Float64Array, copies: Int32Array): number {
  let best = 0;
  for (let column = 1; column < copies.length; column++) {
    if (loudness[column] / copies[column] > loudness[best] / copies[best]) best = column;
  }
  return best;
}

/** The column that each column of the grown depth reads: all once, in order, then the copies. */
export function copySources(copies: Int32Array): Int32Array<ArrayBuffer> {
  const sources = [...copies.keys()];
  copies.forEach((count, column) => {
    for (let copy = 1; copy < count; copy++) sources.push(column);
  });
  return Int32Array.from(sources);
}
