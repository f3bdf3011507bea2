/** What the WebGPU runtime knows of a model. */

import type { BaseSpec, BorderSpec } from "../spec.ts";

/** A number that follows from the symbols: a constant, a symbol, or `[operator, x, y]`. */
export type Count = number | string | readonly [CountOperator, Count, Count];
export type CountOperator = "add" | "mul" | "div" | "rem" | "min" | "max";

export interface GpuPort extends BorderSpec {
  readonly memory: "arena" | "states" | "weights";
  /** Words from the start of the arena or the states; bytes of the weights. */
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
  /** Which of symbols (1), arena (2) and states (4) it binds. */
  readonly uses: number;
  /** What each variant needs of the device, the best first; the last needs nothing. */
  readonly variants: readonly (readonly string[])[];
}

export interface GpuSpec extends BaseSpec<GpuPort> {
  readonly arenaBytes: number;
  readonly statesBytes: number;
  readonly kernels: readonly GpuKernel[];
  readonly steps: readonly GpuStep[];
  /** File of all kernels, each after a line `// kernel: NAME`. */
  readonly shaders: string;
}
