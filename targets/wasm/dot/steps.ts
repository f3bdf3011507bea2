/** Weight steps in panels: in the smallest of the formats that holds them all. */

import { e8m0, encodeMinifloat, minifloat } from "../../../compiler/numeric/minifloat.ts";
import { roundStep } from "../../../compiler/numeric/scheme.ts";
import type { WasmVariant } from "../kernel.ts";
import { constant, get, load, op, set } from "../text.ts";

/** Storage of weight steps in panels: e4m3 and e8m0 take a byte. */
export type PanelStep = "f32" | "f16" | "e4m3" | "e8m0";

export function panelStepBytes(step: PanelStep): number {
  return step === "f32" ? 4 : step === "f16" ? 2 : 1;
}

const holds: readonly (readonly [PanelStep, (step: number) => boolean])[] = [
  // Code 0 of e8m0 is a subnormal f32, which its exponent field alone does not say.
  ["e8m0", (step) => roundStep("e8m0", step) === step && step >= 2 ** -126],
  ["e4m3", (step) => step >= 0 && roundStep("e4m3fn", step) === step],
  ["f16", (step) => Math.f16round(step) === step && Number.isFinite(step)],
];

/** The smallest storage that holds every number. */
export function panelStepOf(...parts: readonly ArrayLike<number>[]): PanelStep {
  const fit = holds.find(([, fits]) => parts.every((numbers) => Array.prototype.every.call(numbers, fits)));
  return fit?.[0] ?? "f32";
}

/** Writes the step of one column of a block. */
export function writeStep(words: DataView, start: number, lane: number, step: PanelStep, value: number): void {
  switch (step) {
    case "f32":
      return words.setFloat32(start + 4 * lane, value, true);
    case "f16":
      return words.setFloat16(start + 2 * lane, value, true);
    case "e4m3":
      return words.setUint8(start + lane, encodeMinifloat(minifloat(4, 3, "fn"), value));
    case "e8m0":
      return words.setUint8(start + lane, encodeMinifloat(e8m0, value));
  }
}

/** Indices of 128 and more give 0: in range for the strict form, and a set top bit for the relaxed one. */
export function swizzleOf(variant: WasmVariant): string {
  return variant === "relaxed" ? "i8x16.relaxed_swizzle" : "i8x16.swizzle";
}

/** Locals that `loadSteps` reads. */
export function stepConstants(step: PanelStep): string[] {
  if (step !== "f16") return [];
  const lanes = Array.from({ length: 4 }, (_, lane) => `128 128 ${2 * lane} ${2 * lane + 1}`).join(" ");
  return [
    set("v_half_lanes", `(v128.const i8x16 ${lanes})`),
    set("v_half_mask", `(v128.const i32x4${" 0x8fffffff".repeat(4)})`),
    set("v_half_scale", `(v128.const i32x4${" 0x77800000".repeat(4)})`),
  ];
}

/** 2^120 in every lane: undoes the exponent bias of an e4m3 whose bits stand where f32 keeps them. */
const e4m3Scale = `(v128.const i32x4${" 0x7b800000".repeat(4)})`;

/**
 * Four steps as f32. An f16's bits under the sign, moved to where f32 keeps them, are the value times 2^-112; scaling
 * by 2^112 is exact and sets subnormals right. So are the bits of a positive e4m3, by 2^120; those of an e8m0 are the exponent.
 */
export function loadSteps(
  name: string,
  step: PanelStep,
  offset: number,
  vector: number,
  variant: WasmVariant,
): string[] {
  if (step === "f32") return [set(name, load("v128.load", get("w"), offset + 16 * vector))];
  if (step !== "f16") {
    const bytes = load("v128.load32_zero", get("w"), offset + 4 * vector);
    return [set(name, fromByte(step, op("i32x4.extend_low_i16x8_u", op("i16x8.extend_low_i8x16_u", bytes))))];
  }
  const halves = load("v128.load64_zero", get("w"), offset + 8 * vector);
  const high = op(swizzleOf(variant), halves, get("v_half_lanes"));
  const moved = op("v128.and", op("i32x4.shr_s", high, constant(3)), get("v_half_mask"));
  return [set(name, op("f32x4.mul", moved, get("v_half_scale")))];
}

function fromByte(step: "e4m3" | "e8m0", codes: string): string {
  return step === "e8m0"
    ? op("i32x4.shl", codes, constant(23))
    : op("f32x4.mul", op("i32x4.shl", codes, constant(20)), e4m3Scale);
}

/** One step in every lane, from the column whose steps start at `address(bytes a step)`. */
export function splatStep(step: PanelStep, address: (stepBytes: number) => string, offset: number): string {
  const at = address(panelStepBytes(step));
  if (step === "f32") return load("v128.load32_splat", at, offset);
  if (step !== "f16") {
    const byte = load("v128.load8_splat", at, offset);
    return fromByte(step, op("v128.and", byte, `(v128.const i32x4${" 255".repeat(4)})`));
  }
  const half = load("v128.load16_splat", at, offset);
  const moved = op(
    "v128.and",
    op("i32x4.shr_s", op("i32x4.shl", half, constant(16)), constant(3)),
    `(v128.const i32x4${" 0x8fffffff".repeat(4)})`,
  );
  return op("f32x4.mul", moved, `(v128.const i32x4${" 0x77800000".repeat(4)})`);
}
