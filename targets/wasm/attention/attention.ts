/**
 * Attention over keys and values that lie as [B, S, G, D]: a KV cache of G heads, or plain operands.
 *
 *   y[t][h] = Σ_s p[s] v[s] / Σ_s p[s],  p[s] = exp(score[s] - max),  score[s] = cap(scale q[t][h] · k[s]) + mask[s]
 *
 * Queries that share a key head are worked on together, a tile of rows at a time: scores of all visible keys go to
 * scratch, then their exponentials, then the weighted sum of the values. A row that sees no key is 0.
 */

import { decodeHead } from "./cache.ts";
import { extentText } from "../dot/rows.ts";
import type { WasmVariant } from "../kernel.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  type Lines,
  minimum,
  op,
  plus,
  set,
  sum,
  times,
  whileLoop,
} from "../text.ts";
import { type AttentionOptions, locateRow, scoreBytes, scratchMap, tileRowsOf, visibleKeys } from "./options.ts";
import { copyQueries, scoreKeys } from "./scores.ts";
import { softmaxRow } from "./softmax.ts";
import { weighValues } from "./values.ts";

export function attentionBody(options: AttentionOptions, variant: WasmVariant): Lines {
  const { batch, groups, heads, width, valueWidth, keysBound, length, keys } = options;
  const shared = heads / groups;
  const rows = tileRowsOf(options);
  const headAddress = (base: string, entries: number): string =>
    sum(get(base), times(sum(times(get("batch"), keysBound * groups), get("group")), 4 * entries));
  const exact = shared % rows === 0;
  const { keyCodes, valueCodes } = options;
  const map = scratchMap(options);
  const place = { groups, keysBound };
  const at = (offset: number): string => sum(get("scratch"), constant(offset));
  return [
    set("length", extentText(length)),
    set("keys", extentText(keys)),
    set("items", times(get("length"), shared)),
    ...countedLoop("batches", "batch", batch, [
      ...countedLoop("key_heads", "group", groups, [
        ...(keyCodes === undefined ? [set("k_head", headAddress("k", width))] : [
          ...decodeHead({ ...place, name: "k", codes: keyCodes, width, scratch: map.keys }),
          set("k_head", at(map.keys)),
        ]),
        ...(valueCodes === undefined ? [set("value_head", headAddress("v", valueWidth))] : [
          ...decodeHead({ ...place, name: "v", codes: valueCodes, width: valueWidth, scratch: map.values }),
          set("value_head", at(map.values)),
        ]),
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
