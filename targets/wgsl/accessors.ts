/** Functions `load_x(i)` and `store_y(i, value)` over an operand's memory. */

import type { ElementType } from "../../compiler/numeric/element.ts";
import type { Memory } from "./kernel.ts";
import { safeName } from "./names.ts";
import { elementWords, isPacked, wordText } from "./storage.ts";
import { heldAs, wgslType } from "./types.ts";

/** An operand as code reads and writes it. */
export interface Accessed {
  readonly name: string;
  readonly element: ElementType;
}

export function accessors(
  { name, element }: Accessed,
  memory: Memory,
  reads: ReadonlySet<string>,
  writes: ReadonlySet<string>,
): string[] {
  const at = `call.${safeName(name)}`;
  const load = isPacked(memory) ? packedLoad(element, memory, at) : wordLoad(element, memory, `${at} + `);
  return [
    ...(reads.has(name) ? [`fn load_${name}(i: i32) -> ${wgslType(element)} {`, ...load, "}", ""] : []),
    ...(writes.has(name)
      ? [`fn store_${name}(i: i32, value: ${wgslType(element)}) {`, ...wordStore(element, memory, `${at} + `), "}", ""]
      : []),
  ];
}

/** Accessors of an array that an invocation or a workgroup holds itself. */
export function ownArray({ name, element }: Accessed, space: "private" | "workgroup", extent: number): string[] {
  const type = wgslType(element);
  return [
    `var<${space}> ${safeName(name)}: array<${type}, ${extent}>;`,
    `fn load_${name}(i: i32) -> ${type} {`,
    `  return ${safeName(name)}[i];`,
    "}",
    `fn store_${name}(i: i32, value: ${type}) {`,
    `  ${safeName(name)}[i] = value;`,
    "}",
    "",
  ];
}

/** Accessors of an array too large for that: it lies in the arena, one behind another by `counter`. */
export function arenaArray({ name, element }: Accessed, counter: "lane" | "row", extent: number): string[] {
  const type = wgslType(element);
  const base = `call.${safeName(name)} + ${extent * elementWords(element)}u * ${counter} + `;
  return [
    `fn load_${name}(i: i32) -> ${type} {`,
    ...wordLoad(element, "arena", base),
    "}",
    `fn store_${name}(i: i32, value: ${type}) {`,
    ...wordStore(element, "arena", base),
    "}",
    "",
  ];
}

/** Lines that return the element at `base` + i. */
export function wordLoad(element: ElementType, memory: Memory, base: string): string[] {
  switch (heldAs(element)) {
    case "bool":
      return [`  return ${wordText(memory, `${base}u32(i)`)} != 0u;`];
    case "u32":
      return [`  return ${wordText(memory, `${base}u32(i)`)};`];
    case "i32":
    case "f32":
      return [`  return bitcast<${wgslType(element)}>(${wordText(memory, `${base}u32(i)`)});`];
    default:
      return [
        `  let at = ${base}2u * u32(i);`,
        `  return vec2<u32>(${wordText(memory, "at")}, ${wordText(memory, "at + 1u")});`,
      ];
  }
}

export function wordStore(element: ElementType, memory: string, base: string): string[] {
  switch (heldAs(element)) {
    case "bool":
      return [`  ${memory}[${base}u32(i)] = u32(value);`];
    case "u32":
      return [`  ${memory}[${base}u32(i)] = value;`];
    case "i32":
    case "f32":
      return [`  ${memory}[${base}u32(i)] = bitcast<u32>(value);`];
    default:
      return [`  let at = ${base}2u * u32(i);`, `  ${memory}[at] = value.x;`, `  ${memory}[at + 1u] = value.y;`];
  }
}

/** Elements as they lie in weights.bin. */
function packedLoad(element: ElementType, memory: Memory, at: string): string[] {
  const byte = wordText(memory, `${at} + (u32(i) >> 2u)`);
  const half = wordText(memory, `${at} + (u32(i) >> 1u)`);
  switch (element) {
    case "bool":
      return [`  return extractBits(${byte}, 8u * (u32(i) & 3u), 8u) != 0u;`];
    case "u8":
      return [`  return extractBits(${byte}, 8u * (u32(i) & 3u), 8u);`];
    case "i8":
      return [`  return extractBits(bitcast<i32>(${byte}), 8u * (u32(i) & 3u), 8u);`];
    case "u16":
      return [`  return extractBits(${half}, 16u * (u32(i) & 1u), 16u);`];
    case "i16":
      return [`  return extractBits(bitcast<i32>(${half}), 16u * (u32(i) & 1u), 16u);`];
    case "f16":
      return [`  return f16_decode(extractBits(${half}, 16u * (u32(i) & 1u), 16u));`];
    case "bf16":
      return [`  return bitcast<f32>(extractBits(${half}, 16u * (u32(i) & 1u), 16u) << 16u);`];
    default:
      return wordLoad(element, memory, `${at} + `);
  }
}
