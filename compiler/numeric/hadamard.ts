/**
 * Hadamard matrices by construction: no tables of signs but two circulant seeds.
 *
 * Orders: Sylvester 2^m; Paley I (q + 1, q ≡ 3 mod 4) and Paley II (2(q + 1), q ≡ 1 mod 4) over GF(p) and GF(p²)
 * (R. Paley, 1933); Goethals and Seidel's array of four circulants (1967) for 156 and 172; and Kronecker products of
 * these with 2^m.
 */

/** A square matrix, row-major. */
export interface SquareMatrix {
  readonly order: number;
  readonly entries: Float64Array;
}

/** H = core ⊗ Sylvester(2^doublings); `core` has order 1 when the whole order is a power of two. */
export interface HadamardFactors {
  readonly core: SquareMatrix;
  readonly doublings: number;
}

/** Largest core that is searched for: past this, dense core products cost more than they smooth. */
const largestCore = 256;

/** The factors of a Hadamard matrix of this order with the smallest core; undefined when none is constructed here. */
export function hadamardFactors(order: number): HadamardFactors | undefined {
  if (!Number.isInteger(order) || order < 1) return undefined;
  let doublings = 0;
  let odd = order;
  while (odd % 2 === 0) {
    odd /= 2;
    doublings++;
  }
  if (odd === 1) return { core: { order: 1, entries: Float64Array.of(1) }, doublings };
  for (let taken = 2; taken <= doublings && odd * 2 ** taken <= largestCore; taken++) {
    const core = coreMatrix(odd * 2 ** taken);
    if (core !== undefined) return { core, doublings: doublings - taken };
  }
  return undefined;
}

/** The dense matrix of entries ±1 with H Hᵀ = n I; undefined when the order is not constructed here. */
export function hadamardMatrix(order: number): SquareMatrix | undefined {
  const factors = hadamardFactors(order);
  return factors === undefined ? undefined : kronecker(factors.core, sylvester(factors.doublings));
}

/**
 * An orthogonal matrix of any order p·2^m as factors: a Hadamard core where there is one, else the orthonormal DCT-II of
 * the odd part scaled by √p so that every factor has rows of squared length equal to its order.
 */
export function orthogonalFactors(order: number): HadamardFactors {
  const hadamard = hadamardFactors(order);
  if (hadamard !== undefined) return hadamard;
  let doublings = 0;
  let odd = order;
  while (odd % 2 === 0) {
    odd /= 2;
    doublings++;
  }
  return { core: cosineMatrix(odd), doublings };
}

/** DCT-II, row k: √(2 - [k = 0]) cos(π k (2 i + 1) / (2 n)); rows have squared length n. */
export function cosineMatrix(order: number): SquareMatrix {
  return squareMatrix(order, (row, column) => {
    const gain = row === 0 ? 1 : Math.SQRT2;
    return gain * Math.cos((Math.PI * row * (2 * column + 1)) / (2 * order));
  });
}

/**
 * In-place fast Walsh-Hadamard transform of `length` entries from `start`, unnormalized. Entries are mixed `stride` apart,
 * the `stride` of them in between each for itself; `length / stride` is a power of two.
 */
export function walshHadamard(data: Float64Array | Float32Array, start: number, length: number, stride = 1): void {
  for (let half = stride; half < length; half *= 2) {
    for (let block = start; block < start + length; block += 2 * half) {
      for (let index = block; index < block + half; index++) {
        const a = data[index];
        const b = data[index + half];
        data[index] = a + b;
        data[index + half] = a - b;
      }
    }
  }
}

/**
 * Every run of core.order · 2^doublings · stride entries times core ⊗ Sylvester ⊗ I, in place: butterflies, then the core
 * over whole blocks. `scratch` holds at least a run.
 */
export function transformRuns(
  data: Float64Array,
  core: SquareMatrix,
  doublings: number,
  stride: number,
  scratch: Float64Array = new Float64Array(core.order * 2 ** doublings * stride),
): void {
  const { order, entries } = core;
  const width = 2 ** doublings * stride;
  const run = order * width;
  for (let start = 0; start < data.length; start += run) {
    for (let block = 0; block < order; block++) walshHadamard(data, start + block * width, width, stride);
    scratch.fill(0, 0, run);
    for (let from = 0; from < order; from++) {
      for (let to = 0; to < order; to++) {
        const gain = entries[from * order + to];
        const [source, target] = [start + from * width, to * width];
        for (let lane = 0; lane < width; lane++) scratch[target + lane] += gain * data[source + lane];
      }
    }
    data.set(scratch.subarray(0, run), start);
  }
}

export function kronecker(a: SquareMatrix, b: SquareMatrix): SquareMatrix {
  return squareMatrix(a.order * b.order, (row, column) => {
    const outer = a.entries[Math.floor(row / b.order) * a.order + Math.floor(column / b.order)];
    return outer * b.entries[(row % b.order) * b.order + (column % b.order)];
  });
}

function sylvester(doublings: number): SquareMatrix {
  return squareMatrix(2 ** doublings, (row, column) => (parity(row & column) === 0 ? 1 : -1));
}

function parity(bits: number): number {
  let rest = bits;
  let odd = 0;
  while (rest !== 0) {
    odd ^= rest & 1;
    rest >>>= 1;
  }
  return odd;
}

/** The matrix with these entries. */
export function squareMatrix(order: number, entry: (row: number, column: number) => number): SquareMatrix {
  const entries = new Float64Array(order * order);
  for (let row = 0; row < order; row++) {
    for (let column = 0; column < order; column++) entries[row * order + column] = entry(row, column);
  }
  return { order, entries };
}

