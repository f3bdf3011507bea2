/** What the WebAssembly runtime knows of a model. */

import type { BaseSpec, BorderSpec } from "../spec.ts";

export interface PortSpec extends BorderSpec {
  readonly address: number;
}

export interface ModelSpec extends BaseSpec<PortSpec> {
  /** Bytes of all states, cleared by a reset. */
  readonly states: { readonly address: number; readonly bytes: number };
  /** Size of the linear memory in pages of 64 KiB. */
  readonly pages: number;
  /** Where the weights begin. */
  readonly weightsAddress: number;
  readonly kernels: { readonly simd128: string; readonly relaxed: string };
}
