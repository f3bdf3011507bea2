/** Measures of agreement that grow sample by sample. */

type Numbers = ArrayLike<number>;

export interface OutputError {
  /** 10 log10(Σ reference² / Σ (reference - actual)²) over all samples, in dB; Infinity when equal. */
  readonly sqnr: number;
  /** Cosine of the angle between all outputs, reference against actual. */
  readonly cosine: number;
  /** Largest |reference - actual|. */
  readonly maxError: number;
  /** Largest |reference|. */
  readonly largest: number;
}

/** Sums over pairs of vectors. Invariant: the sums are those of all pairs added so far. */
export class ErrorSums {
  #dot = 0;
  #reference = 0;
  #actual = 0;
  #noise = 0;
  #maxError = 0;
  #largest = 0;

  add(reference: Numbers, actual: Numbers): void {
    if (reference.length !== actual.length) {
      throw new RangeError(`Cannot compare ${reference.length} numbers with ${actual.length}`);
    }
    for (let index = 0; index < reference.length; index++) {
      const x = reference[index];
      const y = actual[index];
      if (x === y || (Number.isNaN(x) && Number.isNaN(y))) {
        if (Number.isFinite(x)) this.#addEqual(x);
        continue;
      }
      const error = Math.abs(x - y);
      this.#dot += x * y;
      this.#reference += x * x;
      this.#actual += y * y;
      this.#noise += error * error;
      this.#maxError = Math.max(this.#maxError, Number.isNaN(error) ? Infinity : error);
      this.#largest = Math.max(this.#largest, Math.abs(x));
    }
  }

  #addEqual(x: number): void {
    this.#dot += x * x;
    this.#reference += x * x;
    this.#actual += x * x;
    this.#largest = Math.max(this.#largest, Math.abs(x));
  }

  result(): OutputError {
    const lengths = Math.sqrt(this.#reference) * Math.sqrt(this.#actual);
    return {
      sqnr: this.#noise === 0 ? Infinity : 10 * Math.log10(this.#reference / this.#noise),
      cosine: lengths === 0 ? (this.#reference === this.#actual ? 1 : 0) : Math.min(1, this.#dot / lengths),
      maxError: this.#maxError,
      largest: this.#largest,
    };
  }
}

/** Index of the largest entry; the first of equals. */
export function argMax(values: Numbers): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}

/** ln of the softmax of a row, in float64. */
export function logSoftmax(row: Numbers): Float64Array {
  let most = -Infinity;
  for (let index = 0; index < row.length; index++) most = Math.max(most, row[index]);
  let sum = 0;
  for (let index = 0; index < row.length; index++) sum += Math.exp(row[index] - most);
  const shift = most + Math.log(sum);
  const scores = new Float64Array(row.length);
  for (let index = 0; index < row.length; index++) scores[index] = row[index] - shift;
  return scores;
}

/** Σ p (ln p - ln q) of two rows of log-probabilities, in nats. */
export function klDivergence(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < p.length; index++) {
    const probability = Math.exp(p[index]);
    if (probability > 0) sum += probability * (p[index] - q[index]);
  }
  return sum;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
