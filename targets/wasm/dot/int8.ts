/** 8-bit x 8-bit integers with exact i32 sums: both sides widened to i16, then pairs of products per lane. */

import {
  advance,
  constant,
  countedLoop,
  get,
  type Lines,
  load,
  op,
  repeatWhile,
  set,
  store,
  sum,
  times,
} from "../text.ts";
import type { WasmVariant } from "../kernel.ts";
import type { DotCore } from "./engine.ts";
import { lookUp, tablePieces } from "./packed.ts";
import { loadSteps, type PanelStep, panelStepBytes, stepConstants } from "./steps.ts";
import { type RowSource, spanCopier } from "./source.ts";

export interface Int8CoreOptions {
  readonly depth: number;
  /** Extent of a block that shares a weight step, or the whole depth; a multiple of 8 unless it is the whole depth. */
  readonly block: number;
  readonly panelColumns: number;
  readonly tileRows: number;
  readonly left: LeftCodes;
  readonly source: RowSource;
  /** Whether the packed weights are centred, or a zero point per column and block is subtracted. */
  readonly weightZeros: boolean;
  /** Whether real offsets stand in the panels, stored as the steps are; codes then have no zero point. */
  readonly weightOffsets: boolean;
  readonly step: PanelStep;
  readonly variant: WasmVariant;
  /** `real` sums are f32, multiplied by both steps; `integer` sums are i32. */
  readonly sums: "real" | "integer";
  /** Set where panels are decoded to `$decoded` first: where their steps lie then, and what decodes them. */
  readonly decoded?: DecodedPanels;
  /** A power of two that every sum is multiplied by, where entries of tables are values times powers of two; 1 when absent. */
  readonly sumScale?: number;
}

/** Panels whose codes are decoded once a block of rows. The codes themselves stand in scratch, block after block. */
export interface DecodedPanels {
  readonly panelBytes: number;
  /** Bytes between the steps of two blocks; the first stand at the panel's start. */
  readonly blockBytes: number;
  readonly decode: Lines;
}

/** The left operand: 8-bit codes with steps and zero points per row, or in all. */
export interface LeftCodes {
  readonly signed: boolean;
  readonly zeros: "none" | "row" | "tensor";
  /** `block`: one per row and block of the depth; blocks are those of the core. */
  readonly steps: "row" | "tensor" | "block";
  /** Extent of the depth that shares a step, where steps are those of blocks. */
  readonly block?: number;
  /** What codes that are no integers stand for, by code: 8-bit integers that are their values times 2^scaleBits. */
  readonly table?: { readonly values: readonly number[]; readonly scaleBits: number };
}

/** Depth as it is stored: padded with zeros to whole groups of 8. */
export function paddedDepth(depth: number): number {
  return Math.ceil(depth / 8) * 8;
}

/** What of the options a packer needs. */
export type Int8Layout = Pick<Int8CoreOptions, "panelColumns" | "weightZeros" | "weightOffsets" | "step" | "sums">;

export interface Int8BlockShape {
  readonly stepsAt: number;
  readonly offsetsAt: number;
  readonly zerosAt: number;
  readonly bytes: number;
}

/** A block of a panel: codes, then per column a step (real sums), an offset and a zero point (i32), where there are any. */
export function int8BlockShape(layout: Int8Layout, depth: number): Int8BlockShape {
  const { panelColumns, weightZeros, weightOffsets, step, sums } = layout;
  const stepBytes = sums === "real" ? panelColumns * panelStepBytes(step) : 0;
  const stepsAt = panelColumns * depth;
  const offsetsAt = stepsAt + stepBytes;
  const zerosAt = offsetsAt + (weightOffsets ? stepBytes : 0);
  return { stepsAt, offsetsAt, zerosAt, bytes: zerosAt + (weightZeros ? 4 * panelColumns : 0) };
}

/** Depth of a prepared row: whole blocks, or whole groups of 8 where there is one block. */
function rowDepth(options: Pick<Int8CoreOptions, "depth" | "block">): number {
  const blocks = blocksOf(options);
  return blocks === 1 ? paddedDepth(options.depth) : blocks * options.block;
}

