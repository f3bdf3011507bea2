/** Quantization schemes: format, granularity and zero point. A scheme says nothing about storage order. */

import { decodeBf16, encodeBf16 } from "./element.ts";
import { decodeMinifloat, e8m0, encodeMinifloat, minifloat } from "./minifloat.ts";
import { formatMax, formatName, type NumberFormat, parseFormat } from "./number_format.ts";

/** Number formats that a step may be stored in. */
export type StepFormat = "f32" | "f16" | "bf16" | "e8m0" | "e4m3fn";

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

/** `q<int4, block[1,32], f16, zero, offset, dynamic>`: the text form used by `.qir` and reports. */
export function printScheme(scheme: QuantScheme): string {
  const block = scheme.block.map((entry) => (entry === "all" ? "*" : String(entry))).join(",");
  const parts = [formatName(scheme.format), `block[${block}]`, scheme.step];
  if (scheme.zeroPoint) parts.push("zero");
  if (scheme.offset) parts.push("offset");
  if (scheme.range === "dynamic") parts.push("dynamic");
  return `q<${parts.join(", ")}>`;
}

/** The inverse of `printScheme`; undefined when the text is not a scheme. */
export function parseScheme(text: string): QuantScheme | undefined {
  const match =
    /^q<\s*([\w-]+)\s*,\s*block\[([^\]]*)\]\s*,\s*(f32|f16|bf16|e8m0|e4m3fn)\s*(,\s*zero)?\s*(,\s*offset)?\s*(,\s*dynamic)?\s*>$/
      .exec(text);
  if (match === null) return undefined;
  const format = parseFormat(match[1]);
  const block = match[2].trim() === "" ? [] : match[2].split(",").map((entry) => {
    const word = entry.trim();
    return word === "*" ? "all" as const : Number(word);
  });
  if (format === undefined || block.some((entry) => entry !== "all" && !(Number.isInteger(entry) && entry > 0))) {
    return undefined;
  }
  return {
    format,
    block,
    // The pattern admits no other word.
    step: match[3] as StepFormat,
    zeroPoint: match[4] !== undefined,
    ...(match[5] === undefined ? {} : { offset: true }),
    range: match[6] === undefined ? "static" : "dynamic",
  };
}
