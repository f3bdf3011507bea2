/** What the PaddleOCR recognizer reads and what its scores mean. */

/** Pixels of a line's height. */
export const lineHeight = 48;

/**
 * The tensor [3, 48, width] in -1..1, blue first, of an RGBA image of that size. The columns from `extent` on are 0, as
 * PaddleOCR pads the lines that it trains on; the recognizer reads stray marks into a long blank end of a line.
 */
export function lineTensor(rgba: Uint8ClampedArray, width: number, extent = width): Float32Array<ArrayBuffer> {
  const plane = width * lineHeight;
  const pixels = new Float32Array(3 * plane);
  for (let pixel = 0; pixel < plane; pixel++) {
    if (pixel % width >= extent) continue;
    for (let channel = 0; channel < 3; channel++) {
      pixels[channel * plane + pixel] = rgba[4 * pixel + (2 - channel)] / 127.5 - 1;
    }
  }
  return pixels;
}

/** The recognizer's classes: blank, the characters of its key file, and the space. */
export function readAlphabet(keys: string): readonly string[] {
  return ["", ...keys.split("\n").map((key) => key.replace(/\r$/, "")).filter((key) => key !== ""), " "];
}

/** Best-path reading of connectionist temporal classification scores [steps, classes]: repeats merged, blanks dropped. */
export function readBestPath(
  scores: Float32Array,
  alphabet: readonly string[],
): { readonly text: string; readonly path: readonly number[] } {
  const classes = alphabet.length;
  const path = Array.from({ length: scores.length / classes }, (_, step) => {
    let best = 0;
    for (let index = 1; index < classes; index++) {
      if (scores[step * classes + index] > scores[step * classes + best]) best = index;
    }
    return best;
  });
  const kept = path.filter((label, step) => label !== 0 && label !== path[step - 1]);
  return { text: kept.map((label) => alphabet[label]).join(""), path };
}
