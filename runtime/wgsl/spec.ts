/** What the WebGPU runtime knows of a model: written by the compiler into mod.js. */

import type { ElementName, Extent } from "../wasm/api.ts";

/** A number that follows from the symbols: a constant, a symbol, or `[operator, x, y]`. */
export type Count = number | string | readonly [CountOperator, Count, Count];
export type CountOperator = "add" | "mul" | "div" | "rem" | "min" | "max";

export interface GpuPort {
  readonly name: string;
  readonly element: ElementName;
  readonly shape: readonly Extent[];
  /** Extents that the strides are made of: dense row-major over these. */
  readonly bounds: readonly number[];
  readonly memory: "arena" | "states" | "weights";
  /** Words from the start of the arena or the states; bytes of weights.bin. */
  readonly address: number;
}

/** One dispatch. */
export interface GpuStep {
  readonly kernel: number;
  /** Words that tell the kernel where its operands start. */
  readonly starts: readonly number[];
  /** Bytes of the weights that it binds: offset, length. */
  readonly windows: readonly (readonly [number, number])[];
  /**
   * Workgroups of each variant: x, y and z, or one number, which is spread over x and y where x cannot hold it. A step of
   * none is left out.
   */
  readonly workgroups: readonly (readonly Count[])[];
}

export interface GpuKernel {
  readonly name: string;
  /** Which of arena (1), states (2) and symbols (4) it binds. */
  readonly uses: number;
  /** What each variant needs of the device, the best first; the last needs nothing. */
  readonly variants: readonly (readonly string[])[];
}

export interface GpuSpec {
  readonly name: string;
  readonly symbols: Readonly<Record<string, { readonly min: number; readonly max: number }>>;
  readonly inputs: readonly GpuPort[];
  readonly outputs: readonly GpuPort[];
  readonly arenaBytes: number;
  readonly statesBytes: number;
  readonly advance: Extent;
  readonly capacity: number | null;
  readonly uncut: string | null;
  readonly kernels: readonly GpuKernel[];
  readonly steps: readonly GpuStep[];
  readonly weights: { readonly file: string; readonly bytes: number; readonly sha256: string };
  /** File of all kernels, each after a line `// kernel: NAME`. */
  readonly shaders: string;
  readonly selfTest: string;
}
