/**
 * Panels of codes of any width up to 8 bits. A panel is decoded once a block of rows: to bytes that the int8 core multiplies,
 * or to f32 for f32 rows. What a code becomes is its *entry*:
 *
 *   centred      u - z, with one zero point for all or one a column and block
 *   table        value(u) * 2^s, small floats whose values times a power of two are 8-bit integers
 *   two-level    (u - z) * step, integer steps a column and block; the product of two bytes of an i16 lane at once, since
 *                u * step <= 255, and the zero point's share is taken away after it, in bytes that wrap
 *
 * Codes lie as [depth / 2][8 columns][2] in interleaved fields of 4, 2 and 1 bits, 128 codes (16 rows of the depth) a group.
 */

import { codeFields, type CodeLayout, interleave } from "../../pack/codes.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  type Lines,
  load,
  minimum,
  op,
  repeatWhile,
  set,
  store,
  sum,
} from "../text.ts";
import type { WasmVariant } from "../kernel.ts";
import { loadSteps, type PanelStep, panelStepBytes, stepConstants } from "./steps.ts";

/** Columns of a panel: with pairs of rows they fill a vector of bytes. */
export const packedColumns = 8;

/** Rows of the depth whose codes fill a group. */
export const packedGroup = 16;

/** Order of the codes of a group. */
export const packedOrder: CodeLayout = interleave(16);

const groupCodes = packedColumns * packedGroup;

export type Entries =
  | { readonly kind: "centred"; readonly zero: number | "column" }
  | { readonly kind: "table"; readonly values: readonly number[] }
  | { readonly kind: "twoLevel"; readonly zero: number | "column" };

export interface PackedLayout {
  readonly depth: number;
  /** Extent of the depth between changes of a step: of the weights' (inner) steps, or of the rows' where that is less. */
  readonly block: number;
  readonly width: number;
  /** Absent for integer sums, which need no steps. Of two levels it is the outer one. */
  readonly step?: PanelStep;
  readonly entries: Entries;
}

export interface PackedShape {
  readonly blockDepth: number;
  readonly blocks: number;
  /** Of outer steps, which stand before the blocks. */
  readonly headBytes: number;
  /** Bytes of a block: steps, inner steps, zero points, codes in this order. */
  readonly innerAt: number;
  readonly zerosAt: number;
  readonly codesAt: number;
  readonly groupBytes: number;
  /** Of all blocks but the last, whose codes end with the group that holds the last row. */
  readonly blockBytes: number;
  readonly panelBytes: number;
}

export function packedShape(layout: PackedLayout): PackedShape {
  const { depth, block, width, step, entries } = layout;
  const whole = block >= depth;
  const blockDepth = whole ? Math.ceil(depth / packedGroup) * packedGroup : block;
  const blocks = whole ? 1 : Math.ceil(depth / block);
  const stepBytes = step === undefined ? 0 : packedColumns * panelStepBytes(step);
  const twoLevel = entries.kind === "twoLevel";
  const innerAt = twoLevel ? 0 : stepBytes;
  const zerosAt = innerAt + (twoLevel ? packedColumns : 0);
  const codesAt = zerosAt + (hasZeros(entries) ? zeroBytes(width) : 0);
  const groupBytes = width * packedGroup;
  const blockBytes = codesAt + groupBytes * blockDepth / packedGroup;
  const headBytes = twoLevel ? stepBytes : 0;
  const lastGroups = Math.ceil((depth - (blocks - 1) * blockDepth) / packedGroup);
  return {
    blockDepth,
    blocks,
    headBytes,
    innerAt,
    zerosAt,
    codesAt,
    groupBytes,
    blockBytes,
    panelBytes: headBytes + (blocks - 1) * blockBytes + codesAt + groupBytes * lastGroups,
  };
}

/** Zero points of codes of up to 4 bits lie two to a byte: column j beside column j + 4. */
export function zeroBytes(width: number): number {
  return width <= 4 ? packedColumns / 2 : packedColumns;
}

export function hasZeros(entries: Entries): boolean {
  return entries.kind !== "table" && entries.zero === "column";
}

