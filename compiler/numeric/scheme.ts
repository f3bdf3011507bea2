/** Quantization schemes: format, granularity and zero point. A scheme says nothing about storage order. */

import { decodeBf16, encodeBf16 } from "./element.ts";
import { decodeMinifloat, e8m0, encodeMinifloat, minifloat } from "./minifloat.ts";
import { encodeValue, formatMax, formatName, type NumberFormat, parseFormat, uint8 } from "./number_format.ts";

/** Number formats that a step may be stored in; `u8` steps are the integers 0..255, and stand under outer steps. */
export const stepFormats = ["f32", "f16", "bf16", "e8m0", "e4m3fn", "u8"] as const;
export type StepFormat = (typeof stepFormats)[number];

/**
 * How a tensor of real numbers is held as codes.
 *
 *   x[i] = (value(code[i]) - zero[b(i)]) * step[b(i)] + offset[b(i)],   b(i)_k = floor(i_k / block_k)
 *
 * `block` has one entry per axis: the extent that shares a step, or `"all"`. `["all","all"]` is per tensor,
 * `[1,"all"]` per row (per token for an activation), `[1,32]` blocks of 32 along axis 1.
 */
export interface QuantScheme {
  readonly format: NumberFormat;
  readonly block: readonly (number | "all")[];
  readonly step: StepFormat;
  /** Whether codes are offset by a zero point (same block shape as the steps, same format as the codes). */
  readonly zeroPoint: boolean;
  /**
   * Set when a real number per block is added after the multiplication (GGUF's Q4_1 and Q5_1: x = step * code + offset).
   * It has the steps' shape and storage format. Absent, never false, otherwise, so that equal schemes have equal JSON.
   */
  readonly offset?: true;
  /**
   * Two-level steps: the steps above are in units of outer ones, which coarser blocks share.
   *
   *   x[i] = ((value(code[i]) - zero[b(i)]) * step[b(i)]) * outer[o(i)]
   *
   * The inner product is rounded to f32, and exact for `u8`, `e8m0` and `e4m3fn` steps. Every entry of `block` divides its
   * counterpart here; a scheme with outer steps has no offset and is static. Sources: QServe (Lin et al. 2024, arXiv 2405.04532), DGQ.
   */
  readonly outer?: { readonly block: readonly (number | "all")[]; readonly step: StepFormat };
  /** Static steps are constants; dynamic ones are computed by the quantize op from the tensor itself. */
  readonly range: "static" | "dynamic";
}

/** Shape of the step (and zero point) tensor of a quantized tensor of this shape: one entry per axis. */
export function stepShape(scheme: QuantScheme, shape: readonly number[]): number[] {
  return shape.map((extent, axis) => {
    const block = scheme.block[axis];
    return block === "all" || block === undefined ? 1 : Math.ceil(extent / block);
  });
}

/** The scheme whose steps are the outer ones; the scheme itself where there is one level. */
export function outerScheme(scheme: QuantScheme): QuantScheme {
  return scheme.outer === undefined ? scheme : { ...scheme, block: scheme.outer.block, step: scheme.outer.step };
}

/** Why the blocks of a scheme do not suit each other or a tensor of this rank; undefined where they do. */
export function schemeFault(scheme: QuantScheme, rank: number): string | undefined {
  const { block, outer } = scheme;
  if (block.length !== rank) return `scheme has ${block.length} block entries, the tensor has rank ${rank}`;
  if (outer === undefined) return undefined;
  if (scheme.offset) return "outer steps and offsets exclude each other";
  if (scheme.range === "dynamic") return "outer steps are static";
  const nested = outer.block.length === rank && outer.block.every((whole, axis) => {
    const part = block[axis];
    return whole === "all" || part !== "all" && whole % part === 0;
  });
  return nested ? undefined : `blocks [${block}] do not divide the outer blocks [${outer.block}]`;
}

/** The step nearest to `step` that the format holds (0 where it underflows). */
export function roundStep(format: StepFormat, step: number): number {
  switch (format) {
    case "f32":
      return Math.fround(step);
    case "f16":
      return Math.f16round(step);
    case "bf16":
      return decodeBf16(encodeBf16(step));
    case "e8m0":
      return decodeMinifloat(e8m0, encodeMinifloat(e8m0, step));
    case "e4m3fn":
      return decodeMinifloat(e4m3fn, encodeMinifloat(e4m3fn, step));
    case "u8":
      return encodeValue(uint8, step);
  }
}

const e4m3fn = minifloat(4, 3, "fn");

