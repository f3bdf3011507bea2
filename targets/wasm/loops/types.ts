/** How elements live in WebAssembly: types of locals, loads and stores, literals. */

import { decodeBf16, type ElementType, encodeBf16 } from "../../../compiler/numeric/element.ts";

export type WasmType = "i32" | "i64" | "f32" | "f64" | "v128";

/**
 * The type that holds one value of an element. Narrow integers are held extended to 32 bits (by their own signedness),
 * u32 as its bits, bool as 0 or 1, f16 and bf16 as f32.
 */
export function wasmType(element: ElementType): Exclude<WasmType, "v128"> {
  switch (element) {
    case "f64":
      return "f64";
    case "f32":
    case "f16":
    case "bf16":
      return "f32";
    case "i64":
    case "u64":
      return "i64";
    default:
      return "i32";
  }
}

export function isUnsigned(element: ElementType): boolean {
  return element === "bool" || element === "u8" || element === "u16" || element === "u32" || element === "u64";
}

/** Bits of the integers that must be wrapped after arithmetic in 32 bits. */
export function narrowBits(element: ElementType): 8 | 16 | undefined {
  if (element === "i8" || element === "u8") return 8;
  return element === "i16" || element === "u16" ? 16 : undefined;
}

/** A float as WAT spells it: the shortest decimal that reads back as the same number. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "-inf";
  return Object.is(value, -0) ? "-0" : String(value);
}

/** A literal of an element, wrapped or rounded to it. */
export function literalText(element: ElementType, value: number | bigint): string {
  switch (wasmType(element)) {
    case "f64":
      return `(f64.const ${floatText(Number(value))})`;
    case "f32":
      return `(f32.const ${floatText(roundedLiteral(element, Number(value)))})`;
    case "i64":
      return `(i64.const ${BigInt.asIntN(64, BigInt(value))})`;
    case "i32":
      return `(i32.const ${
        element === "bool" ? Number(Number(value) !== 0) : Number(BigInt.asIntN(32, BigInt(value)))
      })`;
  }
}

function roundedLiteral(element: ElementType, value: number): number {
  if (element === "f16") return Math.f16round(value);
  return element === "bf16" ? bf16Rounded(value) : Math.fround(value);
}

function bf16Rounded(value: number): number {
  return Number.isFinite(value) ? decodeBf16(encodeBf16(value)) : value;
}

const loads: { readonly [E in ElementType]: string } = {
  bool: "i32.load8_u",
  u8: "i32.load8_u",
  i8: "i32.load8_s",
  u16: "i32.load16_u",
  i16: "i32.load16_s",
  u32: "i32.load",
  i32: "i32.load",
  u64: "i64.load",
  i64: "i64.load",
  f16: "i32.load16_u",
  bf16: "i32.load16_u",
  f32: "f32.load",
  f64: "f64.load",
};

const stores: { readonly [E in ElementType]: string } = {
  bool: "i32.store8",
  u8: "i32.store8",
  i8: "i32.store8",
  u16: "i32.store16",
  i16: "i32.store16",
  u32: "i32.store",
  i32: "i32.store",
  u64: "i64.store",
  i64: "i64.store",
  f16: "i32.store16",
  bf16: "i32.store16",
  f32: "f32.store",
  f64: "f64.store",
};

export function loadInstruction(element: ElementType): string {
  return loads[element];
}

export function storeInstruction(element: ElementType): string {
  return stores[element];
}
