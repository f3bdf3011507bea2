/** Scalar functions of the expression language that JavaScript lacks or defines otherwise, in doubles and bigints. */

/**
 * The error function. |x| < 3: 2/√π e^(-x²) Σ 2^n x^(2n+1) / (2n+1)!! (DLMF 7.6.2), whose terms all have one sign;
 * beyond: 1 - e^(-x²)/(x√π) K, with K the continued fraction of DLMF 7.9.1, where an error in K counts 2e-5 at most.
 */
export function erf(x: number): number {
  const magnitude = Math.abs(x);
  if (Number.isNaN(x)) return NaN;
  if (magnitude >= 6) return Math.sign(x);
  const square = x * x;
  if (magnitude < 3) {
    let term = x;
    let sum = x;
    for (let index = 1; Math.abs(term) > Math.abs(sum) * 1e-17; index++) {
      term *= (2 * square) / (2 * index + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-square) * sum;
  }
  let fraction = 1;
  for (let index = 48; index >= 1; index--) fraction = 1 + index / (2 * square) / fraction;
  const complement = Math.exp(-square) / (magnitude * Math.sqrt(Math.PI) * fraction);
  return Math.sign(x) * (1 - complement);
}

/** IEEE 754 pow: 1 to any power is 1, and -1 to an infinite one is 1 (JavaScript gives NaN). */
export function powFloat(x: number, y: number): number {
  if (x === 1 || (x === -1 && !Number.isFinite(y) && !Number.isNaN(y))) return 1;
  return Math.pow(x, y);
}

/** x^y modulo 2^32 for integers of up to 32 bits; a negative power is 1/x^|y| truncated (and 0 for x = 0). */
export function powInteger(x: number, y: number): number {
  if (y < 0) return x === 1 ? 1 : x === -1 ? (y % 2 === 0 ? 1 : -1) : 0;
  let result = 1;
  let square = x;
  for (let exponent = y; exponent > 0; exponent = Math.floor(exponent / 2)) {
    if (exponent % 2 === 1) result = Math.imul(result, square);
    square = Math.imul(square, square);
  }
  return result;
}

/** x^y modulo 2^64; negative powers as in `powInteger`. */
export function powWide(x: bigint, y: bigint): bigint {
  if (y < 0n) return x === 1n ? 1n : x === -1n ? (y % 2n === 0n ? 1n : -1n) : 0n;
  let result = 1n;
  let square = BigInt.asUintN(64, x);
  for (let exponent = y; exponent > 0n; exponent >>= 1n) {
    if ((exponent & 1n) === 1n) result = BigInt.asUintN(64, result * square);
    square = BigInt.asUintN(64, square * square);
  }
  return result;
}

/** x modulo y with the sign of y. */
export function moduloFloat(x: number, y: number): number {
  const remainder = x % y;
  if (Number.isNaN(remainder)) return NaN;
  if (remainder === 0) return y < 0 ? -0 : 0;
  if (Number.isFinite(y)) return remainder < 0 === y < 0 ? remainder : remainder + y;
  return x < 0 === y < 0 ? remainder : y;
}

/** The double nearest to `value` that still rounds correctly to any narrower float (round to odd above 2^53). */
export function wideToDouble(value: bigint): number {
  const magnitude = value < 0n ? -value : value;
  if (magnitude <= 0x20000000000000n) return Number(value);
  const shift = BigInt(magnitude.toString(2).length - 53);
  const kept = magnitude >> shift;
  const sticky = kept << shift === magnitude ? kept : kept | 1n;
  const scaled = Number(sticky) * 2 ** Number(shift);
  return value < 0n ? -scaled : scaled;
}
