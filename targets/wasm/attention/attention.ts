/**
 * Attention over keys and values that lie as [B, S, G, D]: a KV cache of G heads, or plain operands.
 *
 *   y[t][h] = Σ_s p[s] v[s] / Σ_s p[s],  p[s] = exp(score[s] - max),  score[s] = cap(scale q[t][h] · k[s]) + mask[s]
 *
 * Queries that share a key head are worked on together, a tile of rows at a time: scores of all visible keys go to
 * scratch, then their exponentials, then the weighted sum of the values. A row that sees no key is 0.
 */

import type { Extent } from "../../../compiler/ir/extent.ts";
import type { OpAttributes } from "../../../compiler/ir/node.ts";
import { multiplyAdd } from "../dot/float.ts";
import { extentText } from "../dot/rows.ts";
import type { WasmVariant } from "../kernel.ts";
import { inlineVector, type LiteralForm } from "../vector_expression.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  ifThen,
  type Lines,
  load,
  minimum,
  op,
  plus,
  set,
  store,
  sum,
  times,
  whileLoop,
} from "../text.ts";

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
}

const zeros = "(v128.const f32x4 0 0 0 0)";
const lowest = "(v128.const f32x4 -inf -inf -inf -inf)";

/** Rows of a full tile: as many query heads of one key head as go evenly into tiles, or four rows of one head. */
export function tileRowsOf({ heads, groups }: AttentionOptions): number {
  const shared = heads / groups;
  return [4, 3, 2].find((rows) => shared % rows === 0) ?? 4;
}

function paddedWidth({ width }: AttentionOptions): number {
  return Math.ceil(width / 4) * 4;
}

/** Bytes of a row of scores, with room for the fill after the last. */
function scoreBytes({ keysBound }: AttentionOptions): number {
  return 4 * (Math.ceil(keysBound / 4) * 4 + 4);
}

interface ScratchMap {
  readonly queries: number;
  readonly scores: number;
  readonly scales: number;
  readonly bytes: number;
}

/** Query rows, scaled; score rows; one factor per row. */
function scratchMap(options: AttentionOptions): ScratchMap {
  const rows = tileRowsOf(options);
  const scores = 4 * rows * paddedWidth(options);
  const scales = scores + rows * scoreBytes(options);
  return { queries: 0, scores, scales, bytes: scales + 16 * Math.ceil(rows / 4) };
}

export function attentionScratch(options: AttentionOptions): number {
  return scratchMap(options).bytes;
}

export function attentionBody(options: AttentionOptions, variant: WasmVariant): Lines {
  const { batch, groups, heads, width, valueWidth, keysBound, length, keys } = options;
  const shared = heads / groups;
  const rows = tileRowsOf(options);
  const headAddress = (base: string, entries: number): string =>
    sum(get(base), times(sum(times(get("batch"), keysBound * groups), get("group")), 4 * entries));
  const exact = shared % rows === 0;
  return [
    set("length", extentText(length)),
    set("keys", extentText(keys)),
    set("items", times(get("length"), shared)),
    ...countedLoop("batches", "batch", batch, [
      ...countedLoop("key_heads", "group", groups, [
        set("k_head", headAddress("k", width)),
        set("value_head", headAddress("v", valueWidth)),
        set("item", constant(0)),
        ...whileLoop("tiles", op("i32.le_u", plus(get("item"), rows), get("items")), [
          ...tile(options, rows, variant),
          advance("item", rows),
        ]),
        ...(exact ? [] : whileLoop("single_rows", op("i32.lt_u", get("item"), get("items")), [
          ...tile(options, 1, variant),
          advance("item", 1),
        ])),
      ]),
    ]),
  ];
}

/** Sets `$t` and `$head` of the tile's row `$r`. */
function locateRow({ heads, groups }: AttentionOptions): Lines {
  const shared = heads / groups;
  const item = sum(get("item"), get("r"));
  if (shared === 1) return [set("t", item), set("head", get("group"))];
  return [
    set("t", op("i32.div_u", item, constant(shared))),
    set("head", sum(times(get("group"), shared), op("i32.rem_u", item, constant(shared)))),
  ];
}

