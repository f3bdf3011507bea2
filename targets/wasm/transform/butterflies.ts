/**
 * The Sylvester part of a transform: n log n additions, several doublings a pass, so that a run is read and written once
 * in about three doublings.
 */

import { advance, countedLoop, get, type Lines, load, op, set, store } from "../text.ts";

/** Runs of `blocks` · 2^doublings · stride entries, butterflies within each block. */
export interface ButterflyPlan {
  readonly blocks: number;
  readonly doublings: number;
  readonly stride: number;
}

/** Vectors that one turn holds: engines have 16 vector registers, and a butterfly wants a spare one. */
const heldVectors = 8;

/** Doublings `distance`, 2 · distance, ... in one pass over the run; `within` begins by those of 1 and 2 inside vectors. */
interface Pass {
  readonly vectors: number;
  /** Entries between the vectors of a turn; 4 within. */
  readonly distance: number;
  readonly within: boolean;
}

/** Whether the doublings are whole vectors, or begin inside them. */
export function hasButterflies({ doublings, stride }: ButterflyPlan): boolean {
  return stride % 4 === 0 ? doublings > 0 : stride === 1 && doublings >= 2;
}

function passesOf({ doublings, stride }: ButterflyPlan): readonly Pass[] {
  const passes: Pass[] = [];
  let done = 0;
  if (stride === 1) {
    const vectors = Math.min(heldVectors, 2 ** (doublings - 2));
    passes.push({ vectors, distance: 4, within: true });
    done = 2 + Math.log2(vectors);
  }
  while (done < doublings) {
    const vectors = Math.min(heldVectors, 2 ** (doublings - done));
    passes.push({ vectors, distance: stride * 2 ** done, within: false });
    done += Math.log2(vectors);
  }
  return passes;
}

/** All passes over one run, from `$<from>` to `$<to>`; entries of the last one are multiplied by `gain` where it is given. */
export function butterflies(plan: ButterflyPlan, from: string, to: string, gain?: string): Lines {
  const passes = passesOf(plan);
  const run = plan.blocks * 2 ** plan.doublings * plan.stride;
  return passes.flatMap((pass, index) => [
    set("source", get(index === 0 ? from : to)),
    set("target", get(to)),
    ...passLoop(pass, run, `pass_${index}`, index === passes.length - 1 ? gain : undefined),
  ]);
}

/** Blocks of `vectors` distances; in each, every vector of the first distance with its partners. */
function passLoop(pass: Pass, run: number, label: string, gain: string | undefined): Lines {
  const { vectors, distance } = pass;
  const span = vectors * distance;
  const turn: Lines = [
    ...turnOf(pass, gain),
    advance("source", 16),
    advance("target", 16),
  ];
  const rest = 4 * (span - distance);
  return countedLoop(`${label}_blocks`, "block", run / span, [
    ...countedLoop(label, "turn", distance / 4, turn),
    ...(rest === 0 ? [] : [advance("source", rest), advance("target", rest)]),
  ]);
}

function turnOf({ vectors, distance, within }: Pass, gain: string | undefined): Lines {
  const names = Array.from({ length: vectors }, (_, index) => `v_${index}`);
  const lines: string[] = names.map((name, index) => set(name, load("v128.load", get("source"), 4 * distance * index)));
  if (within) {
    for (let index = 0; index < vectors; index += 2) lines.push(...insideVectors(names[index], names.at(index + 1)));
  }
  for (let half = 1; half < vectors; half *= 2) {
    for (let index = 0; index < vectors; index++) {
      if ((index & half) === 0) lines.push(...butterfly(names[index], names[index + half]));
    }
  }
  names.forEach((name, index) => {
    const value = gain === undefined ? get(name) : op("f32x4.mul", get(name), get(gain));
    lines.push(store("v128.store", get("target"), value, 4 * distance * index));
  });
  return lines;
}

/** (a, b) -> (a + b, a - b). */
function butterfly(a: string, b: string): string[] {
  return [
    set("v_difference", op("f32x4.sub", get(a), get(b))),
    set(a, op("f32x4.add", get(a), get(b))),
    set(b, get("v_difference")),
  ];
}

/** Doublings of distance 1 and 2 inside a vector, or inside two at once, which share the shuffles. */
function insideVectors(a: string, b: string | undefined): string[] {
  const other = b ?? a;
  const even = (x: string, y: string) => pick([0, 2, 4, 6], x, y);
  const odd = (x: string, y: string) => pick([1, 3, 5, 7], x, y);
  return [
    set("v_even", even(a, other)),
    set("v_odd", odd(a, other)),
    ...butterfly("v_even", "v_odd"),
    set("v_low", even("v_even", "v_odd")),
    set("v_high", odd("v_even", "v_odd")),
    ...butterfly("v_low", "v_high"),
    set(a, even("v_low", "v_high")),
    ...(b === undefined ? [] : [set(b, odd("v_low", "v_high"))]),
  ];
}

/** Four of the eight words of two vectors. */
function pick(words: readonly number[], x: string, y: string): string {
  const bytes = words.flatMap((word) => [4 * word, 4 * word + 1, 4 * word + 2, 4 * word + 3]);
  return op(`i8x16.shuffle ${bytes.join(" ")}`, get(x), get(y));
}
