/** What every runtime knows of a model: written by the compiler into mod.js. */

import type { ElementName, Extent } from "./api.ts";

/** An array of the model's border. */
export interface BorderSpec {
  readonly name: string;
  readonly element: ElementName;
  readonly shape: readonly Extent[];
  /** Extents that the strides are made of: dense row-major over these. */
  readonly bounds: readonly number[];
}

/** A file of weights; all files of a target lie end to end in one range of bytes, each from its offset on. */
export interface WeightsSpec {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface BaseSpec<Port extends BorderSpec = BorderSpec> {
  readonly name: string;
  /** Inclusive range of each symbol; `past` and `total` are the runtime's own. */
  readonly symbols: Readonly<Record<string, { readonly min: number; readonly max: number }>>;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Positions that one run adds to the states. */
  readonly advance: Extent;
  /** Most positions that the states hold; null where no state has positions. */
  readonly capacity: number | null;
  /** Name of a state that is replaced whole and so cannot be cut back; null where every state can. */
  readonly uncut: string | null;
  readonly weights: readonly WeightsSpec[];
  readonly selfTest: string;
}