/** A prepared row: i16 codes less the zero point, then one i32 sum per block where weights have zero points or offsets. */
function preparedBytes(options: Int8CoreOptions): number {
  return 2 * rowDepth(options) + (needsSums(options) ? 16 * Math.ceil(blocksOf(options) / 4) : 0);
}

function needsSums({ weightZeros, weightOffsets }: Int8CoreOptions): boolean {
  return weightZeros || weightOffsets;
}

function blocksOf(options: Pick<Int8CoreOptions, "depth" | "block">): number {
  return Math.ceil(options.depth / options.block);
}

export function int8Core(options: Int8CoreOptions): DotCore {
  const blocks = blocksOf(options);
  const blockDepth = blocks === 1 ? paddedDepth(options.depth) : options.block;
  return {
    panelColumns: options.panelColumns,
    panelBytes: options.decoded?.panelBytes ?? blocks * int8BlockShape(options, blockDepth).bytes,
    beginPanel: options.decoded?.decode,
    rowBytes: preparedBytes(options),
    tileRows: options.tileRows,
    prepare: { begin: prepareBegin(options), row: prepareRow(options), next: options.source.next },
    tile: (rows) => int8Tile(options, rows),
  };
}

/** Widens a row of codes to i16 and takes its zero point away; what lies past the depth is zero. */
function prepareRow(options: Int8CoreOptions): Lines {
  const { depth, left, source } = options;
  const widened = left.table === undefined
    ? load(left.signed ? "v128.load8x8_s" : "v128.load8x8_u", get("from"))
    : op("i16x8.extend_low_i8x16_s", lookUp(tablePieces(left.table.values).length, get("v_codes")));
  const centred = left.zeros === "none" ? widened : op("i16x8.sub", widened, get("v_zero"));
  const copier = spanCopier({
    lanes: 8,
    fromBytes: 1,
    toBytes: 2,
    turn: [
      ...(left.table === undefined ? [] : [set("v_codes", load("v128.load64_zero", get("from")))]),
      store("v128.store", get("to"), centred),
    ],
  });
  const padding = rowDepth(options) - depth;
  const lines: (string | Lines)[] = [set("to", get("prepared"))];
  if (left.zeros === "row") {
    const zero = load("i32.load", sum(get("a_zeros"), op("i32.shl", get("source_row"), constant(2))));
    lines.push(set("v_zero", op("i16x8.splat", zero)));
  }
  lines.push(...source.copyRow(copier), ...copier.zeros(padding));
  if (needsSums(options)) lines.push(...sumBlocks(options));
  return lines;
}

function prepareBegin({ left, source }: Int8CoreOptions): Lines {
  const table = left.table === undefined ? [] : tablePieces(left.table.values);
  return [
    ...table.map((piece, index) => set(`v_table_${index}`, piece)),
    ...(left.zeros === "tensor" ? [set("v_zero", op("i16x8.splat", load("i32.load", get("a_zeros"))))] : []),
    ...source.begin,
  ];
}

/** Appends the sum of each block of the prepared row. */
function sumBlocks(options: Int8CoreOptions): Lines {
  const blocks = blocksOf(options);
  const groups = (blocks === 1 ? paddedDepth(options.depth) : options.block) / 8;
  const ones = `(v128.const i16x8${" 1".repeat(8)})`;
  return [
    set("from", get("prepared")),
    ...countedLoop("sum_blocks", "k", blocks, [
      set("v_sum", "(v128.const i32x4 0 0 0 0)"),
      ...countedLoop("sum_block", "group", groups, [
        set("v_sum", op("i32x4.add", get("v_sum"), op("i32x4.dot_i16x8_s", load("v128.load", get("from")), ones))),
        advance("from", 16),
      ]),
      set("v_sum", op("i32x4.add", get("v_sum"), swapHalves(get("v_sum")))),
      store(
        "i32.store",
        get("to"),
        op("i32.add", op("i32x4.extract_lane 0", get("v_sum")), op("i32x4.extract_lane 1", get("v_sum"))),
      ),
      advance("to", 4),
    ]),
  ];
}

