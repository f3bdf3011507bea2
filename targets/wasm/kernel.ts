/** What every WebAssembly kernel is: one WAT function, the operands it is called with, and its needs. */

import type { SymbolTable } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";
import type { PackedWeights } from "../plan/packed_weights.ts";
import type { Region } from "../region.ts";

export type { PackedWeights };

/** Both variants stand in one artifact over the same weights; the runtime probes and picks. */
export const wasmVariants = ["simd128", "relaxed"] as const;
export type WasmVariant = (typeof wasmVariants)[number];

/**
 * Memory of values. A plain value is dense and row-major over the *bounds* of its extents (strides are compile-time
 * numbers even where an extent is symbolic), bool in bytes, i64 in 8 bytes. A quantized value has up to four such parts:
 * `codes` (one code per i8/u8/i16/... element), `steps` (f32) and, where the scheme has them, `zeros` (i32) and
 * `offsets` (f32), all of the scheme's step shape, and `outerSteps` (f32) of the outer scheme's.
 * Every part starts at a multiple of 16 bytes and may be read (not written) up to 15 bytes past its end.
 */
export type ValuePart = TensorRole;

export type KernelOperand =
  | { readonly kind: "value"; readonly value: ValueName; readonly part: ValuePart }
  | { readonly kind: "weights"; readonly weights: PackedWeights }
  /** Memory of its own during the call; `bytes` over the symbols' bounds. */
  | { readonly kind: "scratch"; readonly bytes: number }
  /** The base address of a state's part (append, readState, writeState). */
  | { readonly kind: "state"; readonly state: string; readonly part: ValuePart };

/**
 * One kernel. Its function takes one i32 address per operand, in order, and returns nothing. Symbols of the graph are
 * i32 globals of the module: `(global.get $seq)`, `$past`, `$total`.
 */
export interface WasmKernel {
  /** Family and every parameter that its code depends on. Equal ids mean equal code, so functions are shared by id. */
  readonly id: string;
  readonly operands: readonly KernelOperand[];
  /** The whole `(func $NAME (param $x i32) ...)` with `name` put in (it has no `$`). Starts with a `;;` comment: the algebra. */
  readonly wat: (name: string, variant: WasmVariant) => string;
  /** Names of functions of the math library (targets/wasm/math) that the code calls. */
  readonly calls: readonly string[];
}

/** What kernel selection may look at. */
export interface SelectContext {
  readonly graph: Graph;
  readonly symbols: SymbolTable;
}

/** Makes the kernel of a region, or says in a word why it does not fit. */
export type KernelSelector = (region: Region, context: SelectContext) => WasmKernel | { readonly declined: string };
