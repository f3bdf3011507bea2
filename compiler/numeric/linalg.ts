/** Dense symmetric linear algebra in float64, row-major. Made for the Hessians of weight solvers. */

/** A dense matrix, row-major. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly entries: Float64Array;
}

export function zeroMatrix(rows: number, columns: number): Matrix {
  return { rows, columns, entries: new Float64Array(rows * columns) };
}

/** Tile extent: three tiles of 64 x 64 doubles fit a 128 KB cache share. */
const tile = 64;

/**
 * Adds gain · XᵀX of `count` rows of `columns` float32 entries to the lower triangle of `sum`.
 * The upper triangle is left alone; `mirror` fills it.
 */
export function addGram(sum: Matrix, rows: Float32Array, count: number, gain = 1): void {
  const n = sum.columns;
  const block = new Float64Array(tile * n);
  for (let start = 0; start < count; start += tile) {
    const height = Math.min(tile, count - start);
    // Columns of this slab side by side, so that the inner product runs over contiguous memory.
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < n; column++) block[column * tile + row] = rows[(start + row) * n + column];
    }
    for (let i = 0; i < n; i++) {
      const a = i * tile;
      for (let j = 0; j <= i; j++) {
        const b = j * tile;
        let dot = 0;
        for (let k = 0; k < height; k++) dot += block[a + k] * block[b + k];
        sum.entries[i * n + j] += gain * dot;
      }
    }
  }
}

/** Copies the lower triangle to the upper one. */
export function mirror(matrix: Matrix): void {
  const { rows: n, entries } = matrix;
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) entries[j * n + i] = entries[i * n + j];
}

/**
 * The lower triangular L with A = L Lᵀ, reading the lower triangle of A; undefined when A is not positive definite in
 * float64. Blocked right-looking form.
 */
export function cholesky(matrix: Matrix): Matrix | undefined {
  const n = matrix.rows;
  const lower = matrix.entries.slice();
  for (let start = 0; start < n; start += tile) {
    const end = Math.min(n, start + tile);
    if (!factorPanel(lower, n, start, end)) return undefined;
    for (let i = end; i < n; i++) {
      for (let j = end; j <= i; j++) {
        let dot = 0;
        for (let k = start; k < end; k++) dot += lower[i * n + k] * lower[j * n + k];
        lower[i * n + j] -= dot;
      }
    }
  }
  for (let i = 0; i < n; i++) lower.fill(0, i * n + i + 1, (i + 1) * n);
  return { rows: n, columns: n, entries: lower };
}

function factorPanel(lower: Float64Array, n: number, start: number, end: number): boolean {
  for (let j = start; j < end; j++) {
    let pivot = lower[j * n + j];
    for (let k = start; k < j; k++) pivot -= lower[j * n + k] ** 2;
    if (!(pivot > 0) || !Number.isFinite(pivot)) return false;
    const root = Math.sqrt(pivot);
    lower[j * n + j] = root;
    for (let i = j + 1; i < n; i++) {
      let value = lower[i * n + j];
      for (let k = start; k < j; k++) value -= lower[i * n + k] * lower[j * n + k];
      lower[i * n + j] = value / root;
    }
  }
  return true;
}

/** L⁻¹ of a lower triangular L. */
export function invertLower(lower: Matrix): Matrix {
  const n = lower.rows;
  const inverse = new Float64Array(n * n);
  const { entries } = lower;
  for (let i = 0; i < n; i++) {
    const row = i * n;
    const pivot = 1 / entries[row + i];
    for (let k = 0; k < i; k++) {
      const gain = entries[row + k];
      if (gain === 0) continue;
      const other = k * n;
      for (let j = 0; j <= k; j++) inverse[row + j] -= gain * inverse[other + j];
    }
    for (let j = 0; j < i; j++) inverse[row + j] *= pivot;
    inverse[row + i] = pivot;
  }
  return { rows: n, columns: n, entries: inverse };
}

/**
 * The upper triangular U with A⁻¹ = Uᵀ U, which is what the GPTQ sweep reads. With J the reversal of the axes and
 * J A J = L Lᵀ:  A⁻¹ = (J L⁻ᵀ J)(J L⁻¹ J), and U = J L⁻¹ J is upper triangular. One factorization and one inversion.
 */
export function inverseUpperFactor(matrix: Matrix): Matrix | undefined {
  const n = matrix.rows;
  const reversed = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const [a, b] = [n - 1 - i, n - 1 - j];
      reversed.entries[i * n + j] = a >= b ? matrix.entries[a * n + b] : matrix.entries[b * n + a];
    }
  }
  const lower = cholesky(reversed);
  if (lower === undefined) return undefined;
  const inverse = invertLower(lower);
  const upper = zeroMatrix(n, n);
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) upper.entries[i * n + j] = inverse.entries[(n - 1 - i) * n + (n - 1 - j)];
  }
  return upper;
}