/**
 * What a block's largest magnitude is divided by to give its step, before `roundStep`: the format's largest value, so
 * that the magnitude lands on the last code.
 *
 * Powers of two (e8m0) follow the rounded rule of OCP MX: the step is 2^(E - e), where 2^e is the largest power of two
 * that the format holds and E the exponent of the magnitude after it is rounded to the format's mantissa of m bits. Then
 * magnitude / step lies in [2^e (1 - 2^-(m+2)), 2^(e+1) (1 - 2^-(m+2))), and `roundStep`, which turns at 0.75 of a power
 * of two, gives this step for the quotient by 2^e (1 - 2^-(m+2)) / 0.75.
 */
export function stepDivisor(format: NumberFormat, step: StepFormat): number {
  const most = formatMax(format);
  if (step !== "e8m0" || format.kind === "codebook") return Math.fround(most);
  const exponent = Math.floor(Math.log2(most));
  const mantissaBits = format.kind === "int" ? Math.max(0, exponent) : format.mantissaBits;
  return Math.fround(2 ** exponent * (1 - 2 ** -(mantissaBits + 2)) / 0.75);
}

export function perTensor(rank: number): ("all")[] {
  return new Array<"all">(rank).fill("all");
}

/** One step per index of `axis`. */
export function perAxis(rank: number, axis: number): (number | "all")[] {
  return Array.from({ length: rank }, (_, index) => (index === axis ? 1 : "all"));
}

/** One step per token: shared along the last axis only. */
export function perToken(rank: number): (number | "all")[] {
  return Array.from({ length: rank }, (_, index) => (index === rank - 1 ? "all" : 1));
}

/** Blocks of `extent` along `axis`, one step per block and per index of every other axis. */
export function perBlock(rank: number, axis: number, extent: number): number[] {
  return Array.from({ length: rank }, (_, index) => (index === axis ? extent : 1));
}

/** `q<int4, block[1,32], f16, zero, offset, outer[1,*] f16, dynamic>`: the text form used by `.qir` and reports. */
export function printScheme(scheme: QuantScheme): string {
  const parts = [formatName(scheme.format), `block[${printBlock(scheme.block)}]`, scheme.step];
  if (scheme.zeroPoint) parts.push("zero");
  if (scheme.offset) parts.push("offset");
  if (scheme.outer) parts.push(`outer[${printBlock(scheme.outer.block)}] ${scheme.outer.step}`);
  if (scheme.range === "dynamic") parts.push("dynamic");
  return `q<${parts.join(", ")}>`;
}

function printBlock(block: QuantScheme["block"]): string {
  return block.map((entry) => (entry === "all" ? "*" : String(entry))).join(",");
}

/** The entries of a block; undefined where one is no positive integer. */
function parseBlock(text: string): QuantScheme["block"] | undefined {
  if (text.trim() === "") return [];
  const entries = text.split(",").map((entry) => (entry.trim() === "*" ? "all" as const : Number(entry.trim())));
  return entries.every((entry) => entry === "all" || Number.isInteger(entry) && entry > 0) ? entries : undefined;
}

function isStepFormat(word: string): word is StepFormat {
  return (stepFormats as readonly string[]).includes(word);
}

/** The inverse of `printScheme`; undefined when the text is not a scheme. */
export function parseScheme(text: string): QuantScheme | undefined {
  const match =
    /^q<\s*([\w-]+)\s*,\s*block\[([^\]]*)\]\s*,\s*(\w+)\s*(,\s*zero)?\s*(,\s*offset)?\s*(?:,\s*outer\[([^\]]*)\]\s*(\w+))?\s*(,\s*dynamic)?\s*>$/
      .exec(text);
  if (match === null) return undefined;
  const [, name, blockText, step, zero, offset, outerText, outerStep, dynamic] = match;
  const format = parseFormat(name);
  const block = parseBlock(blockText);
  if (format === undefined || block === undefined || !isStepFormat(step)) return undefined;
  const outerBlock = outerText === undefined ? undefined : parseBlock(outerText);
  if (outerText !== undefined && (outerBlock === undefined || !isStepFormat(outerStep))) return undefined;
  return {
    format,
    block,
    step,
    zeroPoint: zero !== undefined,
    ...(offset === undefined ? {} : { offset: true }),
    ...(outerBlock === undefined || !isStepFormat(outerStep) ? {} : { outer: { block: outerBlock, step: outerStep } }),
    range: dynamic === undefined ? "static" : "dynamic",
  };
}
