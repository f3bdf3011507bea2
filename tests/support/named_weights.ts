/** Weights made from their names, so that tiny reference models need not be stored. */

/** Numbers in [-0.5, 0.5) with 24 bits: mulberry32 seeded by the FNV-1a hash of the name. */
export function namedWeights(name: string, count: number): Float32Array<ArrayBuffer> {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) state = Math.imul(state ^ byte, 0x01000193);
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 8) / 2 ** 24 - 0.5;
  });
}
