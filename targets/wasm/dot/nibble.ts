/**
 * 8-bit x 4-bit integers with exact sums. Weights are codes u in 0..15 with a zero point z, two to a byte.
 *
 *   Σ (a - za)(u - z) = Σ a u - z Σ a - za Σ (u - z)
 *
 * The relaxed variant multiplies bytes and adds neighbours into i16 lanes: |Σ of 16 products| <= 16 * 128 * 15 < 2^15, so
 * 32 steps of depth fit before the lanes are widened. The sum starts at -z Σ a, which keeps the lanes in range at the end;
 * on the way they may wrap, which modular addition undoes.
 */

import type { WasmVariant } from "../kernel.ts";
import { advance, constant, countedLoop, get, type Lines, load, op, set, sum } from "../text.ts";
import type { DotCore } from "./engine.ts";
import {
  type NibbleCoreOptions,
  type NibbleLayout,
  nibbleRowBytes,
  type NibbleShape,
  nibbleShape,
  prepareNibbleRow,
  segmentBytes,
} from "./nibble_rows.ts";
import { loadSteps, stepConstants, swizzleOf } from "./steps.ts";

export function nibbleCore(options: NibbleCoreOptions): DotCore {
  const { layout, tileRows, variant } = options;
  const shape = nibbleShape(layout);
  return {
    panelColumns: layout.panelColumns,
    panelBytes: shape.blocks * shape.blockBytes,
    rowBytes: nibbleRowBytes(layout, variant),
    tileRows,
    prepare: { begin: [], row: prepareNibbleRow(options, shape), next: [] },
    tile: (rows) => nibbleTile(options, shape, rows),
  };
}

function nibbleTile(options: NibbleCoreOptions, shape: NibbleShape, rows: number): Lines {
  const { layout, left } = options;
  const real = layout.step !== undefined;
  const sums = each(
    rows,
    layout.panelColumns / 4,
    (row, vector) => set(`v_sum_${row}_${vector}`, "(v128.const i32x4 0 0 0 0)"),
  );
  const body = blockOfDepth(options, shape, rows);
  const lines: (string | Lines)[] = [set("w", get("panel")), set("xk", get("x")), ...constants(options)];
  if (real && left.steps === "row") {
    lines.push(set("steps_at", sum(get("a_steps"), op("i32.shl", get("row_at"), constant(2)))));
  }
  if (shape.blocks === 1) return [...lines, ...body];
  return [
    ...lines,
    ...sums,
    ...countedLoop("blocks_of_depth", "block_index", shape.blocks, body),
  ];
}

function each<T>(rows: number, vectors: number, visit: (row: number, vector: number) => T): T[] {
  return Array.from({ length: rows }, (_, row) => Array.from({ length: vectors }, (_, vector) => visit(row, vector)))
    .flat();
}

/** One block: exact sums in `$v_acc`, then scaled and added to `$v_sum`. */
function blockOfDepth(options: NibbleCoreOptions, shape: NibbleShape, rows: number): Lines {
  const { layout, variant } = options;
  const vectors = layout.panelColumns / 4;
  const lines: (string | Lines)[] = [];
  if (layout.offsets) lines.push(...startTotals(rows, shape));
  if (layout.zeros) lines.push(...expandZeros(layout, shape, variant));
  const codeBytes = layout.panelColumns * shape.blockDepth / 2;
  if (shape.segments === 1) {
    lines.push(...segmentSums(options, shape, rows, shape.codesAt));
    if (variant === "relaxed") {
      lines.push(...each(rows, vectors, (row, vector) => set(`v_acc_${row}_${vector}`, widen(row, vector))));
    }
    lines.push(set("w_end", plusBlock(shape)));
  } else {
    lines.push(...each(rows, vectors, (row, vector) => set(`v_acc_${row}_${vector}`, "(v128.const i32x4 0 0 0 0)")));
    lines.push(
      set("wk", sum(get("w"), constant(shape.codesAt))),
      set("w_end", plusBlock(shape)),
      "(loop $segments",
      [
        ...segmentSums(options, shape, rows, 0),
        ...(variant === "relaxed"
          ? each(
            rows,
            vectors,
            (row, vector) =>
              set(`v_acc_${row}_${vector}`, op("i32x4.add", get(`v_acc_${row}_${vector}`), widen(row, vector))),
          )
          : []),
        advance("wk", codeBytes / shape.segments),
        `(br_if $segments (i32.lt_u ${get("wk")} ${get("w_end")}))`,
      ],
      ")",
    );
  }
  if (layout.sums) lines.push(...subtractLeftZero(options, shape, rows));
  lines.push(...addBlock(options, shape, rows));
  lines.push(set("w", get("w_end")));
  return lines;
}

