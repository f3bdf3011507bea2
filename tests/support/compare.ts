/** Measures of agreement between two lists of numbers. */

export type Numbers = ArrayLike<number>;

function checkLengths(a: Numbers, b: Numbers): void {
  if (a.length !== b.length) throw new RangeError(`Cannot compare ${a.length} numbers with ${b.length}`);
}

/** Signal to quantization noise ratio in dB: 10 log10(Σ reference² / Σ (reference - actual)²); Infinity when equal. */
export function sqnr(reference: Numbers, actual: Numbers): number {
  checkLengths(reference, actual);
  let signal = 0;
  let noise = 0;
  for (let index = 0; index < reference.length; index++) {
    signal += reference[index] ** 2;
    noise += (reference[index] - actual[index]) ** 2;
  }
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}

/** Cosine of the angle between two vectors; 1 when both are zero, 0 when one is. */
export function cosine(a: Numbers, b: Numbers): number {
  checkLengths(a, b);
  let dot = 0;
  let squareA = 0;
  let squareB = 0;
  for (let index = 0; index < a.length; index++) {
    dot += a[index] * b[index];
    squareA += a[index] ** 2;
    squareB += b[index] ** 2;
  }
  if (squareA === 0 && squareB === 0) return 1;
  return squareA === 0 || squareB === 0 ? 0 : dot / (Math.sqrt(squareA) * Math.sqrt(squareB));
}

/** Largest |a - b|. Equal infinities and two NaNs differ by 0; a NaN against a number differs by Infinity. */
export function maxAbsDifference(a: Numbers, b: Numbers): number {
  checkLengths(a, b);
  let worst = 0;
  for (let index = 0; index < a.length; index++) {
    if (a[index] === b[index] || (Number.isNaN(a[index]) && Number.isNaN(b[index]))) continue;
    const difference = Math.abs(a[index] - b[index]);
    worst = Math.max(worst, Number.isNaN(difference) ? Infinity : difference);
  }
  return worst;
}

/** maxAbsDifference over the largest finite |reference|; the absolute difference where the reference is all zero. */
export function maxRelativeDifference(reference: Numbers, actual: Numbers): number {
  let largest = 0;
  for (let index = 0; index < reference.length; index++) {
    const magnitude = Math.abs(reference[index]);
    if (Number.isFinite(magnitude)) largest = Math.max(largest, magnitude);
  }
  return maxAbsDifference(reference, actual) / (largest || 1);
}

/** Index of the largest entry; the first of equals. */
export function argMax(values: Numbers): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}
