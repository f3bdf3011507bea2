/**
 * Text in TensorFlow graphs, read symbolically: a text becomes its bytes, windows of bytes become numbers, and hashing them
 * into buckets becomes a table. The ragged and sparse bookkeeping around it is known at import, because there is one text.
 * Strings are bytes, as in TensorFlow. (TensorFlow.js turns single bytes from 128 up into U+FFFD on their way.)
 */

import { addExtents, equalExtents, type Extent, isStatic } from "../../../ir/extent.ts";
import { binary, input, literal } from "../../../ir/expression.ts";
import type { ValueName } from "../../../ir/node.ts";
import { plainTensor } from "../../../ir/tensor.ts";
import { extentsValue, filled, type TfContext } from "./context.ts";
import { bucketTable, longestShort } from "./farm_hash.ts";
import { type PiecesValue, tensorValue, type TfValue } from "./value.ts";

/** Outputs of a node that reads text or its bookkeeping; undefined where the rule does not apply. */
type TextRule = (context: TfContext) => readonly TfValue[] | undefined;

export function applyTextRule(context: TfContext): readonly TfValue[] | undefined {
  const rule = Object.hasOwn(rules, context.node.op) ? rules[context.node.op] : undefined;
  return rule === undefined ? undefined : rule(context);
}

/** Ops that only text rules import, for the list of what is known. */
export function isTextOp(op: string): boolean {
  return Object.hasOwn(rules, op);
}

/** The strings of an operand that the model itself holds. */
function constantStrings(value: TfValue | undefined): readonly Uint8Array[] | undefined {
  return value?.kind === "constantText" ? value.strings : undefined;
}

function isEmptyStrings(value: TfValue | undefined): boolean {
  return constantStrings(value)?.every((string) => string.length === 0) ?? false;
}

function expandDims(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  if (value?.kind === "text" && value.rank === 0) return [{ ...value, rank: 1 }];
  if (value?.kind !== "constantText") return undefined;
  const { shape } = value;
  const axis = context.axis(context.integers(1)[0] ?? 0, shape.length + 1);
  return [{ ...value, shape: [...shape.slice(0, axis), 1, ...shape.slice(axis)] }];
}

function shape(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  const known = (...entries: readonly Extent[]) => [extentsValue(context.builder, 1, entries)];
  switch (value?.kind) {
    case "text":
      return value.rank === 0 ? known() : known(1);
    case "pieces":
      return known(value.count);
    case "paddedPieces":
      return value.rank === 2 ? known(1, value.total) : known(value.total);
    case "sequence":
      return value.rank === 2 ? known(value.count, 1) : known(value.count);
    case "coordinates":
      return known(value.count, 2);
    case "constantText":
      return known(...value.shape);
    default:
      return undefined;
  }
}

/** Only a batch of one text can be taken apart: a list of one. */
function listFromTensor(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  return value?.kind === "text" && value.rank === 1 ? [{ kind: "list", items: [{ ...value, rank: 0 }] }] : undefined;
}

/** Lists stand for batches, of which there is one entry; a longer one would be another model's. */
const longestList = 64;

function reserveList(context: TfContext): readonly TfValue[] | undefined {
  const count = context.integers(1)[0];
  if (!(count >= 0 && count <= longestList)) return context.fail(`reserves a list of ${count}`);
  return [{ kind: "list", items: new Array<undefined>(count).fill(undefined) }];
}

function listItem(context: TfContext): readonly TfValue[] | undefined {
  const [list] = context.inputs;
  if (list?.kind !== "list") return undefined;
  return [list.items[context.integers(1)[0]] ?? context.fail("reads a list where it holds nothing")];
}

function setListItem(context: TfContext): readonly TfValue[] | undefined {
  const [list, , item] = context.inputs;
  if (list?.kind !== "list" || item === undefined) return undefined;
  const index = context.integers(1)[0];
  if (!(index >= 0 && index < list.items.length)) return context.fail(`writes entry ${index} of ${list.items.length}`);
  return [{ kind: "list", items: list.items.map((old, at) => (at === index ? item : old)) }];
}

