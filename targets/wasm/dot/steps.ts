/** Weight steps in panels: f32, or f16 where every step is one. */

import type { WasmVariant } from "../kernel.ts";
import { constant, get, load, op, set } from "../text.ts";

/** Storage of weight steps in panels. */
export type PanelStep = "f32" | "f16";

/** Indices of 128 and more give 0: in range for the strict form, and a set top bit for the relaxed one. */
export function swizzleOf(variant: WasmVariant): string {
  return variant === "relaxed" ? "i8x16.relaxed_swizzle" : "i8x16.swizzle";
}

/** Locals that `loadSteps` reads for f16. */
export function halfConstants(): string[] {
  const lanes = Array.from({ length: 4 }, (_, lane) => `128 128 ${2 * lane} ${2 * lane + 1}`).join(" ");
  return [
    set("v_half_lanes", `(v128.const i8x16 ${lanes})`),
    set("v_half_mask", `(v128.const i32x4${" 0x8fffffff".repeat(4)})`),
    set("v_half_scale", `(v128.const i32x4${" 0x77800000".repeat(4)})`),
  ];
}

/**
 * Four steps as f32. An f16's bits under the sign, moved to where f32 keeps them, are the value times 2^-112; scaling
 * by 2^112 is exact and sets subnormals right.
 */
export function loadSteps(
  name: string,
  step: PanelStep,
  offset: number,
  vector: number,
  variant: WasmVariant,
): string[] {
  if (step === "f32") return [set(name, load("v128.load", get("w"), offset + 16 * vector))];
  const halves = load("v128.load64_zero", get("w"), offset + 8 * vector);
  const high = op(swizzleOf(variant), halves, get("v_half_lanes"));
  const moved = op("v128.and", op("i32x4.shr_s", high, constant(3)), get("v_half_mask"));
  return [set(name, op("f32x4.mul", moved, get("v_half_scale")))];
}
