/** Ops of TensorFlow graphs that resize maps or move blocks of them. */

import { plainTensor } from "../../../../ir/tensor.ts";
import { type CoordinateMode, type Interpolation, resampleTable } from "../../../onnx/ops/resample_table.ts";
import { reshaped, staticExtent, transposed } from "../../kernels.ts";
import { productOf, shapeOf, type TfContext, type TfImporter, type TfImporterTable } from "../context.ts";
import { tensorValue, type TfValue } from "../value.ts";

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

export const blockOps: TfImporterTable = {
  BatchToSpaceND: importBatchToSpace,
  DepthToSpace: importDepthToSpace,
  ResizeBilinear: resize({ kind: "linear", antialias: false, excludeOutside: false }, placesOf),
  ResizeNearestNeighbor: importResizeNearest,
  SpaceToBatchND: importSpaceToBatch,
  SpaceToDepth: importSpaceToDepth,
};
