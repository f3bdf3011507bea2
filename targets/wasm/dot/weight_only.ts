/**
 * f32 rows x quantized weights. One row is worked on directly,
 *
 *   y[n] = Σ_blocks step (Σ a q - z Σ a) + offset Σ a
 *
 * more rows over panels that are decoded to f32 once per block of rows. Nibbles lie as in `nibble.ts`; bytes as
 * [depth / 4][column][4]. The bits of a code are masked in place: a code that stands 8j bits up is its value times 2^8j,
 * which the row's entry, scaled by 2^-8j beforehand, undoes exactly.
 */

import type { WasmVariant } from "../kernel.ts";
import { advance, constant, countedLoop, get, type Lines, load, op, set, store, sum, times } from "../text.ts";
import type { DotCore } from "./engine.ts";
import { floatTile, multiplyAdd } from "./float.ts";
import { swapHalves } from "./int8.ts";
import { nibbleZeroBytes } from "./nibble_rows.ts";
import { loadSteps, type PanelStep, panelStepBytes, stepConstants } from "./steps.ts";

export interface WeightOnlyLayout {
  readonly codes: "nibble" | "byte";
  readonly depth: number;
  /** Extent of a block that shares a weight step, or the whole depth; a multiple of 8 unless it is the whole depth. */
  readonly block: number;
  readonly panelColumns: number;
  readonly step: PanelStep;
  /** How zero points stand in the panels where they vary: two to a byte, as in `nibble_rows.ts`, or as i16. */
  readonly zeros: "none" | "u4" | "i16";
  /** Real offsets stand in the panels, stored as the steps are. */
  readonly offsets: boolean;
}

export interface WeightOnlyShape {
  readonly blockDepth: number;
  readonly blocks: number;
  readonly zerosAt: number;
  readonly offsetsAt: number;
  readonly codesAt: number;
  readonly blockBytes: number;
}

export function weightOnlyShape(layout: WeightOnlyLayout): WeightOnlyShape {
  const { codes, depth, block, panelColumns, step } = layout;
  const whole = block >= depth;
  const blockDepth = whole ? Math.ceil(depth / 8) * 8 : block;
  const stepBytes = panelColumns * panelStepBytes(step);
  const zeroBytes = { none: 0, u4: nibbleZeroBytes, i16: 2 * panelColumns };
  const offsetsAt = stepBytes + zeroBytes[layout.zeros];
  const codesAt = offsetsAt + (layout.offsets ? stepBytes : 0);
  return {
    blockDepth,
    blocks: whole ? 1 : Math.ceil(depth / block),
    zerosAt: stepBytes,
    offsetsAt,
    codesAt,
    blockBytes: codesAt + panelColumns * blockDepth / (codes === "nibble" ? 2 : 1),
  };
}

export interface WeightOnlyOptions {
  readonly layout: WeightOnlyLayout;
  /** The zero point of every block, where it does not vary. */
  readonly zero: number;
  readonly variant: WasmVariant;
}

/** Bytes of the prepared row of the single-row form: per block Σ a, then the scaled entries. */
export function singleRowBytes(layout: WeightOnlyLayout): number {
  const shape = weightOnlyShape(layout);
  return 4 * shape.blocks * (4 + shape.blockDepth);
}

/** Bytes of one decoded panel. */
export function decodedPanelBytes(layout: WeightOnlyLayout): number {
  const shape = weightOnlyShape(layout);
  return 4 * shape.blocks * shape.blockDepth * layout.panelColumns;
}

/** The form for one row. */
export function singleRowCore(options: WeightOnlyOptions): DotCore {
  const { layout } = options;
  const shape = weightOnlyShape(layout);
  return {
    panelColumns: layout.panelColumns,
    panelBytes: shape.blocks * shape.blockBytes,
    rowBytes: singleRowBytes(layout),
    tileRows: 1,
    prepare: { begin: [], row: prepareRow(layout, shape), next: [] },
    tile: () => singleRowTile(options, shape),
  };
}