function coreMatrix(order: number): SquareMatrix | undefined {
  return paleyFirst(order) ?? paleySecond(order) ?? goethalsSeidel(order);
}

/** H = I + [[0, 1], [-1, Q]] with Q_ij = χ(i - j) over GF(q), q ≡ 3 mod 4. */
function paleyFirst(order: number): SquareMatrix | undefined {
  const q = order - 1;
  const character = q % 4 === 3 ? quadraticCharacter(q) : undefined;
  if (character === undefined) return undefined;
  return squareMatrix(order, (row, column) => {
    if (row === column) return 1;
    if (row === 0) return 1;
    if (column === 0) return -1;
    return character(row - 1, column - 1);
  });
}

/** C = [[0, 1], [1, Q]], H = C ⊗ [[1, 1], [1, -1]] + I ⊗ [[1, -1], [-1, -1]], q ≡ 1 mod 4. */
function paleySecond(order: number): SquareMatrix | undefined {
  const q = order / 2 - 1;
  const character = q % 4 === 1 ? quadraticCharacter(q) : undefined;
  if (character === undefined) return undefined;
  const conference = (row: number, column: number) => {
    if (row === column) return 0;
    return row === 0 || column === 0 ? 1 : character(row - 1, column - 1);
  };
  const diagonal = [1, -1, -1, -1];
  const other = [1, 1, 1, -1];
  return squareMatrix(order, (row, column) => {
    const [i, j] = [Math.floor(row / 2), Math.floor(column / 2)];
    const place = (row % 2) * 2 + (column % 2);
    return i === j ? diagonal[place] : conference(i, j) * other[place];
  });
}

/** χ(a - b) on GF(q): 0, 1 for squares, -1 otherwise; undefined when q is neither a prime nor the square of an odd prime. */
function quadraticCharacter(q: number): ((a: number, b: number) => number) | undefined {
  if (isPrime(q)) {
    const squares = new Set(Array.from({ length: q - 1 }, (_, index) => ((index + 1) * (index + 1)) % q));
    return (a, b) => (a === b ? 0 : squares.has((a - b + q) % q) ? 1 : -1);
  }
  const p = Math.round(Math.sqrt(q));
  if (p * p !== q || p === 2 || !isPrime(p)) return undefined;
  const root = nonResidue(p);
  // Elements are a + b·t with t² = root, numbered a·p + b.
  const square = (x: number) => {
    const [a, b] = [Math.floor(x / p), x % p];
    return ((a * a + root * b * b) % p) * p + ((2 * a * b) % p);
  };
  const squares = new Set(Array.from({ length: q - 1 }, (_, index) => square(index + 1)));
  const subtract = (x: number, y: number) => {
    const high = (Math.floor(x / p) - Math.floor(y / p) + p) % p;
    return high * p + (((x % p) - (y % p) + p) % p);
  };
  return (a, b) => (a === b ? 0 : squares.has(subtract(a, b)) ? 1 : -1);
}

function isPrime(n: number): boolean {
  if (!Number.isInteger(n) || n < 2) return false;
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return true;
}

function nonResidue(p: number): number {
  const squares = new Set(Array.from({ length: p - 1 }, (_, index) => ((index + 1) * (index + 1)) % p));
  for (let candidate = 2; candidate < p; candidate++) if (!squares.has(candidate)) return candidate;
  return p - 1;
}

/** Circulant seeds (bit k set means entry k is +1) whose Goethals-Seidel array is Hadamard; verified by the tests. */
const circulantSeeds: Readonly<Record<number, readonly bigint[]>> = {
  172: [0x36a81b91c7an, 0x5f38bdaf76cn, 0x23a023bfa3an, 0x6990a63eb16n],
  156: [0x659a9a0fbdn, 0x640a968fd9n, 0x419a8a063dn, 0x41928e8474n],
};

/** [[A, BR, CR, DR], [-BR, A, DᵀR, -CᵀR], [-CR, -DᵀR, A, BᵀR], [-DR, CᵀR, -BᵀR, A]], circulants A_ij = a[(j - i) mod n]. */
function goethalsSeidel(order: number): SquareMatrix | undefined {
  const seeds = circulantSeeds[order];
  if (seeds === undefined) return undefined;
  const n = order / 4;
  const bit = (seed: bigint, index: number) => (((seed >> BigInt(((index % n) + n) % n)) & 1n) === 1n ? 1 : -1);
  const [a, b, c, d] = seeds;
  const plain = (seed: bigint) => (i: number, j: number) => bit(seed, j - i);
  // Multiplication by the reversed identity R mirrors the columns.
  const reversed = (seed: bigint) => (i: number, j: number) => bit(seed, n - 1 - j - i);
  const transposedReversed = (seed: bigint) => (i: number, j: number) => bit(seed, i - (n - 1 - j));
  const minus = (block: (i: number, j: number) => number) => (i: number, j: number) => -block(i, j);
  const blocks = [
    [plain(a), reversed(b), reversed(c), reversed(d)],
    [minus(reversed(b)), plain(a), transposedReversed(d), minus(transposedReversed(c))],
    [minus(reversed(c)), minus(transposedReversed(d)), plain(a), transposedReversed(b)],
    [minus(reversed(d)), transposedReversed(c), minus(transposedReversed(b)), plain(a)],
  ];
  return squareMatrix(order, (row, column) => blocks[Math.floor(row / n)][Math.floor(column / n)](row % n, column % n));
}
