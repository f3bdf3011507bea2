/** Decodes columns of weight-only panels, which are the rows of a table. */

import type { Extent } from "../../../compiler/ir/extent.ts";
import { extentText } from "../dot/rows.ts";
import { splatStep } from "../dot/steps.ts";
import { type WeightOnlyLayout, weightOnlyShape } from "../dot/weight_only.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  type Lines,
  load,
  op,
  set,
  store,
  sum,
  times,
  whileLoop,
} from "../text.ts";

export interface GatherRows {
  readonly layout: WeightOnlyLayout;
  /** The zero point of every block, where it does not vary. */
  readonly zero: number;
  /** Rows of the table. */
  readonly count: number;
  /** Rows that are gathered. */
  readonly rows: Extent;
}

export function gatherRowsBody(gather: GatherRows): Lines {
  const { layout, count, rows } = gather;
  const shape = weightOnlyShape(layout);
  const { panelColumns, depth } = layout;
  const blockOf = (entries: number): Lines => [
    ...loadParameters(gather),
    set("wk", sum(sum(get("w"), times(get("lane"), 4)), constant(shape.codesAt))),
    ...decodeBlock(gather, entries),
    advance("w", shape.blockBytes),
  ];
  const last = depth - (shape.blocks - 1) * shape.blockDepth;
  return [
    set("row", constant(0)),
    set("y_at", get("y")),
    ...whileLoop("rows", op("i32.lt_u", get("row"), extentText(rows)), [
      ...loadIndex(count),
      set("lane", op("i32.rem_u", get("index"), constant(panelColumns))),
      set(
        "w",
        sum(
          get("weights"),
          times(op("i32.div_u", get("index"), constant(panelColumns)), shape.blocks * shape.blockBytes),
        ),
      ),
      ...(last === shape.blockDepth
        ? countedLoop("blocks", "block_index", shape.blocks, blockOf(shape.blockDepth))
        : blockOf(last)),
      advance("row", 1),
    ]),
  ];
}

/** Negative indices count from the end; those outside are clamped. */
function loadIndex(count: number): Lines {
  const negative = op("i32.lt_s", get("index"), constant(0));
  return [
    set("index", load("i32.load", sum(get("indices"), times(get("row"), 4)))),
    set("index", op("select", sum(get("index"), constant(count)), get("index"), negative)),
    set("index", op("select", constant(0), get("index"), negative)),
    set("index", op("select", constant(count - 1), get("index"), op("i32.ge_s", get("index"), constant(count)))),
  ];
}

/** Step, zero point and offset of the row's block, in every lane. */
function loadParameters({ layout, zero }: GatherRows): Lines {
  const shape = weightOnlyShape(layout);
  const columnAt = (bytes: number): string => sum(get("w"), times(get("lane"), bytes));
  const lines: string[] = [set("v_step", splatStep(layout.step, columnAt, 0))];
  if (layout.zeros !== "none") {
    const zero = op("f32.convert_i32_s", zeroOf(layout.zeros, shape.zerosAt));
    lines.push(set("v_zero", op("f32x4.splat", zero)));
  } else if (zero !== 0) lines.push(set("v_zero", `(v128.const f32x4${` ${zero}`.repeat(4)})`));
  if (layout.offsets) lines.push(set("v_offset", splatStep(layout.step, columnAt, shape.offsetsAt)));
  return lines;
}

/** The row's zero point, from where its column's stand. */
function zeroOf(zeros: "u4" | "i16", at: number): string {
  if (zeros === "i16") return load("i32.load16_s", sum(get("w"), times(get("lane"), 2)), at);
  const byte = load("i32.load8_u", sum(get("w"), op("i32.and", get("lane"), constant(3))), at);
  const shift = op("i32.and", get("lane"), constant(4));
  return op("i32.and", op("i32.shr_u", byte, shift), constant(15));
}

/** `entries` entries of the row's block: groups of eight, then four where they are left. */
function decodeBlock(gather: GatherRows, entries: number): Lines {
  const { codes, panelColumns } = gather.layout;
  const groupBytes = panelColumns * (codes === "nibble" ? 4 : 8);
  const groups = Math.floor(entries / 8);
  return [
    ...(groups > 0
      ? countedLoop("groups", "group", groups, [
        ...decodeFour(gather, 0),
        ...decodeFour(gather, 1),
        advance("wk", groupBytes),
        advance("y_at", 32),
      ])
      : []),
    ...(entries % 8 === 0 ? [] : [...decodeFour(gather, 0), advance("y_at", 16)]),
  ];
}

/** Entries 4 half .. 4 half + 3 of the group at `$wk`. */
function decodeFour({ layout, zero }: GatherRows, half: number): Lines {
  const nibble = layout.codes === "nibble";
  const four = load("v128.load32_zero", get("wk"), nibble ? 0 : 4 * layout.panelColumns * half);
  const bytes = !nibble
    ? four
    : half === 0
    ? op("v128.and", four, `(v128.const i8x16${" 15".repeat(16)})`)
    : op("i8x16.shr_u", four, constant(4));
  const words = op("i32x4.extend_low_i16x8_s", op("i16x8.extend_low_i8x16_s", bytes));
  const value = op("f32x4.convert_i32x4_s", words);
  const centred = layout.zeros !== "none" || zero !== 0 ? op("f32x4.sub", value, get("v_zero")) : value;
  const scaled = op("f32x4.mul", centred, get("v_step"));
  const decoded = layout.offsets ? op("f32x4.add", scaled, get("v_offset")) : scaled;
  return [store("v128.store", get("y_at"), decoded, 16 * half)];
}
