/** FarmHash Fingerprint64 of very short strings, which TensorFlow hashes its vocabulary buckets with. */

const wordMask = (1n << 64n) - 1n;
const k0 = 0xc3a5c85c97cb3127n;
const k2 = 0x9ae16a3b2f90404fn;

/** Fingerprint64 of 1 to 3 bytes (HashLen0to16 of farmhashna.cc, its last branch). */
export function shortFingerprint(bytes: readonly number[]): bigint {
  const length = bytes.length;
  const y = BigInt(bytes[0] + (bytes[length >> 1] << 8));
  const z = BigInt(length + (bytes[length - 1] << 2));
  const mixed = ((y * k2) & wordMask) ^ ((z * k0) & wordMask);
  return ((mixed ^ (mixed >> 47n)) * k2) & wordMask;
}

/** Longest string that `shortFingerprint` takes. */
export const longestShort = 3;

/**
 * Buckets of all strings of `width` (1 or 2) free bytes with `separator` between them, at the big-endian number that the
 * free bytes are.
 */
export function bucketTable(width: 1 | 2, separator: readonly number[], buckets: number): Int32Array<ArrayBuffer> {
  const modulus = BigInt(buckets);
  return Int32Array.from({ length: 256 ** width }, (_, code) => {
    const bytes = width === 1 ? [code] : [code >> 8, ...separator, code & 255];
    return Number(shortFingerprint(bytes) % modulus);
  });
}
