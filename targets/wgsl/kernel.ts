/** What every WebGPU kernel is: dispatches in order, each with its operands and the shaders that can run it. */

import type { SymbolTable } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";
import type { Index } from "../loops/program.ts";
import type { PackedWeights } from "../plan/packed_weights.ts";
import type { Region } from "../region.ts";

/**
 * What a device may have beyond the core of WebGPU. `packed-dot` is the language feature
 * `packed_4x8_integer_dot_product`: `dot4I8Packed`, `dot4U8Packed` and the packing functions beside them.
 */
export const gpuFeatures = ["shader-f16", "subgroups", "packed-dot"] as const;
export type GpuFeature = (typeof gpuFeatures)[number];

/**
 * Which buffer an operand lies in. Constants may need several bindings: `weights0`, `weights1`, ...; one that no binding
 * holds whole lies in neighbours, `weights0to2`.
 */
export type Memory = "arena" | "states" | `weights${number}` | `weights${number}to${number}`;

/**
 * An array that a dispatch works on, by its role in the algebra (`x`, `weights`): an identifier, unique in the dispatch.
 * Storage is as `storage.ts` says: values and states in words, constants dense as in weights.bin, packed weights as
 * `pack` made them.
 */
export type WgslOperand =
  & { readonly name: string }
  & (
    | { readonly kind: "value"; readonly value: ValueName; readonly part: TensorRole }
    | { readonly kind: "weights"; readonly weights: PackedWeights }
    /** Words of the arena that live as long as the kernel; dispatches share them by name. */
    | { readonly kind: "scratch"; readonly words: number }
    | { readonly kind: "state"; readonly state: string; readonly part: TensorRole }
  );

/** What the text around a kernel's code declares. */
export interface Frame {
  /** Name of the entry function. */
  readonly entry: string;
  /**
   * The array of u32 that holds an operand: its first word is `MEMORY[call.NAME]` (`wordText` spells it), where NAME is
   * the operand's name as `safeName` gives it. Symbols of the graph are `symbols.seq` and so on, i32.
   */
  readonly memoryOf: (operand: string) => Memory;
}

/** A shader that runs a dispatch on devices that have what it needs. */
export interface WgslVariant {
  readonly needs: readonly GpuFeature[];
  /**
   * Workgroups to dispatch, from the symbols alone. One number may exceed 65535: it is spread over x and y, so the code
   * counts `group.y * groups.x + group.x` and must leave workgroups past the last alone. Two or three are x, y and z.
   */
  readonly workgroups: readonly Index[];
  /** Everything but comments on top, `enable` lines, bindings, and the library functions that it calls. */
  readonly code: (frame: Frame) => string;
}

export interface WgslDispatch {
  readonly operands: readonly WgslOperand[];
  /** The best first; the last needs nothing. All compute the same codes from the same operands. */
  readonly variants: readonly WgslVariant[];
}

/** The kernel of a region. */
export interface WgslKernel {
  /** Family and its parameters, for reports: `matmul.int8(rows=1, ...)`. */
  readonly id: string;
  /** The algebra, one line an equation: the comment on top of every shader. */
  readonly algebra: readonly string[];
  readonly dispatches: readonly WgslDispatch[];
}

/** What kernel selection may look at. */
export interface SelectContext {
  readonly graph: Graph;
  readonly symbols: SymbolTable;
  /** Which memory a part of a value lies in: constants are dense there, everything else takes words. */
  readonly memoryOf: (value: ValueName, part: TensorRole) => "arena" | "states" | "weights";
}

/** Makes the kernel of a region, or says in a word why it does not fit. */
export type KernelSelector = (region: Region, context: SelectContext) => WgslKernel | { readonly declined: string };
