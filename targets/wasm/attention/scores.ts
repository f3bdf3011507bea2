/** Scores of a tile of query rows against all keys that the tile sees. */

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
  plus,
  set,
  store,
  sum,
  times,
  whileLoop,
} from "../text.ts";
import {
  type AttentionOptions,
  keyBytes,
  locateRow,
  paddedWidth,
  queryAddress,
  scoreBytes,
  shuffleWords,
  tileRowsOf,
  zeros,
} from "./options.ts";

/** Copies the tile's query rows to scratch, scaled; the last vector is filled with zeros. */
export function copyQueries(options: AttentionOptions, rows: number): Lines {
  const { width, attributes } = options;
  const padded = paddedWidth(options);
  const rest = width % 4;
  const copy = (offset: number, valid: number): string => {
    const loaded = load("v128.load", get("from"), offset);
    const scaled = op("f32x4.mul", loaded, get("v_scale"));
    const mask = [0, 1, 2, 3].map((lane) => (lane < valid ? -1 : 0)).join(" ");
    return store(
      "v128.store",
      get("to"),
      valid === 4 ? scaled : op("v128.and", scaled, `(v128.const i32x4 ${mask})`),
      offset,
    );
  };
  const whole = Math.floor(width / 4);
  return [
    set("to", get("scratch")),
    set("v_scale", `(v128.const f32x4${` ${Math.fround(attributes.scale)}`.repeat(4)})`),
    ...countedLoop("query_rows", "r", rows, [
      ...locateRow(options),
      set("from", queryAddress(options, "q", width)),
      ...(whole > 0 ? countedLoop("query", "d", whole, [copy(0, 4), advance("from", 16), advance("to", 16)]) : []),
      ...(rest > 0 ? [copy(0, rest), advance("to", 16)] : []),
    ]),
    set("score_at", sum(get("scratch"), constant(4 * tileRowsOf(options) * padded))),
  ];
}

/** Scores of the keys from `$tile_begin` to `$tile_end`, four at a time, then one by one. */
export function scoreKeys(options: AttentionOptions, rows: number, variant: WasmVariant): Lines {
  const stride = keyBytes(options);
  const block = (keys: number): Lines => [
    ...scoreBlock(options, rows, keys, variant),
    advance("score_at", 4 * keys),
    advance("k_at", keys * stride),
    advance("s", keys),
  ];
  return [
    set("s", get("tile_begin")),
    set("k_at", sum(get("k_head"), times(get("s"), stride))),
    ...whileLoop("key_blocks", op("i32.le_u", plus(get("s"), 4), get("tile_end")), block(4)),
    ...whileLoop("keys_left", op("i32.lt_u", get("s"), get("tile_end")), block(1)),
  ];
}

function scoreBlock(options: AttentionOptions, rows: number, keys: number, variant: WasmVariant): Lines {
  const { width } = options;
  const vectors = paddedWidth(options) / 4;
  const stride = keyBytes(options);
  const queryBytes = 4 * paddedWidth(options);
  const rest = width % 4;
  const unroll = vectors % 4 === 0 ? 4 : vectors % 2 === 0 ? 2 : 1;
  const acc = (row: number, key: number): string => `v_acc_${row}_${key}`;
  const step = (index: number, last: boolean): string[] => {
    const lines: string[] = [];
    for (let key = 0; key < keys; key++) {
      const loaded = load("v128.load", get("kd"), key * stride + 16 * index);
      const mask = [0, 1, 2, 3].map((lane) => (lane < rest ? -1 : 0)).join(" ");
      lines.push(set(`v_k_${key}`, last ? op("v128.and", loaded, `(v128.const i32x4 ${mask})`) : loaded));
    }
    for (let row = 0; row < rows; row++) {
      lines.push(set("v_q", load("v128.load", get("qd"), row * queryBytes + 16 * index)));
      for (let key = 0; key < keys; key++) {
        lines.push(set(acc(row, key), multiplyAdd(variant, get("v_q"), get(`v_k_${key}`), get(acc(row, key)))));
      }
    }
    return lines;
  };
  const lines: (string | Lines)[] = [set("qd", get("scratch")), set("kd", get("k_at"))];
  for (let row = 0; row < rows; row++) for (let key = 0; key < keys; key++) lines.push(set(acc(row, key), zeros));
  const whole = rest === 0 ? vectors : vectors - 1;
  const turns = Math.floor(whole / unroll);
  if (turns > 0) {
    lines.push(
      ...countedLoop("score_depth", "d", turns, [
        ...Array.from({ length: unroll }, (_, index) => step(index, false)).flat(),
        advance("qd", 16 * unroll),
        advance("kd", 16 * unroll),
      ]),
    );
  }
  for (let index = 0; index < whole - turns * unroll; index++) lines.push(...step(index, false));
  if (rest > 0) lines.push(...step(whole - turns * unroll, true));
  for (let row = 0; row < rows; row++) {
    const offset = row * scoreBytes(options);
    if (keys === 4) {
      lines.push(...addAcross([0, 1, 2, 3].map((key) => acc(row, key))));
      lines.push(store("v128.store", get("score_at"), get("v_x"), offset));
    } else {
      lines.push(set("v_x", op("f32x4.add", get(acc(row, 0)), shuffleWords([2, 3, 0, 1], acc(row, 0), acc(row, 0)))));
      lines.push(set("v_x", op("f32x4.add", get("v_x"), shuffleWords([1, 0, 3, 2], "v_x", "v_x"))));
      lines.push(`(v128.store32_lane${offset === 0 ? "" : ` offset=${offset}`} 0 ${get("score_at")} ${get("v_x")})`);
    }
  }
  return lines;
}

/** Lane i of `$v_x` is the sum over the lanes of vector i. */
function addAcross([a, b, c, d]: readonly string[]): string[] {
  const halves = (x: string, y: string): string =>
    op("f32x4.add", shuffleWords([0, 4, 1, 5], x, y), shuffleWords([2, 6, 3, 7], x, y));
  return [
    set("v_x", halves(a, b)),
    set("v_y", halves(c, d)),
    set("v_x", op("f32x4.add", shuffleWords([0, 1, 4, 5], "v_x", "v_y"), shuffleWords([2, 3, 6, 7], "v_x", "v_y"))),
  ];
}
