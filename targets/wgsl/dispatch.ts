/** Puts a dispatch's operands into bindings, and its code into whole shaders. */

import { fail } from "../../compiler/diagnostics.ts";
import { alignUp } from "../plan/memory.ts";
import type { GpuFeature, Memory, WgslDispatch, WgslKernel, WgslOperand, WgslVariant } from "./kernel.ts";
import { libraryFor } from "./math/library.ts";
import { safeName } from "./names.ts";
import { isPacked } from "./storage.ts";

/** Bytes of weights.bin that a dispatch binds as `weights0`, `weights1`, ... */
export interface Window {
  readonly offset: number;
  readonly bytes: number;
}

/** What every WebGPU device binds at once. */
export const bindingBytes = 128 * 2 ** 20;
/** Bindings start at multiples of this. */
const bindingAlignment = 256;
/** Storage buffers per stage that every device has, less the arena and the states. */
const mostWindows = 6;

/** Binding numbers of a kernel's group 0; weights windows follow from `weights` on. */
export const bindings = { call: 0, symbols: 1, arena: 2, states: 3, weights: 4 } as const;

function bindingOf(memory: Memory): number {
  if (memory === "arena" || memory === "states") return bindings[memory];
  return bindings.weights + Number(memory.slice("weights".length));
}

/** Where an operand lies: bytes of weights.bin, or one of the other memories. */
export type OperandPlace =
  | { readonly memory: "weights"; readonly offset: number; readonly bytes: number }
  | { readonly memory: "arena" | "states" };

/** The bindings of a dispatch. */
export interface Bound {
  readonly windows: readonly Window[];
  /** The window of each operand that is a constant. */
  readonly windowOf: ReadonlyMap<string, number>;
  readonly memoryOf: (operand: string) => Memory;
}

/** Constants that lie close together share a window. */
export function bindOperands(
  origin: string,
  operands: readonly WgslOperand[],
  placeOf: (operand: WgslOperand) => OperandPlace,
): Bound {
  const constants = operands.flatMap((operand) => {
    const place = placeOf(operand);
    if (place.memory !== "weights") return [];
    return [{ name: operand.name, start: place.offset, end: place.offset + place.bytes }];
  }).sort((a, b) => a.start - b.start);
  const windows: { offset: number; bytes: number }[] = [];
  const windowOf = new Map<string, number>();
  for (const { name, start, end } of constants) {
    const last = windows[windows.length - 1];
    const bytes = last === undefined ? Infinity : Math.max(last.bytes, alignUp(end - last.offset, 4));
    if (last !== undefined && bytes <= bindingBytes) last.bytes = bytes;
    else {
      const offset = Math.floor(start / bindingAlignment) * bindingAlignment;
      // A constant without entries still has to be bound.
      windows.push({ offset, bytes: Math.max(4, alignUp(end - offset, 4)) });
    }
    windowOf.set(name, windows.length - 1);
  }
  const over = windows.find(({ bytes }) => bytes > bindingBytes);
  if (over !== undefined || windows.length > mostWindows) tooLarge(origin, over?.bytes ?? 0);
  const memories = new Map(operands.map((operand): [string, Memory] => {
    const { memory } = placeOf(operand);
    return [operand.name, memory === "weights" ? `weights${windowOf.get(operand.name) ?? 0}` : memory];
  }));
  return { windows, windowOf, memoryOf: (operand) => memories.get(operand) ?? "arena" };
}

function tooLarge(origin: string, bytes: number): never {
  const what = bytes === 0 ? "weights in too many places" : `${Math.ceil(bytes / 2 ** 20)} MiB of weights`;
  return fail("Q0720", `"${origin}" reads ${what}; WebGPU binds 128 MiB at once`, {
    help: "Quantize the weights (a recipe such as w8 or w4), or compile for wasm",
  });
}

/** A shader of one variant. */
export interface ShaderText {
  readonly needs: readonly GpuFeature[];
  readonly text: string;
  readonly memories: readonly Memory[];
  readonly usesSymbols: boolean;
}

/** The whole text of a variant, its entry called `entry`. `symbols` are all of the graph's, sorted. */
export function shaderText(
  { algebra }: Pick<WgslKernel, "algebra">,
  { operands }: Pick<WgslDispatch, "operands">,
  { needs, code }: WgslVariant,
  { memoryOf }: Pick<Bound, "memoryOf">,
  entry: string,
  symbols: readonly string[],
): ShaderText {
  const body = code({ entry, memoryOf });
  const usesSymbols = /\bsymbols\./.test(body);
  const memories = [...new Set(operands.map(({ name }) => memoryOf(name)))].sort();
  const library = libraryFor(body);
  const lines = [
    ...algebra.map((line) => `// ${line.replace(/[\r\n]+/g, " ")}`),
    ...needs.flatMap(enableLines),
    ...callStruct(operands.map(({ name }) => name)),
    ...(usesSymbols ? symbolsStruct(symbols) : []),
    ...memories.map((memory) =>
      `@group(0) @binding(${bindingOf(memory)}) var<storage, ${
        isPacked(memory) ? "read" : "read_write"
      }> ${memory}: array<u32>;`
    ),
    body,
    ...(library === "" ? [] : ["", library]),
    "",
  ];
  return { needs, text: lines.join("\n"), memories, usesSymbols };
}

function enableLines(feature: GpuFeature): string[] {
  switch (feature) {
    case "shader-f16":
      return ["enable f16;"];
    case "subgroups":
      return ["enable subgroups;"];
    case "packed-dot":
      return [];
  }
}

/** Where each operand starts, in words of its memory. */
function callStruct(names: readonly string[]): string[] {
  return [
    "// Where each operand starts, in words.",
    "struct Call {",
    ...names.map((name) => `  ${safeName(name)}: u32,`),
    "}",
    `@group(0) @binding(${bindings.call}) var<uniform> call: Call;`,
  ];
}

function symbolsStruct(names: readonly string[]): string[] {
  return [
    "struct Symbols {",
    ...names.map((name) => `  ${safeName(name)}: i32,`),
    "}",
    `@group(0) @binding(${bindings.symbols}) var<uniform> symbols: Symbols;`,
  ];
}