export function entriesName(entries: Entries): string {
  switch (entries.kind) {
    case "centred":
      return `u-${entries.zero === "column" ? "z" : entries.zero}`;
    case "twoLevel":
      return `(u-${entries.zero === "column" ? "z" : entries.zero})*step`;
    case "table":
      return "table";
  }
}

/** What becomes of a decoded panel. */
export type DecodedForm = "bytes" | "floats";

export function decodedBytes(layout: PackedLayout, form: DecodedForm): number {
  const shape = packedShape(layout);
  return shape.blocks * shape.blockDepth * packedColumns * (form === "bytes" ? 1 : 4);
}

const splat = (lanes: "i8x16" | "i16x8", value: number) =>
  `(v128.const ${lanes}${` ${value}`.repeat(lanes === "i8x16" ? 16 : 8)})`;

/** Decodes the panel at `$panel` to `$decoded`: entries as i8, or entries times their steps as f32 [depth][8 columns]. */
export function decodePanel(layout: PackedLayout, form: DecodedForm, variant: WasmVariant, scale = 1): Lines {
  const shape = packedShape(layout);
  const { entries, step } = layout;
  const outer = entries.kind === "twoLevel";
  const stepLines = (at: number): string[] =>
    form === "bytes" || step === undefined ? [] : [0, 1].flatMap((vector) => [
      ...loadSteps(`v_step_${vector}`, step, at, vector, variant),
      ...(scale === 1 ? [] : [set(`v_step_${vector}`, op("f32x4.mul", get(`v_step_${vector}`), splatFloat(scale)))]),
    ]);
  return [
    ...(form === "floats" && step !== undefined ? stepConstants(step) : []),
    ...tableConstants(entries),
    set("w", get("panel")),
    set("to", get("decoded")),
    set("panel_end", sum(get("panel"), constant(shape.panelBytes))),
    ...(outer ? stepLines(0) : []),
    ...(shape.headBytes > 0 ? [advance("w", shape.headBytes)] : []),
    ...countedLoop("decode_blocks", "decode_block", shape.blocks, [
      ...(outer ? [] : stepLines(0)),
      ...blockVectors(layout, shape),
      set("from", sum(get("w"), constant(shape.codesAt))),
      advance("w", shape.blockBytes),
      set("w_end", minimum(get("w"), get("panel_end"))),
      ...repeatWhile("decode", op("i32.lt_u", get("from"), get("w_end")), decodeGroup(layout, form)),
    ]),
  ];
}

function splatFloat(value: number): string {
  return `(v128.const f32x4${` ${value}`.repeat(4)})`;
}

/** Entries of a table as 16-byte pieces: the swizzle of a code outside a piece is 0. */
function tableConstants(entries: Entries): string[] {
  if (entries.kind !== "table") return [];
  return tablePieces(entries.values).map((piece, index) => set(`v_table_${index}`, piece));
}

export function tablePieces(values: readonly number[]): string[] {
  return Array.from({ length: Math.ceil(values.length / 16) }, (_, piece) => {
    const bytes = Array.from({ length: 16 }, (_, index) => values[16 * piece + index] ?? 0);
    return `(v128.const i8x16 ${bytes.join(" ")})`;
  });
}

/** The entries of 16 codes from the pieces in `$v_table_0`, `$v_table_1`...: strict swizzles, which give 0 from 16 on. */
export function lookUp(pieces: number, codes: string): string {
  const piece = (index: number): string =>
    op(
      "i8x16.swizzle",
      get(`v_table_${index}`),
      index === 0 ? codes : op("i8x16.sub", codes, splat("i8x16", 16 * index)),
    );
  return Array.from({ length: pieces }, (_, index) => piece(index)).reduce((all, one) => op("v128.or", all, one));
}

/** What is subtracted from (or multiplies) every vector of a block, column by column. */
function blockVectors({ entries, width }: PackedLayout, shape: PackedShape): string[] {
  if (entries.kind === "table") return [];
  const lines: string[] = [];
  if (entries.zero === "column") lines.push(...loadZeros(width, shape.zerosAt));
  if (entries.kind === "twoLevel") {
    const zero = entries.zero === "column" ? get("v_zero") : splat("i8x16", entries.zero);
    lines.push(
      set("v_inner", load("v128.load8x8_u", get("w"), shape.innerAt)),
      set("v_zero", op("i16x8.mul", zero, get("v_inner"))),
    );
  }
  return lines;
}

