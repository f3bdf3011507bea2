/** Ops that move, repeat or mask entries: padding, tiling, depth and space, triangles, reversal. */

import { compare, select } from "../../../ir/expression.ts";
import { type Extent, multiplyExtents } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { elementKind } from "../element_kind.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { number, sub } from "./expressions.ts";
import { malformed, needsStatic, unsupported } from "./faults.ts";
import {
  boolConstant,
  entryOf,
  expanded,
  floatConstant,
  iota,
  mapOf,
  plainConstant,
  reshaped,
  scalarOf,
  staticExtent,
  staticShape,
  transposed,
} from "./operands.ts";

type PadMode = "constant" | "reflect" | "edge" | "wrap";

function padMode(context: ImportContext): PadMode {
  const mode = context.node.attributes.string("mode", "constant");
  if (mode === "constant" || mode === "reflect" || mode === "edge" || mode === "wrap") return mode;
  return malformed(context, `mode is "${mode}", it must be constant, reflect, edge or wrap`);
}

/** Pad: amounts are an attribute up to opset 10 and an input from 11 on, of all axes or of `axes`. */
function importPad(context: ImportContext): readonly ValueName[] {
  const { attributes, opset } = context.node;
  const x = context.input(0);
  const rank = context.typeOf(x).shape.length;
  const mode = padMode(context);
  const amounts = opset < 11 ? attributes.ints("pads") : context.integers(1);
  const axes = opset >= 18 && context.optional(3) !== undefined
    ? context.integers(3).map((axis) => context.axis(axis, rank))
    : Array.from({ length: rank }, (_, axis) => axis);
  if (amounts.length !== 2 * axes.length) {
    return malformed(context, `pads must hold ${2 * axes.length} integers, got [${amounts}]`);
  }
  const before = new Array<number>(rank).fill(0);
  const after = new Array<number>(rank).fill(0);
  axes.forEach((axis, index) => {
    before[axis] = amounts[index];
    after[axis] = amounts[index + axes.length];
  });
  if ([...before, ...after].every((amount) => amount === 0)) return [x];
  checkReflection(context, x, mode, before, after);
  const value = mode === "constant" ? padValue(context, x) : undefined;
  return [context.builder.add("pad", value === undefined ? [x] : [x, value], { before, after, mode })];
}

/** Reflection and repetition need something to read. */
function checkReflection(
  context: ImportContext,
  x: ValueName,
  mode: PadMode,
  before: readonly number[],
  after: readonly number[],
): void {
  if (mode === "constant") return;
  context.typeOf(x).shape.forEach((extent, axis) => {
    if (extent === 0 && (before[axis] > 0 || after[axis] > 0)) malformed(context, `axis ${axis} is empty`);
  });
}

/** The scalar that fills the padding; undefined for zero. */
function padValue(context: ImportContext, x: ValueName): ValueName | undefined {
  const { element } = context.typeOf(x);
  if (context.node.opset < 11) {
    const value = context.node.attributes.float("value", 0);
    return value === 0 ? undefined : floatConstant(context, element, [], [value]);
  }
  const value = context.optional(2);
  if (value === undefined || context.typeOf(value).shape.some((extent) => extent === 0)) return undefined;
  const known = plainConstant(context, value);
  if (known !== undefined && known.data.length === 1 && Number(entryOf(known, 0)) === 0) return undefined;
  return scalarOf(context, value);
}

/** CenterCropPad: axes are cut or padded with zeros to a shape; an odd entry is taken from or put at the end. */
function importCenterCropPad(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const wanted = context.integers(1);
  const all = shape.map((_, axis) => axis);
  const axes = context.node.attributes.ints("axes", all).map((axis) => context.axis(axis, shape.length));
  if (wanted.length !== axes.length) return malformed(context, `shape must hold ${axes.length} integers`);
  const grown = all.map((axis) => {
    const index = axes.indexOf(axis);
    return index < 0 ? 0 : wanted[index] - staticExtent(context, shape[axis], `axis ${axis}`);
  });
  if (grown.every((amount) => amount === 0)) return [x];
  const before = grown.map((amount) => Math.trunc(amount / 2));
  const after = grown.map((amount, axis) => amount - before[axis]);
  return [context.builder.add("pad", [x], { before, after, mode: "constant" })];
}

/** Tile: each repeated axis becomes [repeats, extent], is broadcast, and is merged again. */
function importTile(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape } = context.typeOf(x);
  const repeats = context.integers(1);
  if (repeats.length !== shape.length || repeats.some((count) => count < 0)) {
    return malformed(context, `repeats is [${repeats}] for rank ${shape.length}`);
  }
  const target = shape.map((extent, axis) =>
    multiplyExtents(extent, repeats[axis]) ?? needsStatic(context, `Tile of axis ${axis}`)
  );
  const parts = shape.map((extent, axis): { from: Extent[]; to: Extent[] } => {
    if (repeats[axis] === 1) return { from: [extent], to: [extent] };
    return extent === 1 ? { from: [1], to: [repeats[axis]] } : { from: [1, extent], to: [repeats[axis], extent] };
  });
  const split = reshaped(context, x, parts.flatMap(({ from }) => from));
  return [reshaped(context, expanded(context, split, parts.flatMap(({ to }) => to)), target)];
}

function blockSize(context: ImportContext): number {
  const size = context.node.attributes.int("blocksize");
  return size >= 1 ? size : malformed(context, `blocksize is ${size}`);
}

