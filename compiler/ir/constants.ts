/** The content-addressed store of constants: equal tensors share one entry, and sharing is visible by hash. */

import { bytesOf } from "../numeric/element.ts";
import { printType } from "./types.ts";
import { type Tensor, tensorParts, typeOfTensor } from "./tensor.ts";
import { InvariantError } from "../diagnostics.ts";

/**
 * Constants by hash. Grows only; graphs that share a store may each use a part of it. A store over a `base` reads through
 * to it and keeps what is added to itself: what a search tries goes when the store goes.
 */
export class ConstantStore {
  readonly #tensors = new Map<string, Tensor>();

  constructor(readonly base?: ConstantStore) {}

  /** Adds a tensor (its arrays must not change afterwards) and returns its hash. */
  add(tensor: Tensor): string {
    const hash = hashTensor(tensor);
    if (!this.has(hash)) this.#tensors.set(hash, tensor);
    return hash;
  }

  get(hash: string): Tensor {
    const tensor = this.#tensors.get(hash) ?? this.base?.get(hash);
    if (tensor === undefined) throw new InvariantError(`Constant ${hash} is not in the store`);
    return tensor;
  }

  has(hash: string): boolean {
    return this.#tensors.has(hash) || this.base?.has(hash) === true;
  }
}

/** 64 bits over type and bytes as 16 hex digits: two independent 32-bit multiply-xor streams with a final avalanche. */
function hashTensor(tensor: Tensor): string {
  let low = 0x9e3779b9;
  let high = 0x85ebca6b;
  const mix = (word: number) => {
    low = Math.imul(low ^ word, 0x01000193);
    low ^= low >>> 15;
    high = Math.imul(high + word, 0x2c1b3c6d) ^ (high >>> 13);
    high = Math.imul(high, 0x297a2d39) ^ low;
  };
  for (const character of printType(typeOfTensor(tensor))) mix(character.codePointAt(0) ?? 0);
  for (const part of tensorParts(tensor)) {
    const bytes = bytesOf(part.tensor.data);
    const whole = bytes.byteLength >> 2;
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
    const words = new Uint32Array(aligned.buffer, aligned.byteOffset, whole);
    for (let index = 0; index < whole; index++) mix(words[index]);
    for (let index = whole * 4; index < bytes.length; index++) mix(bytes[index]);
    mix(bytes.byteLength);
  }
  const finish = (word: number) => {
    let x = word;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((x ^ (x >>> 16)) >>> 0).toString(16).padStart(8, "0");
  };
  return finish(low) + finish(high);
}