/** Zero points of the columns, each in the two bytes of its column. */
function loadZeros(width: number, at: number): string[] {
  const wide = width > 4;
  const lanes = Array.from({ length: 16 }, (_, byte) => wide ? byte >> 1 : (byte >> 1) % 4).join(" ");
  const bytes = load(wide ? "v128.load64_zero" : "v128.load32_zero", get("w"), at);
  const spread = op("i8x16.swizzle", bytes, `(v128.const i8x16 ${lanes})`);
  if (wide) return [set("v_zero", spread)];
  const low = `(v128.const i64x2 0x0f0f0f0f0f0f0f0f 0)`;
  const high = `(v128.const i64x2 0 0x0f0f0f0f0f0f0f0f)`;
  return [
    set("v_zero", spread),
    set(
      "v_zero",
      op(
        "v128.or",
        op("v128.and", get("v_zero"), low),
        op("v128.and", op("i16x8.shr_u", get("v_zero"), constant(4)), high),
      ),
    ),
  ];
}

/** Eight vectors of 16 codes, from the fields of a group. */
function decodeGroup(layout: PackedLayout, form: DecodedForm): Lines {
  const lines: string[] = [];
  let at = 0;
  const fields = codeFields(layout.width).map((field, index) => {
    const start = at;
    at += field.width * 16;
    return { ...field, name: `v_field_${index}`, start };
  });
  const codesPerLoad = (width: number) => 8 / width;
  for (let vector = 0; vector < groupCodes / 16; vector++) {
    const parts = fields.map(({ from, width, name, start }) => {
      const run = codesPerLoad(width);
      if (vector % run === 0) lines.push(set(name, load("v128.load", get("from"), start + 16 * (vector / run))));
      const shift = width * (vector % run);
      const moved = shift === 0 ? get(name) : op("i16x8.shr_u", get(name), constant(shift));
      const masked = op("v128.and", moved, splat("i8x16", 2 ** width - 1));
      return from === 0 ? masked : op("i16x8.shl", masked, constant(from));
    });
    lines.push(set("v_codes", parts.reduce((all, part) => op("v128.or", all, part))));
    lines.push(set("v_codes", entryOf(layout.entries)));
    lines.push(...storeEntries(form, vector));
  }
  const bytes = form === "bytes" ? groupCodes : 4 * groupCodes;
  return [...lines, advance("from", 16 * layout.width), advance("to", bytes)];
}

function entryOf(entries: Entries): string {
  const codes = get("v_codes");
  switch (entries.kind) {
    case "table":
      return lookUp(Math.ceil(entries.values.length / 16), codes);
    case "centred":
      if (entries.zero === 0) return codes;
      return op("i8x16.sub", codes, entries.zero === "column" ? get("v_zero") : splat("i8x16", entries.zero));
    case "twoLevel": {
      const product = op("i16x8.mul", codes, get("v_inner"));
      return entries.zero === 0 ? product : op("i8x16.sub", product, get("v_zero"));
    }
  }
}

/** Entries of two rows of the depth, neighbours side by side: as they are, or each row as eight floats. */
function storeEntries(form: DecodedForm, vector: number): string[] {
  if (form === "bytes") return [store("v128.store", get("to"), get("v_codes"), 16 * vector)];
  const even = op("i16x8.shr_s", op("i16x8.shl", get("v_codes"), constant(8)), constant(8));
  const odd = op("i16x8.shr_s", get("v_codes"), constant(8));
  return [even, odd].flatMap((row, index) => [
    set("v_row", row),
    ...["low", "high"].map((half, column) => {
      const wide = op("f32x4.convert_i32x4_s", op(`i32x4.extend_${half}_i16x8_s`, get("v_row")));
      const at = 4 * packedColumns * (2 * vector + index) + 16 * column;
      return store("v128.store", get("to"), op("f32x4.mul", wide, get(`v_step_${column}`)), at);
    }),
  ]);
}