/** Sets `$begin` and `$end`: the keys that row `$t` sees. */
function visibleKeys({ attributes }: AttentionOptions): Lines {
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

function queryAddress({ heads, lengthBound }: AttentionOptions, base: string, width: number): string {
  const row = sum(times(sum(times(get("batch"), lengthBound), get("t")), heads), get("head"));
  return sum(get(base), times(row, 4 * width));
}

/** Literals of the softmax stay in locals: engines build a vector constant anew at every use. */
function pooled(pool: Map<string, string>): LiteralForm {
  return (text) => {
    const name = pool.get(text) ?? `v_literal_${pool.size}`;
    pool.set(text, name);
    return get(name);
  };
}

function tile(options: AttentionOptions, rows: number, variant: WasmVariant): Lines {
  const map = scratchMap(options);
  const bytes = scoreBytes(options);
  const pool = new Map<string, string>();
  const softmax = softmaxRow(options, pool);
  return [
    // The first row sees the earliest key and the last row the latest.
    set("r", constant(rows - 1)),
    ...locateRow(options),
    ...visibleKeys(options),
    set("tile_end", get("end")),
    set("r", constant(0)),
    ...locateRow(options),
    ...visibleKeys(options),
    set("tile_begin", minimum(get("begin"), get("tile_end"))),
    set("span", op("i32.sub", get("tile_end"), get("tile_begin"))),
    ...copyQueries(options, rows),
    ...scoreKeys(options, rows, variant),
    ...[...pool].map(([text, name]) => set(name, text)),
    ...countedLoop("softmax_rows", "r", rows, [
      ...locateRow(options),
      ...visibleKeys(options),
      set("score_row", sum(sum(get("scratch"), constant(map.scores)), times(get("r"), bytes))),
      ...softmax,
    ]),
    ...weighValues(options, rows, variant),
  ];
}

/** Copies the tile's query rows to scratch, scaled; the last vector is filled with zeros. */
function copyQueries(options: AttentionOptions, rows: number): Lines {
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
function scoreKeys(options: AttentionOptions, rows: number, variant: WasmVariant): Lines {
  const { groups, width } = options;
  const keyBytes = 4 * groups * width;
  const block = (keys: number): Lines => [
    ...scoreBlock(options, rows, keys, variant),
    advance("score_at", 4 * keys),
    advance("k_at", keys * keyBytes),
    advance("s", keys),
  ];
  return [
    set("s", get("tile_begin")),
    set("k_at", sum(get("k_head"), times(get("s"), keyBytes))),
    ...whileLoop("key_blocks", op("i32.le_u", plus(get("s"), 4), get("tile_end")), block(4)),
    ...whileLoop("keys_left", op("i32.lt_u", get("s"), get("tile_end")), block(1)),
  ];
}

function scoreBlock(options: AttentionOptions, rows: number, keys: number, variant: WasmVariant): Lines {
  const { groups, width } = options;
  const vectors = paddedWidth(options) / 4;
  const keyBytes = 4 * groups * width;
  const queryBytes = 4 * paddedWidth(options);
  const rest = width % 4;
  const unroll = vectors % 4 === 0 ? 4 : vectors % 2 === 0 ? 2 : 1;
  const acc = (row: number, key: number): string => `v_acc_${row}_${key}`;
  const step = (index: number, last: boolean): string[] => {
    const lines: string[] = [];
    for (let key = 0; key < keys; key++) {
      const loaded = load("v128.load", get("kd"), key * keyBytes + 16 * index);
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

/** Words 0..3 are those of x, 4..7 those of y. */
function shuffleWords(words: readonly number[], x: string, y: string): string {
  const bytes = words.flatMap((word) => [4 * word, 4 * word + 1, 4 * word + 2, 4 * word + 3]);
  return op(`i8x16.shuffle ${bytes.join(" ")}`, get(x), get(y));
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

/** Cap, mask, exponentials of one row of scores at `$score_row`; leaves 1 / Σ (0 when no key is seen) among the scales. */
function softmaxRow(options: AttentionOptions, pool: Map<string, string>): Lines {
  const map = scratchMap(options);
  const spanEnd = sum(get("score_row"), op("i32.shl", get("span"), constant(2)));
  const loop = (label: string, body: Lines): Lines => [
    set("at", get("score_row")),
    ...whileLoop(label, op("i32.lt_u", get("at"), get("row_end")), [...body, advance("at", 16)]),
  ];
  const current = load("v128.load", get("at"));
  const fill = (label: string, from: string, to: string): Lines => [
    set("at", from),
    set("fill_end", to),
    ...whileLoop(label, op("i32.lt_u", get("at"), get("fill_end")), [
      store("f32.store", get("at"), "(f32.const -inf)"),
      advance("at", 4),
    ]),
  ];
  const place = (key: string): string =>
    sum(get("score_row"), op("i32.shl", op("i32.sub", key, get("tile_begin")), constant(2)));
  return [
    set("row_end", op("i32.and", plus(spanEnd, 15), constant(-16))),
    ...adjustScores(options, pool),
    ...(options.attributes.window > 0
      ? fill("before_window", get("score_row"), place(minimum(get("begin"), get("tile_end"))))
      : []),
    ...fill(
      "after_keys",
      place(op("select", get("end"), get("tile_begin"), op("i32.gt_u", get("end"), get("tile_begin")))),
      get("row_end"),
    ),
    set("v_most", lowest),
    ...loop("row_max", [set("v_most", op("f32x4.pmax", get("v_most"), current))]),
    set("v_most", op("f32x4.pmax", get("v_most"), shuffleWords([2, 3, 0, 1], "v_most", "v_most"))),
    set("v_most", op("f32x4.pmax", get("v_most"), shuffleWords([1, 0, 3, 2], "v_most", "v_most"))),
    set("v_total", zeros),
    ...ifThen(
      op("f32.eq", op("f32x4.extract_lane 0", get("v_most")), "(f32.const -inf)"),
      loop("clear_row", [
        store("v128.store", get("at"), zeros),
      ]),
      [
        ...loop("row_exp", [
          set("v_x", inlineVector("exp_f32x4", [op("f32x4.sub", current, get("v_most"))], pooled(pool))),
          set("v_total", op("f32x4.add", get("v_total"), get("v_x"))),
          store("v128.store", get("at"), get("v_x")),
        ]),
        set("v_total", op("f32x4.add", get("v_total"), shuffleWords([2, 3, 0, 1], "v_total", "v_total"))),
        set("v_total", op("f32x4.add", get("v_total"), shuffleWords([1, 0, 3, 2], "v_total", "v_total"))),
        set("v_total", op("f32x4.div", "(v128.const f32x4 1 1 1 1)", get("v_total"))),
      ],
    ),
    `(v128.store32_lane 0 ${sum(sum(get("scratch"), constant(map.scales)), op("i32.shl", get("r"), constant(2)))} ${
      get("v_total")
    })`,
  ];
}

/** Caps the scores of a row and adds its mask. */
function adjustScores(options: AttentionOptions, pool: Map<string, string>): Lines {
  const { attributes: { softcap }, mask } = options;
  if (softcap === 0 && mask === undefined) return [];
  const lines: (string | Lines)[] = [];
  if (mask !== undefined) {
    const [batch, head, query, key] = mask.strides;
    const index = [
      times(get("batch"), batch),
      times(get("head"), head),
      times(get("t"), query),
      times(get("tile_begin"), key),
    ].filter((_, axis) => mask.strides[axis] !== 0).reduce((total, term) => sum(total, term), constant(0));
    lines.push(set("mask_at", sum(get("mask"), times(index, mask.element === "bool" ? 1 : 4))));
  }
  const body: (string | Lines)[] = [set("v_x", load("v128.load", get("at")))];
  if (softcap !== 0) {
    const cap = pooled(pool)(`(v128.const f32x4${` ${Math.fround(softcap)}`.repeat(4)})`);
    const capped = inlineVector("tanh_f32x4", [op("f32x4.div", get("v_x"), cap)], pooled(pool));
    body.push(set("v_x", op("f32x4.mul", cap, capped)));
  }
  if (mask !== undefined) body.push(...addMask(mask));
  body.push(store("v128.store", get("at"), get("v_x")), advance("at", 16));
  return [
    ...lines,
    set("at", get("score_row")),
    ...whileLoop("adjust", op("i32.lt_u", get("at"), get("row_end")), body),
  ];
}

function addMask({ element, strides }: AttentionMask): Lines {
  const along = strides[3] !== 0;
  if (element === "f32") {
    const instruction = along ? "v128.load" : "v128.load32_splat";
    return [
      set("v_x", op("f32x4.add", get("v_x"), load(instruction, get("mask_at")))),
      ...(along ? [advance("mask_at", 16)] : []),
    ];
  }
  const bytes = along
    ? op("i32x4.extend_low_i16x8_u", op("i16x8.extend_low_i8x16_u", load("v128.load32_zero", get("mask_at"))))
    : op("i32x4.splat", load("i32.load8_u", get("mask_at")));
  return [
    set("v_x", op("v128.bitselect", get("v_x"), lowest, op("i32x4.ne", bytes, "(v128.const i32x4 0 0 0 0)"))),
    ...(along ? [advance("mask_at", 4)] : []),
  ];
}

/** y = Σ_s p[s] v[s] times the row's factor, a few vectors of the value at a time. */
function weighValues(options: AttentionOptions, rows: number, variant: WasmVariant): Lines {
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
  lines.push(set("value_column", sum(get("value_head"), times(get("tile_begin"), 4 * options.groups * valueWidth))));
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
  const valueBytes = 4 * options.groups * options.valueWidth;
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
      advance("value_at", valueBytes),
      advance("at", 4),
    ]),
  );
  for (let row = 0; row < rows; row++) {
    lines.push(set("v_q", load("v128.load32_splat", get("scratch"), map.scales + 4 * row)));
    for (let vector = 0; vector < vectors; vector++) {
      const scaled = op("f32x4.mul", get(acc(row, vector)), get("v_q"));
      lines.push(set("v_x", scaled), ...storeLanes(`y_${row}`, 16 * vector, Math.min(4, columns - 4 * vector)));
    }
    lines.push(advance(`y_${row}`, 16 * vectors));
  }
  lines.push(advance("value_column", 16 * vectors));
  return lines;
}

function storeLanes(address: string, offset: number, lanes: number): string[] {
  const at = (bytes: number): string => (offset + bytes === 0 ? "" : ` offset=${offset + bytes}`);
  const value = get("v_x");
  const to = get(address);
  switch (lanes) {
    case 4:
      return [`(v128.store${at(0)} ${to} ${value})`];
    case 3:
      return [`(v128.store64_lane${at(0)} 0 ${to} ${value})`, `(v128.store32_lane${at(8)} 2 ${to} ${value})`];
    case 2:
      return [`(v128.store64_lane${at(0)} 0 ${to} ${value})`];
    default:
      return [`(v128.store32_lane${at(0)} 0 ${to} ${value})`];
  }
}
