/** Ops of TensorFlow graphs that move, repeat, join or cut entries. */

import { type Extent, isStatic } from "../../../../ir/extent.ts";
import type { ValueName } from "../../../../ir/node.ts";
import { plainTensor } from "../../../../ir/tensor.ts";
import { divideExtents } from "../../../onnx/dimension_text.ts";
import { reshaped, staticExtent, transposed } from "../../kernels.ts";
import { extentsValue, filled, productOf, shapeOf, type TfContext, type TfImporterTable } from "../context.ts";
import { tensorValue, type TfValue } from "../value.ts";
import { stridedBounds } from "../strided.ts";

function importReshape(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const target = context.extents(1);
  const open = target.indexOf(-1);
  const rest = productOf(context, target.filter((_, axis) => axis !== open));
  const size = productOf(context, shapeOf(context, x));
  const filledIn = target.map((extent, axis) => {
    if (axis !== open) return extent;
    return divideExtents(size, rest) ?? (isStatic(size) || isStatic(rest) ? undefined : divideSymbolic(size, rest)) ??
      context.fail("the open axis has no size");
  });
  return [tensorValue(reshaped(context.builder, x, filledIn))];
}

/** k n / n = k. */
function divideSymbolic(x: Exclude<Extent, number>, y: Exclude<Extent, number>): number | undefined {
  const ratio = x.factor / y.factor;
  return x.symbol === y.symbol && Number.isInteger(ratio) && x.offset === y.offset * ratio ? ratio : undefined;
}

function importExpandDims(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const shape = shapeOf(context, x);
  const axis = context.axis(context.integers(1)[0] ?? 0, shape.length + 1);
  return [tensorValue(reshaped(context.builder, x, [...shape.slice(0, axis), 1, ...shape.slice(axis)]))];
}

function importSqueeze(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const shape = shapeOf(context, x);
  const listed = context.attributes.ints("squeeze_dims").map((axis) => context.axis(axis, shape.length));
  const axes = listed.length > 0 ? listed : shape.flatMap((extent, axis) => (extent === 1 ? [axis] : []));
  if (axes.some((axis) => shape[axis] !== 1)) return context.fail(`squeezes axes ${axes} of a larger extent`);
  return [tensorValue(reshaped(context.builder, x, shape.filter((_, axis) => !axes.includes(axis))))];
}

function importTranspose(context: TfContext): readonly TfValue[] {
  return [tensorValue(transposed(context.builder, context.tensor(0), context.integers(1)))];
}

function pairsOf(context: TfContext, rank: number): readonly (readonly [number, number])[] {
  const flat = context.integers(1);
  if (flat.length !== 2 * rank) return context.fail(`paddings have ${flat.length} entries, wants ${2 * rank}`);
  return Array.from({ length: rank }, (_, axis) => [flat[2 * axis], flat[2 * axis + 1]]);
}

function importPad(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const pairs = pairsOf(context, shapeOf(context, x).length);
  const value = context.inputs.length > 2 ? [context.tensor(2)] : [];
  return [tensorValue(context.builder.add("pad", [x, ...value], {
    before: pairs.map(([begin]) => begin),
    after: pairs.map(([, end]) => end),
    mode: "constant",
  }))];
}

/** `REFLECT` leaves the border out; `SYMMETRIC` repeats it, which no pad mode does, so only single rows are accepted. */
function importMirrorPad(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const pairs = pairsOf(context, shapeOf(context, x).length);
  const mode = context.attributes.text("mode", "REFLECT").toUpperCase();
  const single = pairs.every(([begin, end]) => begin <= 1 && end <= 1);
  if (mode !== "REFLECT" && !single) return context.fail(`mode ${mode} is not supported`);
  return [tensorValue(context.builder.add("pad", [x], {
    before: pairs.map(([begin]) => begin),
    after: pairs.map(([, end]) => end),
    mode: mode === "REFLECT" ? "reflect" : "edge",
  }))];
}

/** Joins tensors; the axis is the last input, or the first one in the old form. */
function importConcat(context: TfContext): readonly TfValue[] {
  const count = context.inputs.length - 1;
  const first = context.node.op === "Concat" ? 1 : 0;
  if (count < 1) return context.fail("has no operands");
  const values = Array.from({ length: count }, (_, index) => context.tensor(index + first));
  const axis = context.axis(context.integers(first === 1 ? 0 : count)[0] ?? 0, shapeOf(context, values[0]).length);
  return [tensorValue(context.builder.add("concat", values, { axis }))];
}