/** The form for several rows: panels are decoded, then multiplied as f32. */
export function decodedCore(options: WeightOnlyOptions, tileRows: number): DotCore {
  const { layout, variant } = options;
  const shape = weightOnlyShape(layout);
  const { depth, panelColumns } = layout;
  const rowBytes = 4 * depth;
  return {
    panelColumns,
    panelBytes: shape.blocks * shape.blockBytes,
    rowBytes,
    tileRows,
    beginPanel: decodePanel(options, shape),
    tile: (rows) => floatTile({ depth, panelColumns, tileRows, rowBytes, variant, weights: "scratch" }, rows),
  };
}

/** Scale of entry k: 2^-8j where its code is masked in place j bytes up; the top byte is shifted down instead. */
function entryScale(layout: WeightOnlyLayout, k: number): number {
  return layout.codes === "nibble" ? 2 ** (-8 * (k % 4)) : 1;
}

function prepareRow(layout: WeightOnlyLayout, shape: WeightOnlyShape): Lines {
  const { depth } = layout;
  const scales = Array.from({ length: 4 }, (_, k) => entryScale(layout, k));
  const scaled = scales.some((scale) => scale !== 1);
  const four = (valid: number): string[] => {
    const lines = [set("v_x", load("v128.load", get("from")))];
    if (valid < 4) {
      const mask = [0, 1, 2, 3].map((lane) => (lane < valid ? -1 : 0)).join(" ");
      lines.push(set("v_x", op("v128.and", get("v_x"), `(v128.const i32x4 ${mask})`)));
    }
    lines.push(set("v_sum", op("f32x4.add", get("v_sum"), get("v_x"))));
    const entry = scaled ? op("f32x4.mul", get("v_x"), get("v_scales")) : get("v_x");
    lines.push(store("v128.store", get("to"), entry), advance("from", 16), advance("to", 16));
    return lines;
  };
  const last = depth - (shape.blocks - 1) * shape.blockDepth;
  const block = (valid: number): Lines => {
    const whole = Math.floor(valid / 4);
    const rest = valid % 4;
    const padding = shape.blockDepth / 4 - Math.ceil(valid / 4);
    return [
      set("sums_at", get("to")),
      set("v_sum", "(v128.const f32x4 0 0 0 0)"),
      advance("to", 16),
      ...(whole > 0 ? countedLoop("entries", "group", whole, four(4)) : []),
      ...(rest > 0 ? four(rest) : []),
      ...Array.from(
        { length: padding },
        (_, index) => store("v128.store", get("to"), "(v128.const f32x4 0 0 0 0)", 16 * index),
      ),
      ...(padding > 0 ? [advance("to", 16 * padding)] : []),
      set("v_sum", op("f32x4.add", get("v_sum"), swapHalves(get("v_sum")))),
      store(
        "f32.store",
        get("sums_at"),
        op("f32.add", op("f32x4.extract_lane 0", get("v_sum")), op("f32x4.extract_lane 1", get("v_sum"))),
      ),
    ];
  };
  return [
    ...(scaled ? [set("v_scales", `(v128.const f32x4 ${scales.join(" ")})`)] : []),
    set("from", sum(get("a"), times(get("source_row"), 4 * depth))),
    set("to", get("prepared")),
    ...(shape.blocks > 1 ? countedLoop("prepare", "k", shape.blocks - 1, block(shape.blockDepth)) : []),
    ...block(last),
  ];
}

/** Locals that the inner loops keep their constants in. */
function constantLocals({ layout }: WeightOnlyOptions): string[] {
  const lines = stepConstants(layout.step);
  if (layout.codes === "nibble") {
    for (let byte = 0; byte < 4; byte++) {
      lines.push(set(`v_mask_${byte}`, `(v128.const i32x4${` ${15 * 2 ** (8 * byte)}`.repeat(4)})`));
    }
  }
  return lines;
}

/** Sums per vector that take turns. More would overlap additions better, but crowd the masks out of registers. */
const chains = 2;

