/** The weighted sum of the values that the rows of a tile see. */

import { multiplyAdd } from "../dot/float.ts";
import type { WasmVariant } from "../kernel.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  type Lines,
  load,
  op,
  set,
  storeWords,
  sum,
  times,
  whileLoop,
} from "../text.ts";
import {
  type AttentionOptions,
  locateRow,
  queryAddress,
  scoreBytes,
  scratchMap,
  valueBytes,
  zeros,
} from "./options.ts";

/** y = Σ_s p[s] v[s] times the row's factor, a few vectors of the value at a time. */
export function weighValues(options: AttentionOptions, rows: number, variant: WasmVariant): Lines {
  const { valueWidth } = options;
  const vectors = Math.ceil(valueWidth / 4);
  const most = [8, 4, 2, 1].find((count) => count * rows <= 12) ?? 1;
  const width = Math.min(most, vectors);
  const blocks = Math.floor(vectors / width);
  const rest = vectors - blocks * width;
  const whole = valueWidth % 4 === 0 && rest === 0;
  const lines: (string | Lines)[] = [];
  for (let row = 0; row < rows; row++) {
    lines.push(set("r", constant(row)), ...locateRow(options), set(`y_${row}`, queryAddress(options, "y", valueWidth)));
  }
  lines.push(set("value_column", sum(get("value_head"), times(get("tile_begin"), valueBytes(options)))));
  // The last block is printed apart when it is narrower or ends in part of a vector.
  const even = whole ? blocks : rest === 0 ? blocks - 1 : blocks;
  const last = whole ? 0 : rest === 0 ? width : rest;
  if (even > 0) {
    lines.push(...countedLoop("value_blocks", "block", even, valueBlock(options, rows, width, width * 4, variant)));
  }
  if (last > 0) lines.push(...valueBlock(options, rows, last, valueWidth - even * width * 4, variant));
  return lines;
}

function valueBlock(
  options: AttentionOptions,
  rows: number,
  vectors: number,
  columns: number,
  variant: WasmVariant,
): Lines {
  const map = scratchMap(options);
  const acc = (row: number, vector: number): string => `v_acc_${row}_${vector}`;
  const lines: (string | Lines)[] = [];
  for (let row = 0; row < rows; row++) {
    for (let vector = 0; vector < vectors; vector++) lines.push(set(acc(row, vector), zeros));
  }
  const body: string[] = [];
  for (let vector = 0; vector < vectors; vector++) {
    body.push(set(`v_k_${vector}`, load("v128.load", get("value_at"), 16 * vector)));
  }
  for (let row = 0; row < rows; row++) {
    body.push(set("v_q", load("v128.load32_splat", get("at"), row * scoreBytes(options))));
    for (let vector = 0; vector < vectors; vector++) {
      const total = acc(row, vector);
      body.push(set(total, multiplyAdd(variant, get("v_q"), get(`v_k_${vector}`), get(total))));
    }
  }
  lines.push(
    set("value_at", get("value_column")),
    set("at", sum(get("scratch"), constant(map.scores))),
    set("fill_end", sum(get("at"), op("i32.shl", get("span"), constant(2)))),
    ...whileLoop("values", op("i32.lt_u", get("at"), get("fill_end")), [
      ...body,
      advance("value_at", valueBytes(options)),
      advance("at", 4),
    ]),
  );
  for (let row = 0; row < rows; row++) {
    lines.push(set("v_q", load("v128.load32_splat", get("scratch"), map.scales + 4 * row)));
    for (let vector = 0; vector < vectors; vector++) {
      const scaled = op("f32x4.mul", get(acc(row, vector)), get("v_q"));
      lines.push(
        set("v_x", scaled),
        ...storeWords(Math.min(4, columns - 4 * vector), get(`y_${row}`), get("v_x"), 16 * vector),
      );
    }
    lines.push(advance(`y_${row}`, 16 * vectors));
  }
  lines.push(advance("value_column", 16 * vectors));
  return lines;
}
