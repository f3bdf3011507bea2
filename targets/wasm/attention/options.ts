/** Shapes of an attention kernel, its scratch memory, and what its parts share. */

import type { Extent } from "../../../compiler/ir/extent.ts";
import type { OpAttributes } from "../../../compiler/ir/node.ts";
import { type CacheCodes, rowVectors } from "./cache.ts";
import { constant, get, type Lines, minimum, op, plus, set, sum, times } from "../text.ts";

export interface AttentionMask {
  readonly element: "f32" | "bool";
  /** Strides over batch, head, query and key, in entries; 0 where the mask is broadcast. */
  readonly strides: readonly [number, number, number, number];
}

export interface AttentionOptions {
  readonly attributes: OpAttributes["attention"];
  readonly batch: number;
  readonly length: Extent;
  readonly lengthBound: number;
  readonly keys: Extent;
  readonly keysBound: number;
  readonly heads: number;
  readonly groups: number;
  readonly width: number;
  readonly valueWidth: number;
  readonly mask?: AttentionMask;
  /** Keys and values that are held as codes. */
  readonly keyCodes?: CacheCodes;
  readonly valueCodes?: CacheCodes;
}

export const zeros = "(v128.const f32x4 0 0 0 0)";
export const lowest = "(v128.const f32x4 -inf -inf -inf -inf)";

/** Rows of a full tile: as many query heads of one key head as go evenly into tiles, or four rows of one head. */
export function tileRowsOf({ heads, groups }: AttentionOptions): number {
  const shared = heads / groups;
  return [4, 3, 2].find((rows) => shared % rows === 0) ?? 4;
}

export function paddedWidth({ width }: AttentionOptions): number {
  return Math.ceil(width / 4) * 4;
}

/** Bytes of a row of scores, with room for the fill after the last. */
export function scoreBytes({ keysBound }: AttentionOptions): number {
  return 4 * (Math.ceil(keysBound / 4) * 4 + 4);
}

export interface ScratchMap {
  readonly queries: number;
  readonly scores: number;
  readonly scales: number;
  /** Decoded keys and values of one key head. */
  readonly keys: number;
  readonly values: number;
  readonly bytes: number;
}

/** Query rows, scaled; score rows; one factor per row; what a head's codes stand for. */
export function scratchMap(options: AttentionOptions): ScratchMap {
  const rows = tileRowsOf(options);
  const scores = 4 * rows * paddedWidth(options);
  const scales = scores + rows * scoreBytes(options);
  const keys = scales + 16 * Math.ceil(rows / 4);
  const { keyCodes, valueCodes, keysBound } = options;
  const decoded = (codes: CacheCodes | undefined, width: number) =>
    codes === undefined ? 0 : 16 * keysBound * rowVectors(width);
  const values = keys + decoded(keyCodes, options.width);
  return { queries: 0, scores, scales, keys, values, bytes: values + decoded(valueCodes, options.valueWidth) };
}

/** Bytes from one key of a head to the next. */
export function keyBytes({ groups, width, keyCodes }: AttentionOptions): number {
  return keyCodes === undefined ? 4 * groups * width : 16 * rowVectors(width);
}

/** Bytes from one value of a head to the next. */
export function valueBytes({ groups, valueWidth, valueCodes }: AttentionOptions): number {
  return valueCodes === undefined ? 4 * groups * valueWidth : 16 * rowVectors(valueWidth);
}

export function attentionScratch(options: AttentionOptions): number {
  return scratchMap(options).bytes;
}

/** Sets `$t` and `$head` of the tile's row `$r`. */
export function locateRow({ heads, groups }: AttentionOptions): Lines {
  const shared = heads / groups;
  const item = sum(get("item"), get("r"));
  if (shared === 1) return [set("t", item), set("head", get("group"))];
  return [
    set("t", op("i32.div_u", item, constant(shared))),
    set("head", sum(times(get("group"), shared), op("i32.rem_u", item, constant(shared)))),
  ];
}

/** Sets `$begin` and `$end`: the keys that row `$t` sees. */
export function visibleKeys({ attributes }: AttentionOptions): Lines {
  const after = plus(sum(op("i32.sub", get("keys"), get("length")), get("t")), 1);
  const atLeastZero = (name: string): string =>
    set(name, op("select", get(name), constant(0), op("i32.gt_s", get(name), constant(0))));
  const end = attributes.causal
    ? [set("end", after), atLeastZero("end"), set("end", minimum(get("end"), get("keys")))]
    : [set("end", get("keys"))];
  const begin = attributes.window > 0
    ? [set("begin", plus(after, -attributes.window)), atLeastZero("begin")]
    : [set("begin", constant(0))];
  return [...end, ...begin];
}

export function queryAddress({ heads, lengthBound }: AttentionOptions, base: string, width: number): string {
  const row = sum(times(sum(times(get("batch"), lengthBound), get("t")), heads), get("head"));
  return sum(get(base), times(row, 4 * width));
}

/** Words 0..3 are those of x, 4..7 those of y. */
export function shuffleWords(words: readonly number[], x: string, y: string): string {
  const bytes = words.flatMap((word) => [4 * word, 4 * word + 1, 4 * word + 2, 4 * word + 3]);
  return op(`i8x16.shuffle ${bytes.join(" ")}`, get(x), get(y));
}
