/** Ops of TensorFlow graphs that move, repeat, join or cut entries. */

import { type Extent, extentBound, isStatic, multiplyExtents } from "../../../../ir/extent.ts";
import type { ValueName } from "../../../../ir/node.ts";
import { plainTensor } from "../../../../ir/tensor.ts";
import { divideExtents } from "../../../onnx/dimension_text.ts";
import { type CoordinateMode, type Interpolation, resampleTable } from "../../../onnx/ops/resample_table.ts";
import { reshaped, staticExtent, transposed } from "../../kernels.ts";
import { extentsValue, filled, type TfContext, type TfImporter, type TfImporterTable } from "../context.ts";
import { tensorValue, type TfValue } from "../value.ts";
import { stridedBounds } from "../strided.ts";

function shapeOf(context: TfContext, value: ValueName): readonly Extent[] {
  return context.typeOf(value).shape;
}

function productOf(context: TfContext, extents: readonly Extent[]): Extent {
  return extents.reduce<Extent>(
    (size, extent) => multiplyExtents(size, extent) ?? context.fail("merges two sizes that are not fixed"),
    1,
  );
}

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

/** Resizes height and width of [N, H, W, C] along one axis after the other. */
function resize(interpolation: Interpolation, coordinates: (context: TfContext) => CoordinateMode): TfImporter {
  return (context) => {
    const x = context.tensor(0);
    const size = context.integers(1);
    if (size.length !== 2 || size.some((extent) => extent < 1)) return context.fail(`size [${size}] is not understood`);
    const resized = size.reduce((value, output, index) => {
      const axis = index + 1;
      const input = staticExtent(shapeOf(context, value)[axis], "resized extent");
      if (input === output) return value;
      const table = resampleTable(
        { input, output, length: output, scale: output / input, coordinates: coordinates(context), crop: [0, 1] },
        interpolation,
      );
      const shape = [output, table.taps];
      const indices = context.builder.constant(plainTensor("i32", shape, Int32Array.from(table.indices)));
      const weights = context.builder.constant(plainTensor("f32", shape, Float32Array.from(table.weights)));
      return context.builder.add("resample", [value, indices, weights], { axis });
    }, context.builder.cast(x, "f32"));
    return [tensorValue(resized)];
  };
}

/** How output places map to input places, by the two flags of TensorFlow's resize ops. */
function placesOf(context: TfContext): CoordinateMode {
  if (context.attributes.boolean("align_corners", false)) return "align_corners";
  return context.attributes.boolean("half_pixel_centers", false) ? "half_pixel" : "asymmetric";
}

/** Nearest neighbours at half pixels take the floor of (x + 0.5) / scale. */
function nearestPlacesOf(context: TfContext): CoordinateMode {
  const places = placesOf(context);
  return places === "half_pixel" ? "tf_half_pixel_for_nn" : places;
}

function importResizeNearest(context: TfContext): readonly TfValue[] {
  const rounding = context.attributes.boolean("align_corners", false) ? "round_prefer_ceil" : "floor";
  return resize({ kind: "nearest", rounding }, nearestPlacesOf)(context);
}

/** [N, H, W, b b C] -> [N, H b, W b, C]. */
function importDepthToSpace(context: TfContext): readonly TfValue[] {
  const { builder } = context;
  const x = context.tensor(0);
  const block = context.attributes.int("block_size", 2);
  const [n, h, w, c] = shapeOf(context, x);
  const channels = staticExtent(c, "channel extent") / (block * block);
  if (!Number.isInteger(channels)) return context.fail(`channels do not divide into blocks of ${block}`);
  if (context.attributes.text("data_format", "NHWC") !== "NHWC") return context.fail("data_format is not supported");
  const split = reshaped(builder, x, [n, h, w, block, block, channels]);
  const mixed = transposed(builder, split, [0, 1, 3, 2, 4, 5]);
  return [
    tensorValue(
      reshaped(builder, mixed, [n, productOf(context, [h, block]), productOf(context, [w, block]), channels]),
    ),
  ];
}

/** [N, H, W, C] -> [N, H / b, W / b, b b C]. */
function importSpaceToDepth(context: TfContext): readonly TfValue[] {
  const { builder } = context;
  const x = context.tensor(0);
  const block = context.attributes.int("block_size", 2);
  const [n, h, w, c] = shapeOf(context, x).map((extent) => staticExtent(extent, "extent"));
  if (h % block !== 0 || w % block !== 0) return context.fail(`${h} x ${w} does not divide into blocks of ${block}`);
  const split = reshaped(builder, x, [n, h / block, block, w / block, block, c]);
  const mixed = transposed(builder, split, [0, 1, 3, 2, 4, 5]);
  return [tensorValue(reshaped(builder, mixed, [n, h / block, w / block, block * block * c]))];
}

