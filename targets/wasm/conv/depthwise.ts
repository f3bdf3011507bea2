/**
 * Depthwise conv: every channel has one filter of its own.
 *
 *   sum[p][c] = Σ_taps x[p + tap][c] * w[tap][c]
 *
 * Lanes are channels. The image is first copied with its padding to scratch, f32 as it is, codes widened to i16 less their
 * zero point. A strip of output pixels is worked on at a time, so that entries and weights are loaded once for all its
 * pixels. Codes of two kernel lines lie side by side, so that one instruction multiplies and adds both.
 */

import type { WasmVariant } from "../kernel.ts";
import type { Finish } from "../dot/finish.ts";
import { multiplyAdd } from "../dot/float.ts";
import type { LeftCodes } from "../dot/int8.ts";
import { spanCopier } from "../dot/source.ts";
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
  whileLoop,
} from "../text.ts";
import type { WindowGeometry } from "./window.ts";

export interface DepthwiseOptions {
  readonly geometry: WindowGeometry;
  /** `undefined` for f32. */
  readonly codes?: LeftCodes;
  /** `real` sums of codes are multiplied by both steps. */
  readonly sums: "real" | "integer";
  readonly finish: Finish;
  /** Whether the outer loop of the finish runs over images. */
  readonly outerImages: boolean;
}

/** Channels of a panel: one vector of f32, or one of i16. */
export function depthwiseLanes(codes: LeftCodes | undefined): number {
  return codes === undefined ? 4 : 8;
}

/** Output pixels of a full strip. */
const stripPixels = 4;

/** Extents of the image with all that windows reach. */
export function paddedExtents({ kernel, strides, dilations, outHeight, outWidth }: WindowGeometry): [number, number] {
  return [
    (outHeight - 1) * strides[0] + (kernel[0] - 1) * dilations[0] + 1,
    (outWidth - 1) * strides[1] + (kernel[1] - 1) * dilations[1] + 1,
  ];
}

/** Whether tiles can read the operand where it lies: f32 whose windows never leave it. */
export function readsInPlace({ geometry, codes }: Pick<DepthwiseOptions, "geometry" | "codes">): boolean {
  const [height, width] = paddedExtents(geometry);
  return codes === undefined && geometry.pads.every((pad) => pad === 0) && height <= geometry.height &&
    width <= geometry.width;
}

/** Bytes of the padded image; 0 when it is read in place. */
export function depthwiseScratch(options: Pick<DepthwiseOptions, "geometry" | "codes">): number {
  if (readsInPlace(options)) return 0;
  const [height, width] = paddedExtents(options.geometry);
  return height * width * options.geometry.channels * (options.codes === undefined ? 4 : 2) + 32;
}

/** Bytes of a panel: the weights of its channels, then their steps for real sums of codes. */
export function depthwisePanelBytes(
  geometry: WindowGeometry,
  codes: LeftCodes | undefined,
  sums: "real" | "integer",
): number {
  const [height, width] = geometry.kernel;
  if (codes === undefined) return 16 * height * width;
  return 32 * Math.ceil(height / 2) * width + (sums === "real" ? 32 : 0);
}

