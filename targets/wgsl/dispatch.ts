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

/** Constants that lie close together share a window; one that is larger than a window takes several in a row. */
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
  const memories = new Map<string, Memory>();
  for (const { name, start, end } of constants) {
    const last = windows[windows.length - 1];
    const shared = last === undefined ? Infinity : Math.max(last.bytes, alignUp(end - last.offset, 4));
    if (last !== undefined && shared <= bindingBytes) last.bytes = shared;
    else {
      let offset = Math.floor(start / bindingAlignment) * bindingAlignment;
      windowOf.set(name, windows.length);
      for (; end - offset > bindingBytes; offset += bindingBytes) windows.push({ offset, bytes: bindingBytes });
      // A constant without entries still has to be bound.
      windows.push({ offset, bytes: Math.max(4, alignUp(end - offset, 4)) });
    }
    const first = windowOf.get(name) ?? windows.length - 1;
    windowOf.set(name, first);
    memories.set(name, first === windows.length - 1 ? `weights${first}` : `weights${first}to${windows.length - 1}`);
  }
  if (windows.length > mostWindows) tooLarge(origin, windows);
  for (const operand of operands) {
    const { memory } = placeOf(operand);
    if (memory !== "weights") memories.set(operand.name, memory);
  }
  return { windows, windowOf, memoryOf: (operand) => memories.get(operand) ?? "arena" };
}

function tooLarge(origin: string, windows: readonly Window[]): never {
  const mebibytes = Math.ceil(windows.reduce((sum, { bytes }) => sum + bytes, 0) / 2 ** 20);
  return fail(
    "Q0720",
    `"${origin}" reads ${mebibytes} MiB of weights in ${windows.length} bindings; WebGPU has ${mostWindows}, of 128 MiB each`,
    { help: "Quantize the weights (a recipe such as w8 or w4), or compile for wasm" },
  );
}

/** Words of a whole window: a power of two. */
const windowWords = bindingBytes / 4;

/** The windows that a memory of weights spans. */
function windowsOf(memory: Memory): readonly Memory[] {
  const match = /^weights(\d+)to(\d+)$/.exec(memory);
  if (match === null) return [memory];
  const [first, last] = match.slice(1).map(Number);
  return Array.from({ length: last - first + 1 }, (_, index): Memory => `weights${first + index}`);
}

/** The function that reads a word of several windows in a row. */
function wideMemory(memory: Memory): string[] {
  const windows = windowsOf(memory);
  if (windows.length === 1) return [];
  const at = `i & 0x${(windowWords - 1).toString(16)}u`;
  return [
    "// A word of a constant that no binding holds whole.",
    `fn ${memory}(i: u32) -> u32 {`,
    `  switch (i / ${windowWords}u) {`,
    ...windows.slice(0, -1).map((window, index) => `    case ${index}u: { return ${window}[${at}]; }`),
    `    default: { return ${windows[windows.length - 1]}[${at}]; }`,
    "  }",
    "}",
  ];
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
  const held = [...new Set(operands.map(({ name }) => memoryOf(name)))].sort();
  const memories = [...new Set(held.flatMap(windowsOf))].sort();
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
    ...held.flatMap(wideMemory),
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