function importPack(context: TfContext): readonly TfValue[] {
  const values = context.inputs.map((_, index) => context.tensor(index));
  if (values.length === 0) return context.fail("has no operands");
  const shape = shapeOf(context, values[0]);
  const axis = context.axis(context.attributes.int("axis", 0), shape.length + 1);
  const spread = values.map((value) =>
    reshaped(context.builder, value, [...shape.slice(0, axis), 1, ...shape.slice(axis)])
  );
  return [tensorValue(context.builder.add("concat", spread, { axis }))];
}

function slice(context: TfContext, x: ValueName, axis: number, start: number, extent: Extent): ValueName {
  const shape = shapeOf(context, x);
  return context.builder.add("slice", [x], {
    starts: shape.map((_, index) => (index === axis ? start : 0)),
    steps: shape.map(() => 1),
    extents: shape.map((whole, index) => (index === axis ? extent : whole)),
  });
}

function importUnpack(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const shape = shapeOf(context, x);
  const axis = context.axis(context.attributes.int("axis", 0), shape.length);
  const rest = shape.filter((_, index) => index !== axis);
  return Array.from(
    { length: staticExtent(shape[axis], "unpacked extent") },
    (_, index) => tensorValue(reshaped(context.builder, slice(context, x, axis, index, 1), rest)),
  );
}

function importSplit(context: TfContext): readonly TfValue[] {
  const x = context.tensor(1);
  const shape = shapeOf(context, x);
  const axis = context.axis(context.integers(0)[0] ?? 0, shape.length);
  const count = context.attributes.int("num_split", 1);
  const extent = staticExtent(shape[axis], "split extent");
  if (count < 1 || extent % count !== 0) return context.fail(`${extent} does not split into ${count} parts`);
  const part = extent / count;
  return Array.from({ length: count }, (_, index) => tensorValue(slice(context, x, axis, index * part, part)));
}

function importSplitV(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const shape = shapeOf(context, x);
  const axis = context.axis(context.integers(2)[0] ?? 0, shape.length);
  const whole = staticExtent(shape[axis], "split extent");
  const sizes = context.integers(1);
  const known = sizes.reduce((sum, size) => sum + Math.max(0, size), 0);
  const parts = sizes.map((size) => (size < 0 ? whole - known : size));
  let start = 0;
  return parts.map((part) => {
    start += part;
    return tensorValue(slice(context, x, axis, start - part, part));
  });
}

function importSlice(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const shape = shapeOf(context, x);
  const [starts, sizes] = [context.integers(1), context.extents(2)];
  const extents = shape.map((extent, axis): Extent => {
    const size = sizes[axis];
    if (size !== -1) return size;
    return isStatic(extent) ? extent - starts[axis] : { ...extent, offset: extent.offset - starts[axis] };
  });
  return [tensorValue(context.builder.add("slice", [x], { starts, steps: shape.map(() => 1), extents }))];
}

function importStridedSlice(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const bounds = stridedBounds(context, shapeOf(context, x));
  const cut = context.builder.add("slice", [x], bounds);
  return [tensorValue(reshaped(context.builder, cut, bounds.shape))];
}

function importTile(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const shape = shapeOf(context, x);
  const repeats = context.integers(1);
  if (repeats.length !== shape.length || repeats.some((count) => count < 0)) {
    return context.fail(`multiples [${repeats}] do not fit a tensor of rank ${shape.length}`);
  }
  if (repeats.every((count) => count === 1)) return [tensorValue(x)];
  const split = reshaped(context.builder, x, shape.flatMap((extent) => [1, extent]));
  const spread = context.builder.add("expand", [split], {
    shape: shape.flatMap((extent, axis) => [repeats[axis], extent]),
  });
  const joined = shape.map((extent, axis) => productOf(context, [extent, repeats[axis]]));
  return [tensorValue(reshaped(context.builder, spread, joined))];
}

