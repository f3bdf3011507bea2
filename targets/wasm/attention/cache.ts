/**
 * Keys and values that are held as codes. The codes of one key head are decoded to scratch, dense and in vectors of four,
 * once a run: all queries of the head read them there, and from memory come only the codes and their steps.
 *
 *   x = (code - zero) * step, each operation rounded to f32
 */

import type { TensorType } from "../../../compiler/ir/types.ts";
import { formatBits } from "../../../compiler/numeric/number_format.ts";
import type { Parameter } from "../dot/finish.ts";
import type { Declined } from "../dot/problem.ts";
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

/** Codes of one operand, a byte each: [B, S, G, D] with a step per block of D. */
export interface CacheCodes {
  readonly signed: boolean;
  readonly zeroPoint: boolean;
  /** Entries that share a step. */
  readonly block: number;
}

/** The form of keys or values; undefined when they are f32. */
export function cacheCodes(type: TensorType, width: number): CacheCodes | undefined | Declined {
  if (type.element !== "f32") return { declined: "operands are not f32" };
  if (type.encoding.kind === "plain") return undefined;
  if (type.encoding.kind !== "quantized") return { declined: "keys or values are packed" };
  const { format, block, zeroPoint, offset, outer } = type.encoding.scheme;
  if (format.kind !== "int" || formatBits(format) > 8) {
    return { declined: "the cache's format is no integer of a byte" };
  }
  if (offset || outer) return { declined: "the cache has offsets or outer steps" };
  const ones = type.shape.slice(0, 3).every((extent, axis) => extent === 1 || block[axis] === 1);
  if (!ones) return { declined: "a step serves several rows of the cache" };
  const length = block[3] === "all" ? width : Math.min(width, block[3]);
  if (length < width && (length % 4 !== 0 || width % length !== 0)) {
    return { declined: "blocks of the cache end inside vectors, or short of the row" };
  }
  return { signed: format.signed, zeroPoint, block: length };
}

/** Operands of keys or values. */
export function cacheParameters(name: "k" | "v", value: string, codes: CacheCodes | undefined): Parameter[] {
  const part = (suffix: string, role: "data" | "codes" | "steps" | "zeros"): Parameter => ({
    name: `${name}${suffix}`,
    operand: { kind: "value", value, part: role },
  });
  if (codes === undefined) return [part("", "data")];
  return [part("", "codes"), part("_steps", "steps"), ...(codes.zeroPoint ? [part("_zeros", "zeros")] : [])];
}

/** A short name for ids. */
export function cacheName(codes: CacheCodes | undefined): string {
  if (codes === undefined) return "f32";
  return `${codes.signed ? "i8" : "u8"}:${codes.block}${codes.zeroPoint ? ":zero" : ""}`;
}

/** Vectors of four that hold a row. */
export function rowVectors(width: number): number {
  return Math.ceil(width / 4);
}

export interface CachePlace {
  readonly name: "k" | "v";
  readonly codes: CacheCodes;
  readonly width: number;
  readonly groups: number;
  readonly keysBound: number;
  /** Offset of the decoded rows in scratch. */
  readonly scratch: number;
}

/** Decodes the rows of key head `$group` of batch `$batch`, from the first to the last of `$keys`. */
export function decodeHead({ name, codes, width, groups, keysBound, scratch }: CachePlace): Lines {
  const blocks = Math.ceil(width / codes.block);
  const head = sum(times(get("batch"), keysBound * groups), get("group"));
  const vectors = rowVectors(codes.block);
  const extend = codes.signed ? "s" : "u";
  const decode: string[] = [
    set("v_x", load("v128.load32_zero", get("code_at"))),
    set("v_x", op(`i32x4.extend_low_i16x8_${extend}`, op(`i16x8.extend_low_i8x16_${extend}`, get("v_x")))),
    ...(codes.zeroPoint ? [set("v_x", op("i32x4.sub", get("v_x"), get("v_zero")))] : []),
    store("v128.store", get("to"), op("f32x4.mul", op("f32x4.convert_i32x4_s", get("v_x")), get("v_step"))),
  ];
  return [
    set("to", sum(get("scratch"), constant(scratch))),
    set("code_at", sum(get(name), times(head, width))),
    set("step_at", sum(get(`${name}_steps`), times(head, 4 * blocks))),
    ...(codes.zeroPoint ? [set("zero_at", sum(get(`${name}_zeros`), times(head, 4 * blocks)))] : []),
    set("s", constant(0)),
    ...whileLoop(`decode_${name}`, op("i32.lt_u", get("s"), get("keys")), [
      ...countedLoop(`${name}_blocks`, "block", blocks, [
        set("v_step", load("v128.load32_splat", get("step_at"))),
        ...(codes.zeroPoint ? [set("v_zero", load("v128.load32_splat", get("zero_at"))), advance("zero_at", 4)] : []),
        ...countedLoop(`${name}_vectors`, "d", vectors, [...decode, advance("code_at", 4), advance("to", 16)]),
        advance("step_at", 4),
      ]),
      // The last vector may reach past the row.
      advance("code_at", groups * width - 4 * vectors * blocks),
      advance("step_at", 4 * (groups - 1) * blocks),
      ...(codes.zeroPoint ? [advance("zero_at", 4 * (groups - 1) * blocks)] : []),
      advance("s", 1),
    ]),
  ];
}
