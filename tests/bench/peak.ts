/** What this machine's engine can do at most: multiply-adds whose operands never leave registers. */

import type { WasmVariant } from "../../targets/wasm/kernel.ts";
import { assemble } from "../../targets/wasm/module.ts";

/** Sums in flight: enough to hide the latency of every instruction used here. */
const chains = 12;

/** Turns of the loop per call. */
const turns = 200_000;

export interface PeakForm {
  readonly name: string;
  readonly variant: WasmVariant;
  /** The next value of a sum; the sum itself is an operand, so that no turn can be left out. */
  readonly step: (total: string, operand: string) => string;
  /** Multiply-adds of one step. */
  readonly products: number;
}

export const peakForms = {
  relaxedDot: {
    name: "i32x4.relaxed_dot_i8x16_i7x16_add_s",
    variant: "relaxed",
    step: (total, operand) => `(i32x4.relaxed_dot_i8x16_i7x16_add_s ${total} ${operand} ${total})`,
    products: 16,
  },
  relaxedDotPairs: {
    name: "i16x8.relaxed_dot_i8x16_i7x16_s, i16x8.add",
    variant: "relaxed",
    step: (total, operand) => `(i16x8.add ${total} (i16x8.relaxed_dot_i8x16_i7x16_s ${total} ${operand}))`,
    products: 16,
  },
  dot: {
    name: "i32x4.dot_i16x8_s, i32x4.add",
    variant: "simd128",
    step: (total, operand) => `(i32x4.add ${total} (i32x4.dot_i16x8_s ${total} ${operand}))`,
    products: 8,
  },
  relaxedMadd: {
    name: "f32x4.relaxed_madd",
    variant: "relaxed",
    step: (total, operand) => `(f32x4.relaxed_madd ${total} ${operand} ${total})`,
    products: 4,
  },
  madd: {
    name: "f32x4.mul, f32x4.add",
    variant: "simd128",
    step: (total, operand) => `(f32x4.add ${total} (f32x4.mul ${total} ${operand}))`,
    products: 4,
  },
} as const satisfies Record<string, PeakForm>;

export interface Peak {
  readonly form: PeakForm;
  /** Multiply-adds of one call of `run`. */
  readonly products: number;
  readonly run: () => void;
}

function peakText({ step }: PeakForm): string {
  const names = Array.from({ length: chains }, (_, index) => `$total_${index}`);
  const operand = "(local.get $operand)";
  return [
    "(module",
    "  (memory 1)",
    '  (func (export "run") (local $turn i32) (local $operand v128)',
    ...names.map((name) => `    (local ${name} v128)`),
    "    (local.set $operand (v128.load (i32.const 0)))",
    ...names.map((name, index) => `    (local.set ${name} (v128.load (i32.const ${16 * index + 16})))`),
    "    (loop $turns",
    ...names.map((name) => `      (local.set ${name} ${step(`(local.get ${name})`, operand)})`),
    "      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))",
    `      (br_if $turns (i32.lt_u (local.get $turn) (i32.const ${turns}))))`,
    ...names.map((name, index) => `    (v128.store (i32.const ${16 * index + 16}) (local.get ${name}))`),
    "  ))",
  ].join("\n");
}

export async function openPeak(form: PeakForm): Promise<Peak> {
  const { instance } = await WebAssembly.instantiate(assemble(peakText(form), form.variant));
  const { run } = instance.exports;
  if (typeof run !== "function") throw new Error("The peak module exports no run");
  return { form, products: form.products * chains * turns, run: () => void run() };
}