export function swapHalves(vector: string): string {
  return op(`i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7`, vector, vector);
}

/**
 * sum[r][n] = Σ_k x[r][k] * w[k][n]: a lane holds two neighbouring k of one column, so no lanes are added across.
 * Within a block the weights lie as [k / 2][column][k % 2].
 */
function int8Tile(options: Int8CoreOptions, rows: number): Lines {
  const { panelColumns, sums } = options;
  const vectors = panelColumns / 4;
  const blocks = blocksOf(options);
  const depth = blocks === 1 ? paddedDepth(options.depth) : options.block;
  const constants = sums === "real" ? stepConstants(options.step) : [];
  const lines: (string | Lines)[] = [...constants, set("w", get("panel")), set("xk", get("x"))];
  if (options.decoded !== undefined) lines.push(set("wk", get("decoded")));
  const each = (visit: (row: number, vector: number) => string): string[] =>
    Array.from({ length: rows }, (_, row) => Array.from({ length: vectors }, (_, vector) => visit(row, vector))).flat();
  const total = (row: number, vector: number): string => `v_${blocks > 1 ? "acc" : "sum"}_${row}_${vector}`;
  const zero = "(v128.const i32x4 0 0 0 0)";

  const body: (string | Lines)[] = [...each((row, vector) => set(total(row, vector), zero))];
  body.push(...blockLoop(options, rows, depth, total));
  const shape = options.decoded === undefined
    ? int8BlockShape(options, depth)
    : { stepsAt: 0, offsetsAt: 0, zerosAt: 0, bytes: options.decoded.blockBytes };
  if (options.weightZeros) body.push(...subtractZeros(options, rows, total, shape));
  if (sums === "real") body.push(...scale(options, rows, total, shape));
  if (blocks === 1) return [...lines, ...setStepAddress(options), ...body];
  if (sums === "integer") {
    // Blocks share no step here: integer sums simply go on.
    throw new RangeError("Integer sums are not blocked");
  }
  return [
    ...lines,
    ...setStepAddress(options),
    ...each((row, vector) => set(`v_sum_${row}_${vector}`, "(v128.const f32x4 0 0 0 0)")),
    ...countedLoop("blocks_of_depth", "block_index", blocks, [
      ...body,
      advance("w", shape.bytes),
      ...(options.left.steps === "block" ? [advance("steps_at", 4)] : []),
    ]),
  ];
}

function setStepAddress(options: Int8CoreOptions): Lines {
  if (options.sums !== "real" || options.left.steps === "tensor") return [];
  if (options.left.steps === "block") {
    return [set("steps_at", sum(get("a_steps"), times(get("row_at"), 4 * blocksOf(options))))];
  }
  return [set("steps_at", sum(get("a_steps"), op("i32.shl", get("row_at"), constant(2))))];
}

function blockLoop(
  options: Int8CoreOptions,
  rows: number,
  depth: number,
  total: (row: number, vector: number) => string,
): Lines {
  const { panelColumns } = options;
  const vectors = panelColumns / 4;
  const rowBytes = preparedBytes(options);
  const unroll = depth % 16 === 0 ? 8 : 4;
  const pair = (index: number): string[] => {
    const lines: string[] = [];
    for (let vector = 0; vector < vectors; vector++) {
      const offset = 2 * panelColumns * index + 8 * vector;
      lines.push(set(`v_w_${vector}`, load("v128.load8x8_s", get("wk"), offset)));
    }
    for (let row = 0; row < rows; row++) {
      lines.push(set("v_x", load("v128.load32_splat", get("xk"), row * rowBytes + 4 * index)));
      for (let vector = 0; vector < vectors; vector++) {
        const name = total(row, vector);
        const products = op("i32x4.dot_i16x8_s", get("v_x"), get(`v_w_${vector}`));
        lines.push(set(name, op("i32x4.add", get(name), products)));
      }
    }
    return lines;
  };
  return [
    ...(options.decoded === undefined ? [set("wk", get("w"))] : []),
    set("w_end", sum(get("wk"), constant(panelColumns * depth))),
    ...repeatWhile("depth", op("i32.lt_u", get("wk"), get("w_end")), [
      ...Array.from({ length: unroll }, (_, index) => pair(index)).flat(),
      advance("wk", 2 * unroll * panelColumns),
      advance("xk", 4 * unroll),
    ]),
  ];
}