/** Σ a of the block's rows, for the offsets: one segment's at once, more are added as they go by. */
function startTotals(rows: number, shape: NibbleShape): string[] {
  if (shape.segments === 1) return [];
  return Array.from({ length: rows }, (_, row) => set(`v_total_${row}`, "(v128.const i32x4 0 0 0 0)"));
}

function addTotals(rows: number, rowBytes: number, shape: NibbleShape): string[] {
  return Array.from({ length: rows }, (_, row) => {
    const pair = load("v128.load32_splat", get("xk"), row * rowBytes);
    const total = op("i32x4.extadd_pairwise_i16x8_s", pair);
    const name = `v_total_${row}`;
    return set(name, shape.segments === 1 ? total : op("i32x4.add", get(name), total));
  });
}

function plusBlock(shape: NibbleShape): string {
  return sum(get("w"), constant(shape.blockBytes));
}

/** The two i16 halves of each column, added. */
function widen(row: number, vector: number): string {
  return op("i32x4.extadd_pairwise_i16x8_s", get(`v_half_${row}_${vector}`));
}

/** Zero points of the block as i16 pairs, one pair per column. The low nibbles are those of the first four columns. */
function expandZeros(layout: NibbleLayout, shape: NibbleShape, variant: WasmVariant): string[] {
  const bytes = load("v128.load32_zero", get("w"), shape.zerosAt);
  const lines = [set("v_z_0", op(swizzleOf(variant), bytes, get("v_spread_zeros")))];
  if (layout.panelColumns > 4) lines.push(set("v_z_1", op("i16x8.shr_u", get("v_z_0"), constant(4))));
  return [...lines, set("v_z_0", op("v128.and", get("v_z_0"), lowNibblesOfPairs))];
}

/** Σ a u - z Σ a over a segment, left in `$v_half` (i16 pairs, relaxed) or added to `$v_acc` (i32, simd128). */
function segmentSums(options: NibbleCoreOptions, shape: NibbleShape, rows: number, codesAt: number): Lines {
  const { layout, variant } = options;
  const vectors = layout.panelColumns / 4;
  const rowBytes = nibbleRowBytes(layout, variant);
  const pointer = shape.segments === 1 ? "w" : "wk";
  const first = shape.segments === 1;
  const lines: string[] = [];
  if (layout.offsets) lines.push(...addTotals(rows, rowBytes, shape));
  for (let row = 0; row < rows; row++) {
    if (layout.offsets || !layout.zeros && options.zero === 0) {
      for (let vector = 0; vector < vectors; vector++) lines.push(...startSum(options, row, vector, undefined, first));
      continue;
    }
    lines.push(set("v_x", load("v128.load32_splat", get("xk"), row * rowBytes)));
    for (let vector = 0; vector < vectors; vector++) lines.push(...startSum(options, row, vector, get("v_x"), first));
  }
  for (let group = 0; group < shape.segment / 8; group++) {
    for (let vector = 0; vector < vectors; vector++) {
      const offset = codesAt + 4 * layout.panelColumns * group + 16 * vector;
      lines.push(set(`v_w_${vector}`, load("v128.load", get(pointer), offset)));
    }
    lines.push(
      ...(variant === "relaxed"
        ? bytesOfGroup(vectors, rows, rowBytes, group)
        : pairsOfGroup(vectors, rows, rowBytes, group)),
    );
  }
  lines.push(advance("xk", segmentBytes(shape, variant)));
  return lines;
}

/** Starts (or, with i32 sums under way, goes on from) the correction -z Σ a. */
function startSum(
  options: NibbleCoreOptions,
  row: number,
  vector: number,
  sums: string | undefined,
  first: boolean,
): string[] {
  const { layout, variant } = options;
  if (variant === "relaxed") {
    const start = sums === undefined
      ? "(v128.const i32x4 0 0 0 0)"
      : layout.zeros
      ? op("i16x8.mul", sums, get(`v_z_${vector}`))
      : sums;
    return [set(`v_half_${row}_${vector}`, start)];
  }
  const name = `v_acc_${row}_${vector}`;
  if (sums === undefined) return first ? [set(name, "(v128.const i32x4 0 0 0 0)")] : [];
  const pairs = layout.zeros ? get(`v_z_${vector}`) : `(v128.const i16x8${" 1".repeat(8)})`;
  const correction = op("i32x4.dot_i16x8_s", sums, pairs);
  return [set(name, first ? correction : op("i32x4.add", get(name), correction))];
}

