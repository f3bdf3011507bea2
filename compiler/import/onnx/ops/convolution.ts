/** Conv and ConvTranspose in one to three spatial dimensions. */

import type { ValueName } from "../../../ir/node.ts";
import { printExtent } from "../../../ir/extent.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { malformed } from "./faults.ts";
import { floatConstant, reshaped, staticExtent, staticShape, tableSize } from "./operands.ts";
import { autoPadOf, padsAttribute, perAxisAttribute, splitPadding, windowOf } from "./window.ts";

/** The spatial extents of the weights, checked against `kernel_shape`. */
export function kernelOf(context: ImportContext, weights: ValueName): readonly number[] {
  const kernel = staticShape(context, weights, "the weights").slice(2);
  const stated = context.node.attributes.ints("kernel_shape", kernel);
  if (stated.length !== kernel.length || stated.some((extent, axis) => extent !== kernel[axis])) {
    return malformed(context, `kernel_shape is [${stated}], the weights have [${kernel}]`);
  }
  return kernel;
}

/** The attribute `group`, 1 when absent. */
function groupsOf(context: ImportContext): number {
  const groups = context.node.attributes.int("group", 1);
  return groups >= 1 ? groups : malformed(context, `group is ${groups}`);
}

function importConv(context: ImportContext): readonly ValueName[] {
  const [x, weights, bias] = [context.input(0), context.input(1), context.optional(2)];
  const { shape } = context.typeOf(x);
  const kernel = kernelOf(context, weights);
  if (kernel.length < 1 || shape.length !== kernel.length + 2) {
    return malformed(context, `input has rank ${shape.length}, weights have rank ${kernel.length + 2}`);
  }
  const window = windowOf(context, shape.slice(2), kernel, { dilates: true });
  return [context.builder.add("conv", bias === undefined ? [x, weights] : [x, weights, bias], {
    strides: window.strides,
    dilations: window.dilations,
    pads: window.pads,
    layout: "channelsFirst",
    groups: groupsOf(context),
    hasBias: bias !== undefined,
    result: { kind: "real" },
  })];
}

/** Padding and output padding of a ConvTranspose: stated, or derived from the wanted output. */
function transposePadding(
  context: ImportContext,
  x: ValueName,
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
): { readonly pads: readonly number[]; readonly outputPadding: readonly number[] } {
  const rank = kernel.length;
  const { attributes } = context.node;
  const outputPadding = attributes.ints("output_padding", new Array<number>(rank).fill(0));
  if (outputPadding.length !== rank || outputPadding.some((extra) => extra < 0)) {
    return malformed(context, `output_padding is [${outputPadding}], it must hold ${rank} integers from 0 on`);
  }
  const autoPad = autoPadOf(context);
  const explicit = padsAttribute(context, rank);
  const wantsShape = attributes.has("output_shape");
  if (!wantsShape && autoPad === "NOTSET") return { pads: explicit, outputPadding };
  if (!wantsShape && autoPad === "VALID") return { pads: explicit.map(() => 0), outputPadding };
  const spatial = context.typeOf(x).shape.slice(2).map((extent) => staticExtent(context, extent, "a spatial axis"));
  const listed = wantsShape ? attributes.ints("output_shape") : spatial.map((extent, axis) => extent * strides[axis]);
  const wanted = listed.length === rank + 2 ? listed.slice(2) : listed;
  if (wanted.length !== rank) return malformed(context, `output_shape must hold ${rank} integers`);
  const totals = spatial.map((extent, axis) =>
    strides[axis] * (extent - 1) + outputPadding[axis] + dilations[axis] * (kernel[axis] - 1) + 1 - wanted[axis]
  );
  const split = totals.map((total) => splitPadding(Math.max(0, total), autoPad));
  return {
    pads: [...split.map(([begin]) => begin), ...split.map(([, end]) => end)],
    outputPadding: outputPadding.map((extra, axis) => extra + Math.max(0, -totals[axis])),
  };
}

function importConvTranspose(context: ImportContext): readonly ValueName[] {
  const [x, weights, bias] = [context.input(0), context.input(1), context.optional(2)];
  const kernel = kernelOf(context, weights);
  const rank = kernel.length;
  if (rank < 1 || context.typeOf(x).shape.length !== rank + 2) {
    return malformed(context, `input has rank ${context.typeOf(x).shape.length}, weights have rank ${rank + 2}`);
  }
  const strides = perAxisAttribute(context, "strides", rank);
  const dilations = perAxisAttribute(context, "dilations", rank);
  const { pads, outputPadding } = transposePadding(context, x, kernel, strides, dilations);
  const groups = groupsOf(context);
  return [context.builder.add("convTranspose", bias === undefined ? [x, weights] : [x, weights, bias], {
    strides,
    dilations,
    pads,
    outputPadding,
    groups,
  })];
}

/** Col2Im as the transposed convolution whose weights take entry i of a block to place i of the window. */
function importCol2Im(context: ImportContext): readonly ValueName[] {
  const x = context.input(0);
  const { shape, element } = context.typeOf(x);
  if (shape.length !== 3) return malformed(context, `the columns have rank ${shape.length}, wanted 3`);
  const [batch, width] = shape;
  const [image, kernel] = [context.integers(1), context.integers(2)];
  const rank = image.length;
  const strides = perAxisAttribute(context, "strides", rank);
  const dilations = perAxisAttribute(context, "dilations", rank);
  const pads = padsAttribute(context, rank);
  const block = sizeOf(kernel);
  const channels = staticExtent(context, width, "the columns") / block;
  if (kernel.length !== rank || rank < 1 || block < 1 || !Number.isInteger(channels)) {
    return malformed(context, `columns of ${printExtent(width)} do not hold blocks of [${kernel}]`);
  }
  const rooms = image.map((extent, axis) =>
    extent + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1) - 1
  );
  const counts = rooms.map((room, axis) => Math.floor(room / strides[axis]) + 1);
  const weights = Array.from({ length: tableSize(context, channels * block * block) }, (_, index) => {
    const [row, place] = [Math.floor(index / block) % block, index % block];
    return row === place ? 1 : 0;
  });
  const columns = reshaped(context, x, [batch, channels * block, ...counts]);
  const w = floatConstant(context, element, [channels * block, 1, ...kernel], weights);
  return [context.builder.add("convTranspose", [columns, w], {
    strides,
    dilations,
    pads,
    outputPadding: rooms.map((room, axis) => room - (counts[axis] - 1) * strides[axis]),
    groups: channels,
  })];
}

export const convolutionImporters: OpImporterTable = {
  Conv: importConv,
  ConvTranspose: importConvTranspose,
  Col2Im: importCol2Im,
};