function singleRowTile(options: WeightOnlyOptions, shape: WeightOnlyShape): Lines {
  const { layout, variant } = options;
  const vectors = layout.panelColumns / 4;
  const groupBytes = layout.panelColumns * (layout.codes === "nibble" ? 4 : 8);
  const groups = shape.blockDepth / 8;
  const unroll = groups % 2 === 0 ? 2 : 1;
  const zero = "(v128.const f32x4 0 0 0 0)";
  const body: (string | Lines)[] = [];
  for (let vector = 0; vector < vectors; vector++) {
    for (let chain = 0; chain < chains; chain++) body.push(set(`v_part${chain}_${vector}`, zero));
  }
  body.push(
    set("wk", sum(get("w"), constant(shape.codesAt))),
    set("sums_at", get("xk")),
    advance("xk", 16),
    ...countedLoop("groups", "group", groups / unroll, [
      ...Array.from({ length: unroll }, (_, index) => singleRowGroup(options, vectors, index, groupBytes)).flat(),
      advance("wk", unroll * groupBytes),
      advance("xk", 32 * unroll),
    ]),
    ...finishBlock(options, shape, vectors),
    advance("w", shape.blockBytes),
  );
  return [
    ...constantLocals(options),
    set("w", get("panel")),
    set("xk", get("x")),
    ...Array.from({ length: vectors }, (_, vector) => set(`v_sum_0_${vector}`, zero)),
    ...countedLoop("blocks_of_depth", "block_index", shape.blocks, body),
  ];

  function finishBlock(options: WeightOnlyOptions, shape: WeightOnlyShape, vectors: number): string[] {
    const lines: string[] = [];
    const varies = layout.zeros !== "none";
    const needsSum = varies || layout.offsets || options.zero !== 0;
    if (needsSum) lines.push(set("v_x", load("v128.load32_splat", get("sums_at"))));
    for (let vector = 0; vector < vectors; vector++) {
      const part = (chain: number): string => get(`v_part${chain}_${vector}`);
      lines.push(set("v_dot", op("f32x4.add", part(0), part(1))));
      if (varies) {
        const zeros = loadZeros(layout.zeros, shape, vector);
        lines.push(set("v_dot", op("f32x4.sub", get("v_dot"), op("f32x4.mul", get("v_x"), zeros))));
      } else if (options.zero !== 0) {
        const zeros = `(v128.const f32x4${` ${options.zero}`.repeat(4)})`;
        lines.push(set("v_dot", op("f32x4.sub", get("v_dot"), op("f32x4.mul", get("v_x"), zeros))));
      }
      lines.push(...loadSteps("v_step", layout.step, 0, vector, variant));
      const total = `v_sum_0_${vector}`;
      lines.push(set(total, multiplyAdd(variant, get("v_dot"), get("v_step"), get(total))));
      if (layout.offsets) {
        lines.push(...loadSteps("v_step", layout.step, shape.offsetsAt, vector, variant));
        lines.push(set(total, multiplyAdd(variant, get("v_x"), get("v_step"), get(total))));
      }
    }
    return lines;
  }
}

/** Zero points of four columns as f32. */
function loadZeros(zeros: WeightOnlyLayout["zeros"], shape: WeightOnlyShape, vector: number): string {
  if (zeros === "i16") {
    const halves = load("v128.load64_zero", get("w"), shape.zerosAt + 8 * vector);
    return op("f32x4.convert_i32x4_s", op("i32x4.extend_low_i16x8_s", halves));
  }
  const bytes = load("v128.load32_zero", get("w"), shape.zerosAt);
  const words = op("i32x4.extend_low_i16x8_u", op("i16x8.extend_low_i8x16_u", bytes));
  const nibbles = vector === 0
    ? op("v128.and", words, `(v128.const i32x4${" 15".repeat(4)})`)
    : op("i32x4.shr_u", words, constant(4));
  return op("f32x4.convert_i32x4_s", nibbles);
}

/** Eight steps of depth of a panel against one row. */
function singleRowGroup(options: WeightOnlyOptions, vectors: number, index: number, groupBytes: number): string[] {
  const { variant } = options;
  const lines: string[] = [];
  for (const half of [0, 1]) {
    for (let vector = 0; vector < vectors; vector++) {
      lines.push(...loadHalf(options, vector, half, index * groupBytes));
    }
    for (let byte = 0; byte < 4; byte++) {
      lines.push(set("v_x", load("v128.load32_splat", get("xk"), 32 * index + 16 * half + 4 * byte)));
      for (let vector = 0; vector < vectors; vector++) {
        const total = `v_part${byte % chains}_${vector}`;
        const code = op("f32x4.convert_i32x4_s", maskedCode(options, `v_w_${vector}`, byte));
        lines.push(set(total, multiplyAdd(variant, code, get("v_x"), get(total))));
      }
    }
  }
  return lines;
}