/** The four extents of a map [N, C, H, W]. */
function mapShape(context: ImportContext, x: ValueName): readonly [Extent, number, number, number] {
  const { shape } = context.typeOf(x);
  if (shape.length !== 4) return malformed(context, `wants [N, C, H, W], got rank ${shape.length}`);
  return [
    shape[0],
    staticExtent(context, shape[1], "the channel axis"),
    staticExtent(context, shape[2], "the height"),
    staticExtent(context, shape[3], "the width"),
  ];
}

/** DCR: depth is [block, block, C / block²]; CRD: [C / block², block, block]. */
function depthOrder(context: ImportContext): "DCR" | "CRD" {
  const mode = context.node.attributes.string("mode", "DCR");
  return mode === "DCR" || mode === "CRD" ? mode : malformed(context, `mode is "${mode}"`);
}

function importDepthToSpace(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const block = blockSize(context);
  const [batch, channels, height, width] = mapShape(context, x);
  const depthFirst = context.node.opset < 11 || depthOrder(context) === "DCR";
  const depth = channels / (block * block);
  if (!Number.isInteger(depth)) {
    return malformed(context, `${channels} channels do not hold ${block} x ${block} blocks`);
  }
  const [split, permutation] = depthFirst
    ? [[batch, block, block, depth, height, width], [0, 3, 4, 1, 5, 2]]
    : [[batch, depth, block, block, height, width], [0, 1, 4, 2, 5, 3]];
  const moved = transposed(context, reshaped(context, x, split), permutation);
  return [reshaped(context, moved, [batch, depth, height * block, width * block])];
}

function importSpaceToDepth(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const block = blockSize(context);
  const [batch, channels, height, width] = mapShape(context, x);
  const [rows, columns] = [height / block, width / block];
  if (!Number.isInteger(rows) || !Number.isInteger(columns)) {
    return malformed(context, `${height} x ${width} does not divide into ${block} x ${block} blocks`);
  }
  const depthFirst = depthOrder(context) === "DCR";
  const split = reshaped(context, x, [batch, channels, rows, block, columns, block]);
  const moved = transposed(context, split, depthFirst ? [0, 3, 5, 1, 2, 4] : [0, 1, 3, 5, 2, 4]);
  return [reshaped(context, moved, [batch, channels * block * block, rows, columns])];
}

/** Trilu: the triangle above (or below) diagonal k, zeros elsewhere. */
function importTrilu(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape, element } = context.typeOf(x);
  if (shape.length < 2) return malformed(context, "Trilu wants rank 2 or more");
  const upper = context.node.attributes.int("upper", 1) !== 0;
  const k = context.optional(1) === undefined ? 0 : context.integers(1)[0] ?? 0;
  const rows = iota(context, shape[shape.length - 2], 0, 2);
  const columns = iota(context, shape[shape.length - 1], 1, 2);
  const kept = mapOf(
    context,
    [columns, rows],
    ([column, row]) => compare(upper ? "ge" : "le", sub(column, row), number("i64", k)),
  );
  return [mapOf(context, [kept, x], ([keep, value]) => select(keep, value, number(element, 0)))];
}

/** EyeLike: ones on diagonal k of a matrix of the input's shape. */
function importEyeLike(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const x = context.input(0);
  const shape = staticShape(context, x, "the input");
  if (shape.length !== 2) return malformed(context, `wants a matrix, got rank ${shape.length}`);
  const k = attributes.int("k", 0);
  const kind = attributes.has("dtype") ? elementKind(attributes.int("dtype")) : { element: context.typeOf(x).element };
  if (kind === undefined || kind.format !== undefined) return unsupported(context, "dtype has no plain element");
  const [rows, columns] = shape;
  const ones = Array.from(
    { length: rows * columns },
    (_, index) => (index % columns) - Math.floor(index / columns) === k,
  );
  return [context.builder.cast(boolConstant(context, shape, ones), kind.element)];
}

/** ReverseSequence: row t of a batch entry of length n reads row n - 1 - t where t < n, and itself elsewhere. */
function importReverseSequence(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const [x, lengths] = [context.input(0), context.input(1)];
  const { shape } = context.typeOf(x);
  const batchAxis = context.axis(attributes.int("batch_axis", 1), shape.length);
  const timeAxis = context.axis(attributes.int("time_axis", 0), shape.length);
  if (batchAxis + timeAxis !== 1) return malformed(context, "batch_axis and time_axis must be 0 and 1");
  const swap = shape.map((_, axis) => (axis < 2 ? 1 - axis : axis));
  const rows = batchAxis === 0 ? x : transposed(context, x, swap);
  const [batch, time] = context.typeOf(rows).shape;
  const steps = iota(context, time, 1, 2);
  const counts = reshaped(context, context.builder.cast(lengths, "i64"), [batch, 1]);
  const sources = mapOf(
    context,
    [steps, counts],
    ([step, count]) => select(compare("lt", step, count), sub(sub(count, number("i64", 1)), step), step),
  );
  const indices = reshaped(context, sources, [batch, time, 1]);
  const reversed = context.builder.add("gatherNd", [rows, indices], { batchAxes: 1 });
  return [batchAxis === 0 ? reversed : transposed(context, reversed, swap)];
}

export const rearrangeImporters: OpImporterTable = {
  Pad: importPad,
  CenterCropPad: importCenterCropPad,
  Tile: importTile,
  DepthToSpace: importDepthToSpace,
  SpaceToDepth: importSpaceToDepth,
  Trilu: importTrilu,
  EyeLike: importEyeLike,
  ReverseSequence: importReverseSequence,
};
