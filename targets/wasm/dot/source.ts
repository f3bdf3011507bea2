/** Where rows come from when they are prepared in scratch: spans of entries that are copied, and zeros between them. */

import { advance, countedLoop, get, type Lines, op, set, store, sum, times, whileLoop } from "../text.ts";

/** Copies entries from `$from` to `$to`, in the family's own form, and moves both on. */
export interface SpanCopier {
  /** Copies `count` entries, or as many as `$count` says (which it may change). */
  readonly copy: (count: number | "count") => Lines;
  /** Appends as many zeros. */
  readonly zeros: (count: number | "count") => Lines;
}

/** Rows of `depth` entries each. */
export interface RowSource {
  readonly depth: number;
  /** The part of a kernel's id that this code depends on. */
  readonly id: string;
  /** Sets what the rows need, before those that begin at `$block` (`$outer_row` is added to reach the whole operand). */
  readonly begin: Lines;
  /** Copies row `$source_row` from `$a`. */
  readonly copyRow: (copier: SpanCopier) => Lines;
  /** Goes on to the next row. */
  readonly next: Lines;
}

/** Rows of a dense matrix. */
export function matrixSource(depth: number, entryBytes: number): RowSource {
  return {
    depth,
    id: "",
    begin: [],
    copyRow: (copier) => [
      set("from", sum(get("a"), times(get("source_row"), depth * entryBytes))),
      ...copier.copy(depth),
    ],
    next: [],
  };
}

/** How a copier works through a span: `turn` handles `lanes` entries at `$from` and `$to` without moving them. */
export interface SpanForm {
  readonly lanes: number;
  readonly fromBytes: number;
  readonly toBytes: number;
  readonly turn: Lines;
}

/**
 * A copier that always handles whole turns. What it reads and writes past a span is harmless: operands may be read a
 * little past their end, and what is written too far is overwritten by the next span, or lies in padding.
 */
export function spanCopier(form: SpanForm): SpanCopier {
  const { lanes, fromBytes, toBytes } = form;
  const span = (count: number | "count", turn: Lines, reads: boolean): Lines => {
    if (count === 0) return [];
    const step = [...(reads ? [advance("from", lanes * fromBytes)] : []), advance("to", lanes * toBytes)];
    if (count === "count") {
      return [
        set("to_end", sum(get("to"), times(get("count"), toBytes))),
        ...(reads ? [set("from_end", sum(get("from"), times(get("count"), fromBytes)))] : []),
        ...whileLoop("span", op("i32.lt_u", get("to"), get("to_end")), [...turn, ...step]),
        set("to", get("to_end")),
        ...(reads ? [set("from", get("from_end"))] : []),
      ];
    }
    const turns = Math.ceil(count / lanes);
    const excess = turns * lanes - count;
    return [
      ...countedLoop("span", "k", turns, [...turn, ...step]),
      ...(excess === 0 ? [] : [
        ...(reads ? [advance("from", -excess * fromBytes)] : []),
        advance("to", -excess * toBytes),
      ]),
    ];
  };
  const zeroTurn: string[] = [];
  for (let offset = 0; offset < lanes * toBytes; offset += 16) {
    zeroTurn.push(store("v128.store", get("to"), "(v128.const i32x4 0 0 0 0)", offset));
  }
  return {
    copy: (count) => span(count, form.turn, true),
    zeros: (count) => span(count, zeroTurn, false),
  };
}

/** Plain copies of f32, four at a time. */
export const floatCopier: SpanCopier = spanCopier({
  lanes: 4,
  fromBytes: 4,
  toBytes: 4,
  turn: [store("v128.store", get("to"), "(v128.load (local.get $from))")],
});

/** Bytes past the prepared rows that copiers may write. */
export const copySlack = 32;