/** Address of the sum of the block of the tile's first row; sums lie after the codes of each row. */
function sumsAddress(options: Int8CoreOptions): string {
  return blocksOf(options) === 1 ? get("x") : sum(get("x"), op("i32.shl", get("block_index"), constant(2)));
}

/** Σ x of a row's block in every lane. */
function rowSum(options: Int8CoreOptions, row: number): string {
  const offset = row * preparedBytes(options) + 2 * rowDepth(options);
  return load("v128.load32_splat", get("sums_at"), offset);
}

/** Σ x (w - z) = Σ x w - z Σ x. */
function subtractZeros(
  options: Int8CoreOptions,
  rows: number,
  total: (row: number, vector: number) => string,
  shape: Int8BlockShape,
): Lines {
  const vectors = options.panelColumns / 4;
  const lines: string[] = [set("sums_at", sumsAddress(options))];
  for (let vector = 0; vector < vectors; vector++) {
    lines.push(set(`v_w_${vector}`, load("v128.load", get("w"), shape.zerosAt + 16 * vector)));
  }
  for (let row = 0; row < rows; row++) {
    lines.push(set("v_x", rowSum(options, row)));
    for (let vector = 0; vector < vectors; vector++) {
      const name = total(row, vector);
      lines.push(set(name, op("i32x4.sub", get(name), op("i32x4.mul", get("v_x"), get(`v_w_${vector}`)))));
    }
  }
  return lines;
}

/** sum = (stepA * stepB) * f32(total), then (stepA * offset) * f32(Σ x), added up over blocks. */
function scale(
  options: Int8CoreOptions,
  rows: number,
  total: (row: number, vector: number) => string,
  shape: Int8BlockShape,
): Lines {
  const vectors = options.panelColumns / 4;
  const steps = (at: number): string[] =>
    Array.from(
      { length: vectors },
      (_, vector) => loadSteps(`v_w_${vector}`, options.step, at, vector, options.variant),
    )
      .flat();
  const stride = options.left.steps === "block" ? 4 * blocksOf(options) : 4;
  const leftStep = (row: number): string =>
    options.left.steps === "tensor"
      ? load("v128.load32_splat", get("a_steps"))
      : load("v128.load32_splat", get("steps_at"), stride * row);
  const { sumScale = 1 } = options;
  const real = (value: string): string => {
    const whole = op("f32x4.convert_i32x4_s", value);
    return sumScale === 1 ? whole : op("f32x4.mul", whole, `(v128.const f32x4${` ${sumScale}`.repeat(4)})`);
  };
  const scaled = (vector: number, value: string): string =>
    op("f32x4.mul", op("f32x4.mul", get("v_x"), get(`v_w_${vector}`)), real(value));
  const lines: string[] = steps(shape.stepsAt);
  const first = blocksOf(options) === 1;
  for (let row = 0; row < rows; row++) {
    lines.push(set("v_x", leftStep(row)));
    for (let vector = 0; vector < vectors; vector++) {
      const name = `v_sum_${row}_${vector}`;
      const value = scaled(vector, get(total(row, vector)));
      lines.push(set(name, first ? value : op("f32x4.add", get(name), value)));
    }
  }
  if (!options.weightOffsets) return lines;
  lines.push(...steps(shape.offsetsAt), set("sums_at", sumsAddress(options)));
  for (let row = 0; row < rows; row++) {
    lines.push(set("v_x", leftStep(row)), set("v_total", rowSum(options, row)));
    for (let vector = 0; vector < vectors; vector++) {
      const name = `v_sum_${row}_${vector}`;
      lines.push(set(name, op("f32x4.add", get(name), scaled(vector, get("v_total")))));
    }
  }
  return lines;
}