const lowNibbles = `(v128.const i8x16${" 15".repeat(16)})`;

/** Relaxed: low nibbles meet a[k..k+3], high nibbles a[k+4..k+7]; four k of a column side by side. */
function bytesOfGroup(vectors: number, rows: number, rowBytes: number, group: number): string[] {
  const lines: string[] = [];
  for (let vector = 0; vector < vectors; vector++) {
    const codes = get(`v_w_${vector}`);
    lines.push(set(`v_high_${vector}`, op("v128.and", op("i16x8.shr_u", codes, constant(4)), get("v_mask"))));
    lines.push(set(`v_w_${vector}`, op("v128.and", codes, get("v_mask"))));
  }
  for (let row = 0; row < rows; row++) {
    for (const [half, name] of [["0", "v_w"], ["1", "v_high"]] as const) {
      lines.push(set("v_x", load("v128.load32_splat", get("xk"), row * rowBytes + 4 + 8 * group + 4 * Number(half))));
      for (let vector = 0; vector < vectors; vector++) {
        // The second operand is the one that relaxed semantics restrict to 0..127.
        const products = op("i16x8.relaxed_dot_i8x16_i7x16_s", get("v_x"), get(`${name}_${vector}`));
        lines.push(set(`v_half_${row}_${vector}`, op("i16x8.add", get(`v_half_${row}_${vector}`), products)));
      }
    }
  }
  return lines;
}

const lowNibblesOfPairs = `(v128.const i16x8${" 15".repeat(8)})`;

/** simd128: nibble j of every i16 lane meets the prepared pair j: (a0, a2), (a4, a6), (a1, a3), (a5, a7). */
function pairsOfGroup(vectors: number, rows: number, rowBytes: number, group: number): string[] {
  const lines: string[] = [];
  const pairAt = [0, 8, 4, 12];
  for (let nibble = 0; nibble < 4; nibble++) {
    for (let vector = 0; vector < vectors; vector++) {
      const codes = get(`v_w_${vector}`);
      const moved = nibble === 0 ? codes : op("i16x8.shr_u", codes, constant(4 * nibble));
      lines.push(set(`v_high_${vector}`, nibble === 3 ? moved : op("v128.and", moved, get("v_mask"))));
    }
    for (let row = 0; row < rows; row++) {
      const offset = row * rowBytes + 4 + 16 * group + pairAt[nibble];
      lines.push(set("v_x", load("v128.load32_splat", get("xk"), offset)));
      for (let vector = 0; vector < vectors; vector++) {
        const name = `v_acc_${row}_${vector}`;
        const products = op("i32x4.dot_i16x8_s", get("v_x"), get(`v_high_${vector}`));
        lines.push(set(name, op("i32x4.add", get(name), products)));
      }
    }
  }
  return lines;
}

/** - za Σ (u - z). */
function subtractLeftZero(options: NibbleCoreOptions, shape: NibbleShape, rows: number): Lines {
  const vectors = options.layout.panelColumns / 4;
  const lines: string[] = [];
  for (let vector = 0; vector < vectors; vector++) {
    lines.push(set(`v_w_${vector}`, load("v128.load", get("w"), shape.sumsAt + 16 * vector)));
  }
  for (let row = 0; row < rows; row++) {
    lines.push(set("v_x", leftZero(options, row)));
    for (let vector = 0; vector < vectors; vector++) {
      const name = `v_acc_${row}_${vector}`;
      lines.push(set(name, op("i32x4.sub", get(name), op("i32x4.mul", get("v_x"), get(`v_w_${vector}`)))));
    }
  }
  return lines;
}