/** Blocks of the spatial axes become batch entries (dilated convolutions are exported so). */
function importSpaceToBatch(context: TfContext): readonly TfValue[] {
  const { builder } = context;
  const x = context.tensor(0);
  const blocks = context.integers(1);
  const pads = context.integers(2);
  const rank = shapeOf(context, x).length;
  const tail = rank - 1 - blocks.length;
  const amounts = (
    side: number,
  ) => [0, ...blocks.map((_, index) => pads[2 * index + side]), ...new Array<number>(tail).fill(0)];
  const padded = builder.add("pad", [x], { before: amounts(0), after: amounts(1), mode: "constant" });
  const [batch, ...rest] = shapeOf(context, padded).map((extent) => staticExtent(extent, "extent"));
  const spatial = rest.slice(0, blocks.length);
  if (spatial.some((extent, index) => extent % blocks[index] !== 0)) {
    return context.fail("blocks do not divide the extents");
  }
  const split = reshaped(builder, padded, [
    batch,
    ...spatial.flatMap((extent, index) => [extent / blocks[index], blocks[index]]),
    ...rest.slice(blocks.length),
  ]);
  const places = blocks.map((_, index) => 2 * index + 2);
  const grids = blocks.map((_, index) => 2 * index + 1);
  const others = Array.from({ length: tail }, (_, index) => 2 * blocks.length + 1 + index);
  const mixed = transposed(builder, split, [...places, 0, ...grids, ...others]);
  const joined = blocks.reduce((size, block) => size * block, batch);
  return [tensorValue(reshaped(builder, mixed, [
    joined,
    ...spatial.map((extent, index) => extent / blocks[index]),
    ...rest.slice(blocks.length),
  ]))];
}

/** The inverse of SpaceToBatchND, then crops. */
function importBatchToSpace(context: TfContext): readonly TfValue[] {
  const { builder } = context;
  const x = context.tensor(0);
  const blocks = context.integers(1);
  const crops = context.integers(2);
  const [batch, ...rest] = shapeOf(context, x).map((extent) => staticExtent(extent, "extent"));
  const whole = blocks.reduce((size, block) => size * block, 1);
  if (batch % whole !== 0) return context.fail(`batch ${batch} does not divide into ${whole} blocks`);
  const split = reshaped(builder, x, [...blocks, batch / whole, ...rest]);
  const count = blocks.length;
  const spatial = blocks.flatMap((_, index) => [count + 1 + index, index]);
  const others = Array.from({ length: rest.length - count }, (_, index) => 2 * count + 1 + index);
  const mixed = transposed(builder, split, [count, ...spatial, ...others]);
  const joined = reshaped(builder, mixed, [
    batch / whole,
    ...blocks.map((block, index) => block * rest[index]),
    ...rest.slice(count),
  ]);
  const amounts = (side: number) => [
    0,
    ...blocks.map((_, index) => -crops[2 * index + side]),
    ...new Array<number>(rest.length - count).fill(0),
  ];
  return [tensorValue(builder.add("pad", [joined], { before: amounts(0), after: amounts(1), mode: "constant" }))];
}

/** A table's rows at `ids`, summed or averaged by segment. Only one segment is known at import: every row belongs to it. */
function importSegment(average: boolean): TfImporter {
  return (context) => {
    const { builder } = context;
    const segments = context.inputs[2];
    if (segments?.kind !== "sequence" || segments.of !== "zeros") {
      return context.fail("more than one segment is not supported");
    }
    const rows = builder.add("gather", [context.stored(0), context.tensor(1)], { axis: 0 });
    const sum = builder.add("reduce", [rows], { kind: "sum", axes: [0], keepAxes: true });
    if (!average) return [tensorValue(sum)];
    const ones = isStatic(segments.count)
      ? builder.constant(plainTensor("f32", [1], Float32Array.of(segments.count)))
      : countOf(context, segments.count);
    const quotient = {
      kind: "binary",
      operator: "div",
      x: { kind: "input", index: 0 },
      y: { kind: "input", index: 1 },
    } as const;
    return [tensorValue(builder.map(quotient, [sum, ones], { name: "mean" }))];
  };
}

/** A symbolic extent as f32[1], counted at run time as a sum of ones. */
function countOf(context: TfContext, extent: Extent): ValueName {
  const { builder } = context;
  extentBound(extent, builder.symbols);
  const one = filled(builder, "f32", [1], 1);
  const ones = builder.add("expand", [one], { shape: [extent] });
  return builder.add("reduce", [ones], { kind: "sum", axes: [0], keepAxes: true });
}

export const rearrangeOps: TfImporterTable = {
  BatchToSpaceND: importBatchToSpace,
  BroadcastTo: importBroadcastTo,
  Concat: importConcat,
  ConcatV2: importConcat,
  DepthToSpace: importDepthToSpace,
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
  ResizeBilinear: resize({ kind: "linear", antialias: false, excludeOutside: false }, placesOf),
  ResizeNearestNeighbor: importResizeNearest,
  ReverseV2: importReverse,
  Shape: importShape,
  Size: importSize,
  Slice: importSlice,
  SpaceToBatchND: importSpaceToBatch,
  SpaceToDepth: importSpaceToDepth,
  SparseSegmentMean: importSegment(true),
  SparseSegmentSum: importSegment(false),
  Split: importSplit,
  SplitV: importSplitV,
  Squeeze: importSqueeze,
  StridedSlice: importStridedSlice,
  Tile: importTile,
  Transpose: importTranspose,
  Unpack: importUnpack,
};
