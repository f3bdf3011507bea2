/**
 * How elements lie in the GPU's memory: the contract between kernels, plan and runtime.
 *
 * Values and states lie in storage buffers of 32-bit words, which invocations may write side by side: one word for each
 * f32, i32 and u32, and for each bool, i8, u8, i16 and u16 (extended to 32 bits by its own signedness); f16 and bf16 as the f32 of
 * the same value, rounded after every operator; i64, u64 and f64 (its IEEE 754 bits) as two words, low first. All
 * integers and f64 are exact.
 *
 * Constants are read only, so they lie as in weights.bin, little-endian and dense: four i8 or u8, or two i16, u16, f16 or
 * bf16 to a word.
 */

import { elementBytes, type ElementType } from "../../compiler/numeric/element.ts";
import type { Memory } from "./kernel.ts";

/** Words of one element of a value or state. */
export function elementWords(element: ElementType): 1 | 2 {
  return elementBytes(element) === 8 ? 2 : 1;
}

/** Whether elements are packed into words. */
export function isPacked(memory: Memory): boolean {
  return memory.startsWith("weights");
}

/** A word of a memory. */
export function wordText(memory: Memory, index: string): string {
  return memory.includes("to") ? `${memory}(${index})` : `${memory}[${index}]`;
}
