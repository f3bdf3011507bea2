/** Elements of the border as the 32-bit words of GPU memory, and back (see the contract of the compiler's storage). */

import type { ElementName, NumberArray } from "../api.ts";
import { bytesPerElement, numberAt, viewAs } from "../elements.ts";

/** Words of one element. */
export function wordsPerElement(element: ElementName): number {
  return bytesPerElement(element) === 8 ? 2 : 1;
}

/** Words of dense elements given by their bytes. */
export function toWords(bytes: Uint8Array, element: ElementName): Uint32Array<ArrayBuffer> {
  // A copy: the bytes may start anywhere.
  const copy = bytes.slice();
  if (bytesPerElement(element) >= 4) return new Uint32Array(copy.buffer);
  const count = bytes.byteLength / bytesPerElement(element);
  const data = viewAs(element, copy.buffer, 0, count);
  const words = new Int32Array(count);
  const floats = new Float32Array(words.buffer);
  const isFloat = element === "f16" || element === "bf16";
  for (let index = 0; index < count; index++) {
    if (isFloat) floats[index] = numberAt(data, element, index);
    else words[index] = Number(data[index]);
  }
  return new Uint32Array(words.buffer);
}

/** Elements from their words. */
export function fromWords(words: Uint32Array<ArrayBuffer>, element: ElementName): NumberArray {
  const width = bytesPerElement(element);
  const count = words.length / wordsPerElement(element);
  if (width >= 4) return viewAs(element, words.buffer, words.byteOffset, count);
  const half = element === "f16" ? halfOf : element === "bf16" ? (word: number) => word >>> 16 : undefined;
  const narrow = half === undefined ? words : words.map(half);
  return viewAs(element, (width === 1 ? Uint8Array : Uint16Array).from(narrow).buffer, 0, count);
}

/** The f16 bits of an f32 that is one. */
function halfOf(word: number): number {
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000) >>> 13);
  return sign | (new Float32Array(Uint32Array.of(magnitude).buffer)[0] * 2 ** 24);
}
