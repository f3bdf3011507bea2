/** What the runtime knows of a model: written by the compiler into mod.js. */

import type { ElementName, Extent } from "./api.ts";

export interface PortSpec {
  readonly name: string;
  readonly element: ElementName;
  readonly shape: readonly Extent[];
  /** Extents that the strides are made of: dense row-major over these. */
  readonly bounds: readonly number[];
  readonly address: number;
}

export interface ModelSpec {
  readonly name: string;
  /** Inclusive range of each symbol; `past` and `total` are the runtime's own. */
  readonly symbols: Readonly<Record<string, { readonly min: number; readonly max: number }>>;
  readonly inputs: readonly PortSpec[];
  readonly outputs: readonly PortSpec[];
  /** Bytes of all states, cleared by a reset. */
  readonly states: { readonly address: number; readonly bytes: number };
  /** Positions that one run adds to the states. */
  readonly advance: Extent;
  /** Most positions that the states hold; null where no state has positions. */
  readonly capacity: number | null;
  /** Name of a state that is replaced whole and so cannot be cut back; null where every state can. */
  readonly uncut: string | null;
  /** Size of the linear memory in pages of 64 KiB. */
  readonly pages: number;
  readonly weights: {
    readonly file: string;
    readonly address: number;
    readonly bytes: number;
    readonly sha256: string;
  };
  readonly kernels: { readonly simd128: string; readonly relaxed: string };
  readonly selfTest: string;
}