function stackList(context: TfContext): readonly TfValue[] | undefined {
  const [list] = context.inputs;
  const item = list?.kind === "list" && list.items.length === 1 ? list.items[0] : undefined;
  if (item?.kind === "paddedPieces" && item.rank === 1) return [{ ...item, rank: 2 }];
  return item?.kind === "text" && item.rank === 0 ? [{ ...item, rank: 1 }] : undefined;
}

/** Splitting at the empty delimiter gives the bytes. Outputs: indices, values, shape. */
function stringSplit(context: TfContext): readonly TfValue[] | undefined {
  const [text, delimiter] = context.inputs;
  if (text?.kind !== "text" || text.rank !== 1) return undefined;
  if (!isEmptyStrings(delimiter)) return context.fail("splits at a delimiter; only splitting into bytes is supported");
  const { count } = text;
  return [
    { kind: "coordinates", count },
    { kind: "pieces", text, width: 1, separator: [], count },
    extentsValue(context.builder, 1, [1, count]),
  ];
}

/** Windows of a fixed width over the bytes. Outputs: ngrams, splits. */
function stringNGrams(context: TfContext): readonly TfValue[] | undefined {
  const [pieces] = context.inputs;
  if (pieces?.kind !== "pieces" || pieces.width !== 1) return undefined;
  const { attributes } = context;
  const widths = attributes.ints("ngram_widths");
  if (widths.length !== 1 || attributes.int("pad_width", 0) !== 0) {
    return context.fail("only n-grams of one width without padding are supported");
  }
  const splits = context.extents(1);
  const covers = splits.length === 2 && splits[0] === 0 && equalExtents(splits[1], pieces.count);
  if (!covers) return context.fail("the row splits do not cover the text");
  const count = addExtents(pieces.count, 1 - widths[0]) ?? context.fail("the count of n-grams is not known");
  context.restrict(count, 1, Infinity);
  const separator = Array.from(attributes.text("separator", ""), (character) => character.charCodeAt(0));
  return [{ ...pieces, width: widths[0], separator, count }, extentsValue(context.builder, 1, [0, count])];
}

/** Pieces with empty strings behind. */
function concat(context: TfContext): readonly TfValue[] | undefined {
  const [pieces, padding] = context.inputs;
  if (pieces?.kind !== "pieces" || context.inputs.length !== 3 || !isEmptyStrings(padding)) return undefined;
  const total = addExtents(pieces.count, constantStrings(padding)?.length ?? 0);
  return total === undefined ? undefined : [{ kind: "paddedPieces", rank: 1, pieces, total }];
}

/** begin, end and stride of a slice along the only axis, masks applied; undefined entries for "all of it". */
function plainRange(context: TfContext): { readonly begin: Extent; readonly end: Extent | undefined } | undefined {
  const [begins, ends, strides] = [context.extents(1), context.extents(2), context.integers(3)];
  if (begins.length === 0) return { begin: 0, end: undefined };
  const masked = ["shrink_axis_mask", "new_axis_mask", "ellipsis_mask"].some((name) =>
    context.attributes.int(name, 0) !== 0
  );
  if (begins.length !== 1 || strides[0] !== 1 || masked) return undefined;
  const begin = context.attributes.int("begin_mask", 0) === 1 ? 0 : begins[0];
  return { begin, end: context.attributes.int("end_mask", 0) === 1 ? undefined : ends[0] };
}

function stridedSlice(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  if (value?.kind === "coordinates") return rowsOfCoordinates(context, value.count);
  if (value?.kind !== "pieces" && value?.kind !== "paddedPieces") return undefined;
  const range = plainRange(context);
  if (range === undefined || range.begin !== 0) return context.fail("this slice of text is not supported");
  const { end } = range;
  if (value.kind === "pieces") {
    if (end === undefined || equalExtents(end, value.count)) return [value];
    return context.fail("cuts a text short");
  }
  if (value.rank !== 1) return context.fail("this slice of text is not supported");
  if (end === undefined || equalExtents(end, value.total)) return [value];
  if (!isStatic(end)) return context.fail("the end is not fixed");
  // Longer texts would lose pieces here, so they are out of range.
  context.restrict(value.pieces.count, 1, end);
  return [{ ...value, total: end }];
}