/** sum += (stepA * stepB) * f32(acc), or the integer itself. */
function addBlock(options: NibbleCoreOptions, shape: NibbleShape, rows: number): Lines {
  const { layout, left } = options;
  const vectors = layout.panelColumns / 4;
  if (layout.step === undefined) {
    return each(rows, vectors, (row, vector) => {
      const [total, acc] = [`v_sum_${row}_${vector}`, get(`v_acc_${row}_${vector}`)];
      return set(total, shape.blocks === 1 ? acc : op("i32x4.add", get(total), acc));
    });
  }
  const lines: string[] = [];
  for (let vector = 0; vector < vectors; vector++) {
    lines.push(...loadSteps(`v_w_${vector}`, layout.step, shape.stepsAt, vector, options.variant));
  }
  for (let row = 0; row < rows; row++) {
    const step = left.steps === "row"
      ? load("v128.load32_splat", get("steps_at"), 4 * row)
      : load("v128.load32_splat", get("a_steps"));
    lines.push(set("v_x", step));
    for (let vector = 0; vector < vectors; vector++) {
      const total = `v_sum_${row}_${vector}`;
      const steps = op("f32x4.mul", get("v_x"), get(`v_w_${vector}`));
      const value = op("f32x4.mul", steps, op("f32x4.convert_i32x4_s", get(`v_acc_${row}_${vector}`)));
      lines.push(set(total, shape.blocks === 1 ? value : op("f32x4.add", get(total), value)));
    }
  }
  if (layout.offsets) lines.push(...addOffsets(options, shape, rows));
  return lines;
}

/** sum += (stepA * offset) * f32(Σ (a - za)). */
function addOffsets(options: NibbleCoreOptions, shape: NibbleShape, rows: number): string[] {
  const { layout, left, variant } = options;
  const lines: string[] = [];
  for (let vector = 0; vector < layout.panelColumns / 4; vector++) {
    lines.push(...loadSteps(`v_w_${vector}`, layout.step ?? "f32", shape.offsetsAt, vector, variant));
  }
  for (let row = 0; row < rows; row++) {
    const total = layout.sums ? centredTotal(options, shape, row) : get(`v_total_${row}`);
    lines.push(set("v_total", op("f32x4.convert_i32x4_s", total)));
    const step = left.steps === "row"
      ? load("v128.load32_splat", get("steps_at"), 4 * row)
      : load("v128.load32_splat", get("a_steps"));
    lines.push(set("v_x", step));
    for (let vector = 0; vector < layout.panelColumns / 4; vector++) {
      const name = `v_sum_${row}_${vector}`;
      const offsets = op("f32x4.mul", get("v_x"), get(`v_w_${vector}`));
      lines.push(set(name, op("f32x4.add", get(name), op("f32x4.mul", offsets, get("v_total")))));
    }
  }
  return lines;
}

/** Σ (a - za) of a block that holds `valid` entries. */
function centredTotal(options: NibbleCoreOptions, shape: NibbleShape, row: number): string {
  const valid = shape.blocks === 1 ? options.layout.depth : shape.blockDepth;
  const zeros = op("i32x4.mul", leftZero(options, row), `(v128.const i32x4${` ${valid}`.repeat(4)})`);
  return op("i32x4.sub", get(`v_total_${row}`), zeros);
}

/** The row's zero point, moved as its unsigned codes were. */
function leftZero({ left }: NibbleCoreOptions, row: number): string {
  if (left.zeros === "none") {
    return left.signed ? "(v128.const i32x4 0 0 0 0)" : `(v128.const i32x4${" -128".repeat(4)})`;
  }
  const zeros = left.zeros === "row" ? sum(get("a_zeros"), op("i32.shl", get("row_at"), constant(2))) : get("a_zeros");
  const zero = load("v128.load32_splat", zeros, left.zeros === "row" ? 4 * row : 0);
  return left.signed ? zero : op("i32x4.sub", zero, `(v128.const i32x4${" 128".repeat(4)})`);
}

/** Constants that inner loops keep in locals: engines build a vector constant anew at every use. */
function constants(options: NibbleCoreOptions): string[] {
  const { layout, variant } = options;
  const lines = [set("v_mask", variant === "relaxed" ? lowNibbles : lowNibblesOfPairs)];
  if (layout.zeros) {
    const lanes = Array.from({ length: 4 }, (_, lane) => `${lane} 128 ${lane} 128`).join(" ");
    lines.push(set("v_spread_zeros", `(v128.const i8x16 ${lanes})`));
  }
  if (layout.step !== undefined) lines.push(...stepConstants(layout.step));
  return lines;
}