/** Brings the codes of k = 4 half .. 4 half + 3 of a group into the low nibbles, or the bytes, of `$v_w`. */
function loadHalf({ layout }: WeightOnlyOptions, vector: number, half: number, offset: number): string[] {
  const name = `v_w_${vector}`;
  if (layout.codes === "byte") {
    const at = offset + half * 4 * layout.panelColumns + 16 * vector;
    return [set(name, load("v128.load", get("wk"), at))];
  }
  return half === 0
    ? [set(name, load("v128.load", get("wk"), offset + 16 * vector))]
    : [set(name, op("i32x4.shr_u", get(name), constant(4)))];
}

/** The code in byte `byte` of each i32 lane: as an integer for bytes, times 2^8byte for nibbles. */
function maskedCode({ layout }: WeightOnlyOptions, name: string, byte: number): string {
  if (layout.codes === "nibble") return op("v128.and", get(name), get(`v_mask_${byte}`));
  const raised = byte === 3 ? get(name) : op("i32x4.shl", get(name), constant(24 - 8 * byte));
  return op("i32x4.shr_s", raised, constant(24));
}

/** Decodes the panel at `$panel` to [depth][panelColumns] f32 at `$scratch`: (q - z) * step + offset. */
function decodePanel(options: WeightOnlyOptions, shape: WeightOnlyShape): Lines {
  const { layout, variant } = options;
  const vectors = layout.panelColumns / 4;
  const header: string[] = [];
  for (let vector = 0; vector < vectors; vector++) {
    header.push(...loadSteps(`v_step_${vector}`, layout.step, 0, vector, variant));
    if (layout.zeros !== "none") header.push(set(`v_zero_${vector}`, loadZeros(layout.zeros, shape, vector)));
    if (layout.offsets) {
      header.push(...loadSteps(`v_offset_${vector}`, layout.step, shape.offsetsAt, vector, variant));
    }
  }
  const groupBytes = layout.panelColumns * (layout.codes === "nibble" ? 4 : 8);
  const group: string[] = [];
  for (const half of [0, 1]) {
    for (let vector = 0; vector < vectors; vector++) {
      group.push(...loadHalf(options, vector, half, 0));
      for (let byte = 0; byte < 4; byte++) {
        const at = 4 * layout.panelColumns * (4 * half + byte) + 16 * vector;
        group.push(store("v128.store", get("to"), decodedCode(options, vector, byte), at));
      }
    }
  }
  return [
    ...constantLocals(options),
    ...(options.zero !== 0 && layout.zeros === "none"
      ? [set("v_zero", `(v128.const f32x4${` ${options.zero}`.repeat(4)})`)]
      : []),
    set("w", get("panel")),
    set("to", get("scratch")),
    ...countedLoop("decode_blocks", "block_index", shape.blocks, [
      ...header,
      set("wk", sum(get("w"), constant(shape.codesAt))),
      ...countedLoop("decode", "group", shape.blockDepth / 8, [
        ...group,
        advance("wk", groupBytes),
        advance("to", 32 * layout.panelColumns),
      ]),
      advance("w", shape.blockBytes),
    ]),
  ];
}

function decodedCode(options: WeightOnlyOptions, vector: number, byte: number): string {
  const { layout } = options;
  const name = `v_w_${vector}`;
  const code = layout.codes === "byte"
    ? maskedCode(options, name, byte)
    : op("v128.and", byte === 0 ? get(name) : op("i32x4.shr_u", get(name), constant(8 * byte)), get("v_mask_0"));
  const value = op("f32x4.convert_i32x4_s", code);
  const centred = layout.zeros !== "none"
    ? op("f32x4.sub", value, get(`v_zero_${vector}`))
    : options.zero !== 0
    ? op("f32x4.sub", value, get("v_zero"))
    : value;
  const scaled = op("f32x4.mul", centred, get(`v_step_${vector}`));
  return layout.offsets ? op("f32x4.add", scaled, get(`v_offset_${vector}`)) : scaled;
}
