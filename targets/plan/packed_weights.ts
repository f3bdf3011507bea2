/** Constants that a kernel wants in weights.bin in its own order. */

import type { ValueName } from "../../compiler/ir/node.ts";

/** Bytes in a layout of a kernel's own, made once at compile time. */
export interface PackedWeights {
  /** Equal keys mean equal bytes: constant hash plus layout with every parameter. */
  readonly key: string;
  /** Name of the layout and its numbers, for the manifest, e.g. `panel(rows=8, depth=32)`. */
  readonly layout: string;
  /** The constant value that is packed, for the manifest's tensor table. */
  readonly value: ValueName;
  readonly pack: () => Uint8Array<ArrayBuffer>;
}
