/** The rows of nibble kernels: how panels and prepared rows are laid out, and how a row of codes is prepared. */

import type { WasmVariant } from "../kernel.ts";
import { advance, countedLoop, get, type Lines, load, op, set, store, storeLane, sum, times } from "../text.ts";
import type { LeftCodes } from "./int8.ts";
import { type PanelStep, panelStepBytes } from "./steps.ts";

export interface NibbleLayout {
  readonly depth: number;
  /** Extent of a block that shares a weight step, or the whole depth; a multiple of 8 unless it is the whole depth. */
  readonly block: number;
  readonly panelColumns: number;
  /** Absent for integer sums, which need no steps. */
  readonly step?: PanelStep;
  /** Zero points stand in the panels where they vary. */
  readonly zeros: boolean;
  /** Sums Σ (u - z) stand in the panels where the left codes have a zero point of their own. */
  readonly sums: boolean;
  /** Real offsets stand in the panels, stored as the steps are; codes then have no zero point. */
  readonly offsets: boolean;
}

export interface NibbleCoreOptions {
  readonly layout: NibbleLayout;
  readonly tileRows: number;
  readonly left: LeftCodes;
  /** The zero point of every block, where it does not vary. */
  readonly zero: number;
  readonly variant: WasmVariant;
}

/** Most depth between two widenings. */
const longestSegment = 32;

export interface NibbleShape {
  /** Depth of a block as stored. */
  readonly blockDepth: number;
  readonly blocks: number;
  /** Depth between widenings; divides the block. */
  readonly segment: number;
  readonly segments: number;
  /** Bytes of a block: steps, offsets, zeros, sums, codes in this order. */
  readonly stepsAt: number;
  readonly offsetsAt: number;
  readonly zerosAt: number;
  readonly sumsAt: number;
  readonly codesAt: number;
  readonly blockBytes: number;
}

/** Zero points lie two to a byte: column j in the low nibble of byte j, column j + 4 in the high one. */
export const nibbleZeroBytes = 4;

export function nibbleShape(layout: NibbleLayout): NibbleShape {
  const { depth, block, panelColumns, step } = layout;
  const whole = block >= depth;
  const unit = depth > 8 * 3 ? longestSegment : 8;
  const blockDepth = whole ? Math.ceil(depth / unit) * unit : block;
  let segment = Math.min(longestSegment, blockDepth);
  while (blockDepth % segment !== 0) segment -= 8;
  const stepBytes = step === undefined ? 0 : panelColumns * panelStepBytes(step);
  const zerosAt = layout.offsets ? 2 * stepBytes : stepBytes;
  const sumsAt = zerosAt + (layout.zeros ? nibbleZeroBytes : 0);
  const codesAt = sumsAt + (layout.sums ? 4 * panelColumns : 0);
  return {
    blockDepth,
    blocks: whole ? 1 : Math.ceil(depth / block),
    segment,
    segments: blockDepth / segment,
    stepsAt: 0,
    offsetsAt: stepBytes,
    zerosAt,
    sumsAt,
    codesAt,
    blockBytes: codesAt + panelColumns * blockDepth / 2,
  };
}

/** Bytes of a segment of a prepared row: two i16 sums, then codes of one byte (relaxed) or two (simd128). */
export function segmentBytes(shape: NibbleShape, variant: WasmVariant): number {
  return 4 + shape.segment * (variant === "relaxed" ? 1 : 2);
}

export function nibbleRowBytes(layout: NibbleLayout, variant: WasmVariant): number {
  const shape = nibbleShape(layout);
  return Math.ceil(shape.blocks * shape.segments * segmentBytes(shape, variant) / 16) * 16;
}

/**
 * Copies a row of codes segment by segment, each after the sums that its weights' zero points multiply. Lane 0 of a
 * column takes k % 4 in {0, 1}, lane 1 the rest.
 */
export function prepareNibbleRow(options: NibbleCoreOptions, shape: NibbleShape): Lines {
  const { layout } = options;
  const segments = shape.blocks * shape.segments;
  const whole = Math.floor(layout.depth / shape.segment);
  const segment = (valid: number): Lines => prepareSegment(options, shape, valid);
  const lines: (string | Lines)[] = [
    set("from", sum(get("a"), times(get("source_row"), layout.depth))),
    set("to", get("prepared")),
  ];
  if (whole > 0) lines.push(...countedLoop("prepare", "k", whole, segment(shape.segment)));
  for (let index = whole; index < segments; index++) {
    lines.push(...segment(Math.max(0, layout.depth - index * shape.segment)));
  }
  return lines;
}

function prepareSegment(options: NibbleCoreOptions, shape: NibbleShape, valid: number): Lines {
  const { left, variant } = options;
  const lines: string[] = [];
  const groups = shape.segment / 8;
  for (let group = 0; group < groups; group++) {
    const count = Math.min(8, valid - 8 * group);
    lines.push(...loadGroup(left, 8 * group, count));
    if (variant === "relaxed") {
      lines.push(storeLane(64, 0, get("to"), get("v_codes"), 4 + 8 * group));
    } else {
      const order = [0, 2, 1, 3, 4, 6, 5, 7];
      const shuffled = op(
        `i8x16.shuffle ${[...order, ...order].join(" ")}`,
        get("v_codes"),
        get("v_codes"),
      );
      lines.push(store("v128.store", get("to"), op("i16x8.extend_low_i8x16_s", shuffled), 4 + 16 * group));
    }
    const pairs = op("i16x8.extadd_pairwise_i8x16_s", get("v_codes"));
    lines.push(set("v_pairs", group === 0 ? pairs : op("i16x8.add", get("v_pairs"), pairs)));
  }
  const both = op(
    "i16x8.add",
    get("v_pairs"),
    op(`i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11`, get("v_pairs"), get("v_pairs")),
  );
  const factor = options.layout.offsets ? 1 : options.layout.zeros ? -1 : -options.zero;
  lines.push(
    `(v128.store32_lane 0 ${get("to")} ${op("i16x8.mul", both, `(v128.const i16x8${` ${factor}`.repeat(8)})`)})`,
  );
  lines.push(advance("from", shape.segment), advance("to", segmentBytes(shape, variant)));
  return lines;
}

/** Eight codes as signed bytes in the low half of `$v_codes`, zeros after `count` and in the high half. */
function loadGroup(left: LeftCodes, offset: number, count: number): string[] {
  if (count <= 0) return [set("v_codes", "(v128.const i32x4 0 0 0 0)")];
  const lines = [set("v_codes", load("v128.load64_zero", get("from"), offset))];
  if (!left.signed) {
    lines.push(set("v_codes", op("v128.xor", get("v_codes"), "(v128.const i64x2 0x8080808080808080 0)")));
  }
  if (count < 8) {
    const mask = Array.from({ length: 16 }, (_, lane) => (lane < count ? -1 : 0)).join(" ");
    lines.push(set("v_codes", op("v128.and", get("v_codes"), `(v128.const i8x16 ${mask})`)));
  }
  return lines;
}
