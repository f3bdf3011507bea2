/** The inner loop of every contraction: dot products between the rows of two arrays, summed in doubles. */

export type Rows = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** `count` rows of `depth` entries that start at `offset` of `data`. */
export interface RowBlock {
  readonly data: Rows;
  readonly offset: number;
  readonly count: number;
}

/** Where sums go: row m of `a` and row n of `b` meet at `offset + m * stride + n`. */
export interface SumBlock {
  readonly data: Float64Array<ArrayBuffer>;
  readonly offset: number;
  readonly stride: number;
}

/** Right rows are taken in panels of about this many bytes, so that one stays cached while all left rows pass over it. */
const panelBytes = 192 * 1024;

/**
 * sums[m][n] = Σ a[m][k] * b[n][k] for from <= k < to. Products of f32 entries are exact; the sum is rounded to f64 at each
 * step, hence exact for integers whose sum stays below 2^53.
 */
export function dotRows(a: RowBlock, b: RowBlock, depth: number, from: number, to: number, sums: SumBlock): void {
  const panel = Math.max(4, Math.floor(panelBytes / (b.data.BYTES_PER_ELEMENT * Math.max(1, to - from))) & ~3);
  for (let start = 0; start < b.count; start += panel) {
    const columns = Math.min(panel, b.count - start);
    const offset = b.offset + start * depth;
    let row = 0;
    for (; row + 2 <= a.count; row += 2) {
      const at = sums.offset + row * sums.stride + start;
      dotPair(a.data, a.offset + row * depth, b.data, offset, columns, depth, from, to, sums.data, at, sums.stride);
    }
    if (row < a.count) {
      const at = sums.offset + row * sums.stride + start;
      dotSingle(a.data, a.offset + row * depth, b.data, offset, columns, depth, from, to, sums.data, at);
    }
  }
}

/** Two left rows against all columns, four columns at a time: eight sums stay in registers. */
function dotPair(
  a: Rows,
  aOffset: number,
  b: Rows,
  bOffset: number,
  columns: number,
  depth: number,
  from: number,
  to: number,
  sums: Float64Array,
  at: number,
  stride: number,
): void {
  const shift = depth;
  let column = 0;
  for (; column + 4 <= columns; column += 4) {
    let a0 = aOffset + from;
    let b0 = bOffset + column * depth + from;
    let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
    for (const end = aOffset + to; a0 < end; a0++, b0++) {
      const x0 = a[a0];
      const x1 = a[a0 + shift];
      const y0 = b[b0];
      const y1 = b[b0 + depth];
      const y2 = b[b0 + 2 * depth];
      const y3 = b[b0 + 3 * depth];
      s00 += x0 * y0;
      s10 += x1 * y0;
      s01 += x0 * y1;
      s11 += x1 * y1;
      s02 += x0 * y2;
      s12 += x1 * y2;
      s03 += x0 * y3;
      s13 += x1 * y3;
    }
    const out0 = at + column;
    const out1 = out0 + stride;
    sums[out0] = s00;
    sums[out0 + 1] = s01;
    sums[out0 + 2] = s02;
    sums[out0 + 3] = s03;
    sums[out1] = s10;
    sums[out1 + 1] = s11;
    sums[out1 + 2] = s12;
    sums[out1 + 3] = s13;
  }
  if (column < columns) {
    const offset = bOffset + column * depth;
    dotSingle(a, aOffset, b, offset, columns - column, depth, from, to, sums, at + column);
    dotSingle(a, aOffset + depth, b, offset, columns - column, depth, from, to, sums, at + stride + column);
  }
}

function dotSingle(
  a: Rows,
  aOffset: number,
  b: Rows,
  bOffset: number,
  columns: number,
  depth: number,
  from: number,
  to: number,
  sums: Float64Array,
  at: number,
): void {
  let column = 0;
  for (; column + 4 <= columns; column += 4) {
    let a0 = aOffset + from;
    let b0 = bOffset + column * depth + from;
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (const end = aOffset + to; a0 < end; a0++, b0++) {
      const x = a[a0];
      s0 += x * b[b0];
      s1 += x * b[b0 + depth];
      s2 += x * b[b0 + 2 * depth];
      s3 += x * b[b0 + 3 * depth];
    }
    sums[at + column] = s0;
    sums[at + column + 1] = s1;
    sums[at + column + 2] = s2;
    sums[at + column + 3] = s3;
  }
  for (; column < columns; column++) {
    let a0 = aOffset + from;
    let b0 = bOffset + column * depth + from;
    let sum = 0;
    for (const end = aOffset + to; a0 < end; a0++, b0++) sum += a[a0] * b[b0];
    sums[at + column] = sum;
  }
}
