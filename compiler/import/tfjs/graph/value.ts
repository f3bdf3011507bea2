/** What a node of a TensorFlow.js graph can yield at import: a tensor of the IR, or something known about it. */

import type { Extent } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";

/** A value of the graph under construction. `least` is a lower bound of its entries, where one is known. */
export interface TensorValue {
  readonly kind: "tensor";
  readonly value: ValueName;
  readonly least?: number;
}

/** Integers known at import, at least one of which holds a symbol. Rank 0 or 1. */
export interface ExtentsValue {
  readonly kind: "extents";
  readonly rank: 0 | 1;
  readonly entries: readonly Extent[];
}

/** One text as its bytes, alone (rank 0) or as a batch of one (rank 1). */
export interface TextValue {
  readonly kind: "text";
  readonly rank: 0 | 1;
  /** u8[count]. */
  readonly bytes: ValueName;
  readonly count: Extent;
}

/** A list of strings: the text's windows of `width` bytes, one from every place, with `separator` between the bytes. */
export interface PiecesValue {
  readonly kind: "pieces";
  readonly text: TextValue;
  readonly width: number;
  readonly separator: readonly number[];
  readonly count: Extent;
}

/** Pieces followed by empty strings up to `total`; as a batch of one row when rank is 2. */
export interface PaddedPiecesValue {
  readonly kind: "paddedPieces";
  readonly rank: 1 | 2;
  readonly pieces: PiecesValue;
  readonly total: Extent;
}

/** Which entries of padded pieces are not empty: the first ones. */
export interface PresenceValue {
  readonly kind: "presence";
  readonly padded: PaddedPiecesValue;
}

/** Integer vectors of symbolic length: 0, 0, 0, ... and 0, 1, 2, ... (as a column when rank is 2). */
export interface SequenceValue {
  readonly kind: "sequence";
  readonly of: "zeros" | "counting" | "true";
  readonly rank: 1 | 2;
  readonly count: Extent;
}

/** Indices [count, 2] of the entries of the only row: (0, 0), (0, 1), ... */
export interface CoordinatesValue {
  readonly kind: "coordinates";
  readonly count: Extent;
}

/** Strings of the model itself. */
export interface ConstantTextValue {
  readonly kind: "constantText";
  readonly shape: readonly number[];
  readonly strings: readonly Uint8Array[];
}

/** A list of values, as loops pass them on. */
export interface ListValue {
  readonly kind: "list";
  readonly items: readonly (TfValue | undefined)[];
}

export type TfValue =
  | TensorValue
  | ExtentsValue
  | TextValue
  | PiecesValue
  | PaddedPiecesValue
  | PresenceValue
  | SequenceValue
  | CoordinatesValue
  | ConstantTextValue
  | ListValue;

export function tensorValue(value: ValueName, least?: number): TensorValue {
  return least === undefined ? { kind: "tensor", value } : { kind: "tensor", value, least };
}