/** Column 0 of the coordinates: the row of every entry, which is 0. */
function rowsOfCoordinates(context: TfContext, count: Extent): readonly TfValue[] {
  const { attributes } = context;
  const wholeAxis = attributes.int("begin_mask", 0) === 1 && attributes.int("end_mask", 0) === 1;
  const firstColumn = attributes.int("shrink_axis_mask", 0) === 2 && context.integers(1)[1] === 0;
  const plain = context.integers(3).every((stride) => stride === 1) && attributes.int("new_axis_mask", 0) === 0 &&
    attributes.int("ellipsis_mask", 0) === 0;
  if (!wholeAxis || !firstColumn || !plain) return context.fail("this slice of indices is not supported");
  return [{ kind: "sequence", of: "zeros", rank: 1, count }];
}

/** Comparing padded pieces with the empty string tells which are there. */
function notEqual(context: TfContext): readonly TfValue[] | undefined {
  const [padded, ignored] = context.inputs;
  return padded?.kind === "paddedPieces" && isEmptyStrings(ignored) ? [{ kind: "presence", padded }] : undefined;
}

function where(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  if (value?.kind === "presence" && value.padded.rank === 2) {
    return [{ kind: "coordinates", count: value.padded.pieces.count }];
  }
  if (value?.kind === "sequence" && value.of === "true") {
    return [{ kind: "sequence", of: "counting", rank: 2, count: value.count }];
  }
  return undefined;
}

function gatherNd(context: TfContext): readonly TfValue[] | undefined {
  const [padded, coordinates] = context.inputs;
  if (padded?.kind !== "paddedPieces" || coordinates?.kind !== "coordinates") return undefined;
  return equalExtents(padded.pieces.count, coordinates.count) ? [padded.pieces] : undefined;
}

/** Buckets of pieces of one or two bytes, by a table over all of them. */
function hashBuckets(context: TfContext): readonly TfValue[] | undefined {
  const [pieces] = context.inputs;
  if (pieces?.kind !== "pieces") return undefined;
  const buckets = context.attributes.int("num_buckets", 0);
  if (buckets < 1 || buckets > 2 ** 31) return context.fail(`has ${buckets} buckets`);
  const { width, separator } = pieces;
  const length = width + (width - 1) * separator.length;
  if (width !== 1 && width !== 2 || length > longestShort) {
    return context.fail(
      `hashes ${width} bytes in strings of ${length}; 2 bytes in strings of ${longestShort} are supported`,
    );
  }
  const table = context.builder.constant(plainTensor("i32", [256 ** width], bucketTable(width, separator, buckets)), {
    name: "buckets",
  });
  const value = context.builder.add("gather", [table, pieceNumbers(context, pieces)], { axis: 0 }, { name: "bucket" });
  return [tensorValue(value, 0)];
}

/** Every piece as the big-endian number of its bytes, i32[count]. */
function pieceNumbers(context: TfContext, { text, width, count }: PiecesValue): ValueName {
  const { builder } = context;
  const numbers = builder.cast(text.bytes, "i32");
  if (width === 1) return numbers;
  const [first, second] = [0, 1].map((start) =>
    builder.add("slice", [numbers], { starts: [start], steps: [1], extents: [count] })
  );
  const joined = binary("add", binary("mul", input(0), literal(256, "i32")), input(1));
  return builder.map(joined, [first, second], { name: "pair" });
}

/** A tensor with a known lower bound is at least any smaller number everywhere. */
function greaterEqual(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  if (value?.kind !== "tensor" || value.least === undefined) return undefined;
  const bound = context.constant(1);
  const { shape } = context.typeOf(value.value);
  if (bound === undefined || bound.data.length !== 1 || shape.length !== 1) return undefined;
  return value.least >= Number(bound.data[0])
    ? [{ kind: "sequence", of: "true", rank: 1, count: shape[0] }]
    : undefined;
}

function reshape(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  if (value?.kind !== "sequence") return undefined;
  const target = context.extents(1);
  const isFlat = target.length === 1 && (target[0] === -1 || equalExtents(target[0], value.count));
  return isFlat ? [{ ...value, rank: 1 }] : undefined;
}