/** The body; `$rows` holds the pixels of all images. */
export function depthwiseBody(options: DepthwiseOptions, variant: WasmVariant): Lines {
  const { geometry } = options;
  const { outHeight, outWidth, channels, height, width, strides } = geometry;
  const entryBytes = options.codes === undefined ? 4 : 2;
  const inPlace = readsInPlace(options);
  const lineEntries = (inPlace ? width : paddedExtents(geometry)[1]) * channels;
  const rest = outWidth % stripPixels;
  const strip = (pixels: number): Lines => [
    set("row_at", sum(times(sum(times(get("image"), outHeight), get("oy")), outWidth), get("ox"))),
    set("row", options.outerImages ? sum(times(get("oy"), outWidth), get("ox")) : get("row_at")),
    set("from", sum(get("line"), times(get("ox"), strides[1] * channels * entryBytes))),
    ...panels(options, pixels, lineEntries, entryBytes, variant),
    advance("ox", pixels),
  ];
  const whole = outWidth - rest;
  return [
    set("image", constant(0)),
    ...whileLoop("images", op("i32.lt_u", times(get("image"), outHeight * outWidth), get("pixels")), [
      ...(options.outerImages ? [set("outer", get("image"))] : []),
      ...(inPlace
        ? [set("line", sum(get("a"), times(get("image"), height * width * channels * entryBytes)))]
        : [...padImage(options), set("line", get("scratch"))]),
      ...countedLoop("lines", "oy", outHeight, [
        set("ox", constant(0)),
        ...(whole > 0 ? repeatWhile("strips", op("i32.lt_u", get("ox"), constant(whole)), strip(stripPixels)) : []),
        ...(rest > 0 ? strip(rest) : []),
        advance("line", strides[0] * lineEntries * entryBytes),
      ]),
      advance("image", 1),
    ]),
  ];

  function panels(
    options: DepthwiseOptions,
    pixels: number,
    lineEntries: number,
    entryBytes: number,
    variant: WasmVariant,
  ): Lines {
    const lanes = depthwiseLanes(options.codes);
    const tile = options.codes === undefined
      ? floatTile(geometry, pixels, lineEntries, variant)
      : codesTile(options, pixels, lineEntries);
    return [
      set("panel", get("weights")),
      set("column", constant(0)),
      set("panel_column", constant(0)),
      ...repeatWhile("panels", op("i32.lt_u", get("column"), constant(channels)), [
        ...tile,
        ...options.finish.storeTile(pixels),
        advance("panel", depthwisePanelBytes(geometry, options.codes, options.sums)),
        advance("from", lanes * entryBytes),
        advance("column", lanes),
        advance("panel_column", lanes),
      ]),
    ];
  }

  /** Copies one image to scratch between zeros. */
  function padImage({ codes }: DepthwiseOptions): Lines {
    const [paddedHeight, paddedWidth] = paddedExtents(geometry);
    const top = Math.min(geometry.pads[0], paddedHeight);
    const left = Math.min(geometry.pads[1], paddedWidth);
    const reach = Math.min(width, paddedWidth - left);
    const lines = Math.min(height, paddedHeight - top);
    const right = paddedWidth - left - reach;
    const below = paddedHeight - top - lines;
    const zeros = (entries: number): Lines =>
      entries === 0 ? [] : [
        `(memory.fill ${get("to")} ${constant(0)} ${constant(entries * entryBytes)})`,
        advance("to", entries * entryBytes),
      ];
    const sourceBytes = codes === undefined ? 4 : 1;
    return [
      set("source", sum(get("a"), times(get("image"), height * width * channels * sourceBytes))),
      set("to", get("scratch")),
      ...zeros(top * paddedWidth * channels),
      ...(lines === 0 ? [] : countedLoop("copy_lines", "copied", lines, [
        ...zeros(left * channels),
        ...copyLine(codes, reach * channels),
        ...zeros(right * channels),
        advance("source", width * channels * sourceBytes),
      ])),
      ...zeros(below * paddedWidth * channels),
    ];
  }
}

function copyLine(codes: LeftCodes | undefined, entries: number): Lines {
  if (codes === undefined) {
    return [`(memory.copy ${get("to")} ${get("source")} ${constant(4 * entries)})`, advance("to", 4 * entries)];
  }
  const widened = load(codes.signed ? "v128.load8x8_s" : "v128.load8x8_u", get("from"));
  const centred = codes.zeros === "none" ? widened : op("i16x8.sub", widened, get("v_zero"));
  const copier = spanCopier({ lanes: 8, fromBytes: 1, toBytes: 2, turn: [store("v128.store", get("to"), centred)] });
  return [set("from", get("source")), ...copier.copy(entries)];
}

/** Offsets along a line that a strip of pixels meets, with the pixels and taps that meet there. */
function meetings(
  geometry: WindowGeometry,
  pixels: number,
): { readonly place: number; readonly pairs: [number, number][] }[] {
  const { kernel, strides, dilations } = geometry;
  const places = new Map<number, [number, number][]>();
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let tap = 0; tap < kernel[1]; tap++) {
      const place = pixel * strides[1] + tap * dilations[1];
      places.set(place, [...places.get(place) ?? [], [pixel, tap]]);
    }
  }
  return [...places].sort(([a], [b]) => a - b).map(([place, pairs]) => ({ place, pairs }));
}

