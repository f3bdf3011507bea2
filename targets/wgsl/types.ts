/** How elements are held in WGSL variables, and how their literals are spelled. */

import { decodeBf16, type ElementType, encodeBf16 } from "../../compiler/numeric/element.ts";
import { f64Literal, wordsText } from "./math/from_wat.ts";

/** What a variable of an element is: narrow integers are held in 32 bits, f16 and bf16 as f32, 64 bits in two words. */
export type Held = "bool" | "i32" | "u32" | "f32" | "i64" | "u64" | "f64";

export function heldAs(element: ElementType): Held {
  switch (element) {
    case "bool":
    case "i64":
    case "u64":
    case "f64":
      return element;
    case "f32":
    case "f16":
    case "bf16":
      return "f32";
    case "i8":
    case "i16":
    case "i32":
      return "i32";
    default:
      return "u32";
  }
}

/** The WGSL type. */
export function wgslType(element: ElementType): string {
  const held = heldAs(element);
  return held === "i64" || held === "u64" || held === "f64" ? "vec2<u32>" : held;
}

export function literalText(element: ElementType, value: number | bigint): string {
  switch (heldAs(element)) {
    case "bool":
      return Number(value) === 0 ? "false" : "true";
    case "i32":
      return i32Text(Number(BigInt.asIntN(32, BigInt(value))));
    case "u32":
      return `${BigInt.asUintN(32, BigInt(value))}u`;
    case "i64":
    case "u64":
      return wordsText(BigInt.asUintN(64, BigInt(value)));
    case "f64":
      return f64Literal(Number(value));
    case "f32":
      return f32Text(roundedLiteral(element, Number(value)));
  }
}

export function i32Text(value: number): string {
  if (value === -2147483648) return "i32(-2147483648)";
  return value < 0 ? `(${value})` : `${value}`;
}

/** The shortest decimal that reads back as the number; what no decimal can say goes by its bits. */
export function f32Text(value: number): string {
  const isPlain = Number.isFinite(value) && (value === 0 ? !Object.is(value, -0) : Math.abs(value) >= 2 ** -126);
  if (!isPlain) {
    const bits = Number.isNaN(value) ? 0x7fc00000 : new Uint32Array(Float32Array.of(value).buffer)[0];
    return `f32_bits(0x${bits.toString(16)}u)`;
  }
  return value < 0 ? `(${value}f)` : `${value}f`;
}

function roundedLiteral(element: ElementType, value: number): number {
  if (element === "f16") return Math.f16round(value);
  if (element === "bf16") return Number.isFinite(value) ? decodeBf16(encodeBf16(value)) : value;
  return Math.fround(value);
}