/** Gathering by 0, 1, 2, ... changes nothing. */
function gather(context: TfContext): readonly TfValue[] | undefined {
  const [value, indices] = context.inputs;
  if (indices?.kind !== "sequence" || indices.of !== "counting" || value === undefined) return undefined;
  if (context.inputs.length > 2 && context.integers(2)[0] !== 0) return undefined;
  const count = value.kind === "tensor"
    ? context.typeOf(value.value).shape[0]
    : value.kind === "coordinates"
    ? value.count
    : undefined;
  return count !== undefined && equalExtents(count, indices.count) ? [value] : undefined;
}

/** A matrix of one row keeps its indices in another matrix of one row. Outputs: indices, shape. */
function sparseReshape(context: TfContext): readonly TfValue[] | undefined {
  const [coordinates] = context.inputs;
  if (coordinates?.kind !== "coordinates") return undefined;
  const [from, to] = [context.extents(1), context.extents(2)];
  const width = from[1];
  const keeps = from.length === 2 && to.length === 2 && from[0] === 1 && (to[0] === 1 || to[0] === -1) &&
    (to[1] === -1 && to[0] === 1 || equalExtents(to[1], width));
  return keeps ? [coordinates, extentsValue(context.builder, 1, [1, width])] : undefined;
}

/** One row with entries has no empty row to fill. Outputs: indices, values, whether rows were empty, reverse indices. */
function fillEmptyRows(context: TfContext): readonly TfValue[] | undefined {
  const [coordinates, values] = context.inputs;
  if (coordinates?.kind !== "coordinates" || values === undefined || context.extents(2)[0] !== 1) return undefined;
  context.restrict(coordinates.count, 1, Infinity);
  return [
    coordinates,
    values,
    tensorValue(filled(context.builder, "bool", [1], 0)),
    { kind: "sequence", of: "counting", rank: 1, count: coordinates.count },
  ];
}

/** The largest of zeros. */
function maximum(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  return value?.kind === "sequence" && value.of === "zeros"
    ? [tensorValue(filled(context.builder, "i32", [], 0))]
    : undefined;
}

/** All entries fall into the first of one bin. */
function bincount(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  if (value?.kind !== "sequence" || value.of !== "zeros") return undefined;
  const weights = context.constant(2);
  if (context.integers(1)[0] !== 1 || weights === undefined || weights.data.length > 0) return undefined;
  return [extentsValue(context.builder, 1, [value.count])];
}

function tile(context: TfContext): readonly TfValue[] | undefined {
  const [value] = context.inputs;
  return value?.kind === "constantText" && context.integers(1).every((count) => count === 1) ? [value] : undefined;
}

const rules: Readonly<Record<string, TextRule>> = {
  Bincount: bincount,
  ConcatV2: concat,
  ExpandDims: expandDims,
  GatherNd: gatherNd,
  GatherV2: gather,
  GreaterEqual: greaterEqual,
  Max: maximum,
  NotEqual: notEqual,
  Reshape: reshape,
  Shape: shape,
  SparseFillEmptyRows: fillEmptyRows,
  SparseReshape: sparseReshape,
  StridedSlice: stridedSlice,
  StringNGrams: stringNGrams,
  StringSplit: stringSplit,
  StringToHashBucketFast: hashBuckets,
  TensorListFromTensor: listFromTensor,
  TensorListGetItem: listItem,
  TensorListReserve: reserveList,
  TensorListSetItem: setListItem,
  TensorListStack: stackList,
  Tile: tile,
  Where: where,
};

/** Names of the outputs of ops with several, as references inside functions give them. */
export const outputNames: Readonly<Record<string, readonly string[]>> = {
  SparseFillEmptyRows: ["output_indices", "output_values", "empty_row_indicator", "reverse_index_map"],
  SparseReshape: ["output_indices", "output_shape"],
  StringNGrams: ["ngrams", "ngrams_splits"],
  StringSplit: ["indices", "values", "shape"],
  TopKV2: ["values", "indices"],
};
