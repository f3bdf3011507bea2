/** Assembles a program into one readable WAT module per variant, and that into bytes. */

import binaryen from "binaryen";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { regionOrigin, regionOutputs } from "../region.ts";
import type { WasmVariant } from "./kernel.ts";
import type { WasmProgram, WasmStep } from "./program.ts";

/** WAT of the named math functions and of all that they call. */
export type MathLibrary = (names: readonly string[]) => string;

/** The module's text. It imports its memory (`env.memory`) and exports `run` and one global per symbol. */
export function moduleText(program: WasmProgram, variant: WasmVariant, math: MathLibrary): string {
  const { graph, memory, steps } = program;
  const kernels = new Map(steps.map((step) => [step.functionName, step.kernel]));
  const calls = [...new Set([...kernels.values()].flatMap((kernel) => kernel.calls))].sort();
  const parts = [
    `;; ${graph.name}, ${variant}`,
    `;; memory: weights at ${memory.weightsBase} (${memory.weightsBytes} bytes), states at ${memory.statesBase} ` +
    `(${memory.statesBytes} bytes), values at ${memory.arenaBase} (${memory.arenaBytes} bytes)`,
    "(module",
    `  (import "env" "memory" (memory ${memory.pages}))`,
    ...Object.entries(graph.symbols).map(([name, range]) =>
      `  (global $${name} (export "${name}") (mut i32) (i32.const ${range.max}))`
    ),
    indent(math(calls)),
    ...[...kernels].map(([name, kernel]) => indent(kernel.wat(name, variant))),
    indent(runText(program)),
    ")",
  ];
  return parts.filter((part) => part.trim() !== "").join("\n") + "\n";
}

function runText({ steps }: WasmProgram): string {
  const lines = steps.map((step) => {
    const operands = step.addresses.map((address) => ` (i32.const ${address})`).join("");
    return `  ;; ${describe(step)}\n  (call $${step.functionName}${operands})`;
  });
  return [`;; The whole model.`, `(func $run (export "run")`, ...lines, ")"].join("\n");
}

function describe({ region, kernel }: WasmStep): string {
  const origin = regionOrigin(region).join(", ");
  const outputs = regionOutputs(region).map((value) => `%${value}`).join(", ");
  return oneLine(`${origin === "" ? region.main.op : origin} -> ${outputs}: ${kernel.id}`);
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ");
}

function indent(text: string): string {
  return text.split("\n").map((line) => (line === "" ? line : `  ${line}`)).join("\n");
}

function featuresOf(variant: WasmVariant): number {
  const { SIMD128, BulkMemory, BulkMemoryOpt, NontrappingFPToInt, SignExt, MutableGlobals, RelaxedSIMD } =
    binaryen.Features;
  const base = SIMD128 | BulkMemory | BulkMemoryOpt | NontrappingFPToInt | SignExt | MutableGlobals;
  return variant === "relaxed" ? base | RelaxedSIMD : base;
}

/**
 * Binaryen's standard passes over single functions, but none that moves code or values between functions: a kernel inlined
 * into its only caller, `run`, makes one function too large for the engine's optimizing compiler; and constants propagated
 * from parameters take the vector constants along, from the locals that kernels keep them in back into their loops, where
 * engines build each anew from general registers.
 */
const passes = [
  "dce",
  "remove-unused-names",
  "remove-unused-brs",
  "optimize-instructions",
  "pick-load-signs",
  "precompute",
  "code-pushing",
  "simplify-locals-nostructure",
  "vacuum",
  "reorder-locals",
  "remove-unused-brs",
  "coalesce-locals",
  "simplify-locals",
  "vacuum",
  "reorder-locals",
  "coalesce-locals",
  "reorder-locals",
  "vacuum",
  "merge-blocks",
  "remove-unused-brs",
  "remove-unused-names",
  "precompute",
  "optimize-instructions",
  "rse",
  "vacuum",
  "remove-unused-module-elements",
] as const;

/** Assembles, validates and optimizes a module. Equal text gives equal bytes. */
export function assemble(text: string, variant: WasmVariant): Uint8Array<ArrayBuffer> {
  const module = parse(text);
  try {
    module.setFeatures(featuresOf(variant));
    if (module.validate() === 0) throw new InvariantError(`The ${variant} module does not validate`, "emit", text);
    binaryen.setOptimizeLevel(2);
    binaryen.setShrinkLevel(0);
    binaryen.setDebugInfo(false);
    module.runPasses([...passes]);
    return new Uint8Array(module.emitBinary());
  } finally {
    module.dispose();
  }
}

function parse(text: string): binaryen.Module {
  try {
    return binaryen.parseText(text);
  } catch (error) {
    const reason = reasonOf(error);
    const line = Number(/^(\d+):/.exec(reason)?.[1]);
    const source = Number.isNaN(line) ? "" : `: ${text.split("\n")[line - 1]?.trim()}`;
    throw new InvariantError(`A kernel's text does not parse: ${reason}${source}`, "emit", text);
  }
}

/** Binaryen throws C++ exceptions: objects that are no Errors and have a message. */
function reasonOf(error: unknown): string {
  return typeof error === "object" && error !== null && "message" in error ? String(error.message) : String(error);
}