function importBroadcastTo(context: TfContext): readonly TfValue[] {
  return [tensorValue(context.builder.add("expand", [context.tensor(0)], { shape: context.extents(1) }))];
}

function importFill(context: TfContext): readonly TfValue[] {
  return [tensorValue(context.builder.add("expand", [context.tensor(1)], { shape: context.extents(0) }))];
}

function importRange(context: TfContext): readonly TfValue[] {
  const [start, limit, delta] = [0, 1, 2].map((index) => {
    const known = context.constant(index);
    return known === undefined ? context.fail(`input ${index} must be known at compile time`) : Number(known.data[0]);
  });
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (!Number.isSafeInteger(count) || count > 2 ** 24) return context.fail(`has ${count} entries`);
  const entries = Array.from({ length: count }, (_, index) => start + index * delta);
  const isFloat = context.typeOf(context.tensor(0)).element === "f32";
  const tensor = isFloat
    ? plainTensor("f32", [count], Float32Array.from(entries))
    : plainTensor("i32", [count], Int32Array.from(entries));
  return [tensorValue(context.builder.constant(tensor))];
}

function importShape(context: TfContext): readonly TfValue[] {
  return [extentsValue(context.builder, 1, shapeOf(context, context.tensor(0)))];
}

function importRank(context: TfContext): readonly TfValue[] {
  return [extentsValue(context.builder, 0, [shapeOf(context, context.tensor(0)).length])];
}

function importSize(context: TfContext): readonly TfValue[] {
  return [extentsValue(context.builder, 0, [productOf(context, shapeOf(context, context.tensor(0)))])];
}

/** A table that is stored as codes is gathered as it is. */
function importGather(context: TfContext): readonly TfValue[] {
  const axisInput = context.inputs.length > 2 ? context.integers(2)[0] ?? 0 : 0;
  if (context.attributes.int("batch_dims", 0) !== 0) return context.fail("batch_dims is not supported");
  const x = context.stored(0);
  const axis = context.axis(axisInput, shapeOf(context, x).length);
  const indices = context.builder.cast(context.tensor(1), "i32");
  return [tensorValue(context.builder.add("gather", [x, indices], { axis }))];
}

function importGatherNd(context: TfContext): readonly TfValue[] {
  const indices = context.builder.cast(context.tensor(1), "i32");
  return [tensorValue(context.builder.add("gatherNd", [context.tensor(0), indices], { batchAxes: 0 }))];
}

/** Updates added into zeros of a fixed shape. */
function importScatterNd(context: TfContext): readonly TfValue[] {
  const indices = context.builder.cast(context.tensor(0), "i32");
  const updates = context.tensor(1);
  const zeros = filled(context.builder, context.typeOf(updates).element, context.integers(2), 0);
  return [tensorValue(context.builder.add("scatterNd", [zeros, indices, updates], { reduction: "add" }))];
}

function importReverse(context: TfContext): readonly TfValue[] {
  const x = context.tensor(0);
  const shape = shapeOf(context, x).map((extent) => staticExtent(extent, "reversed extent"));
  const axes = context.integers(1).map((axis) => context.axis(axis, shape.length));
  return [tensorValue(context.builder.add("slice", [x], {
    starts: shape.map((extent, axis) => (axes.includes(axis) ? extent - 1 : 0)),
    steps: shape.map((_, axis) => (axes.includes(axis) ? -1 : 1)),
    extents: shape,
  }))];
}

export const rearrangeOps: TfImporterTable = {
  BroadcastTo: importBroadcastTo,
  Concat: importConcat,
  ConcatV2: importConcat,
  ExpandDims: importExpandDims,
  Fill: importFill,
  Gather: importGather,
  GatherNd: importGatherNd,
  GatherV2: importGather,
  MirrorPad: importMirrorPad,
  Pack: importPack,
  Pad: importPad,
  PadV2: importPad,
  Range: importRange,
  Rank: importRank,
  Reshape: importReshape,
  ReverseV2: importReverse,
  ScatterNd: importScatterNd,
  Shape: importShape,
  Size: importSize,
  Slice: importSlice,
  Split: importSplit,
  SplitV: importSplitV,
  Squeeze: importSqueeze,
  StridedSlice: importStridedSlice,
  Tile: importTile,
  Transpose: importTranspose,
  Unpack: importUnpack,
};