function floatTile(geometry: WindowGeometry, pixels: number, lineEntries: number, variant: WasmVariant): Lines {
  const { kernel, dilations, channels } = geometry;
  const lines: string[] = [];
  for (let pixel = 0; pixel < pixels; pixel++) lines.push(set(`v_sum_${pixel}_0`, "(v128.const f32x4 0 0 0 0)"));
  for (let ky = 0; ky < kernel[0]; ky++) {
    for (let kx = 0; kx < kernel[1]; kx++) {
      lines.push(set(`v_w_${kx}`, load("v128.load", get("panel"), 16 * (ky * kernel[1] + kx))));
    }
    for (const { place, pairs } of meetings(geometry, pixels)) {
      const offset = 4 * (ky * dilations[0] * lineEntries + place * channels);
      lines.push(set("v_x", load("v128.load", get("from"), offset)));
      for (const [pixel, tap] of pairs) {
        const total = `v_sum_${pixel}_0`;
        lines.push(set(total, multiplyAdd(variant, get("v_x"), get(`v_w_${tap}`), get(total))));
      }
    }
  }
  return lines;
}

/** Interleaves the low or high i16 lanes of two vectors. */
function interleave(half: 0 | 1, x: string, y: string): string {
  const lanes = Array.from({ length: 4 }, (_, lane) => {
    const byte = 8 * half + 2 * lane;
    return `${byte} ${byte + 1} ${byte + 16} ${byte + 17}`;
  });
  return op(`i8x16.shuffle ${lanes.join(" ")}`, x, y);
}

function codesTile(options: DepthwiseOptions, pixels: number, lineEntries: number): Lines {
  const { geometry } = options;
  const { kernel, dilations, channels } = geometry;
  const lines: string[] = [];
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (const half of [0, 1]) lines.push(set(`v_sum_${pixel}_${half}`, "(v128.const i32x4 0 0 0 0)"));
  }
  const pairs = Math.ceil(kernel[0] / 2);
  for (let pair = 0; pair < pairs; pair++) {
    for (const { place, pairs: met } of meetings(geometry, pixels)) {
      const at = (ky: number): string =>
        load("v128.load", get("from"), 2 * (ky * dilations[0] * lineEntries + place * channels));
      lines.push(set("v_x", at(2 * pair)));
      lines.push(set("v_below", 2 * pair + 1 < kernel[0] ? at(2 * pair + 1) : "(v128.const i32x4 0 0 0 0)"));
      for (const half of [0, 1] as const) {
        lines.push(set(`v_pair_${half}`, interleave(half, get("v_x"), get("v_below"))));
      }
      for (const [pixel, tap] of met) {
        for (const half of [0, 1]) {
          const total = `v_sum_${pixel}_${half}`;
          const weights = load("v128.load", get("panel"), 32 * (pair * kernel[1] + tap) + 16 * half);
          lines.push(set(total, op("i32x4.add", get(total), op("i32x4.dot_i16x8_s", get(`v_pair_${half}`), weights))));
        }
      }
    }
  }
  if (options.sums === "real") lines.push(...scale(pixels, pairs * kernel[1] * 32));
  return lines;
}

/** sum = (stepA * stepB) * f32(sum). */
function scale(pixels: number, stepsAt: number): string[] {
  const lines = [set("v_x", load("v128.load32_splat", get("a_steps")))];
  for (const half of [0, 1]) {
    lines.push(set("v_step", op("f32x4.mul", get("v_x"), load("v128.load", get("panel"), stepsAt + 16 * half))));
    for (let pixel = 0; pixel < pixels; pixel++) {
      const total = `v_sum_${pixel}_${half}`;
      lines.push(set(total, op("f32x4.mul", get("v_step"), op("f32x4.convert_i32x4_s", get(total)))));
    }
  }
  return lines;
}
