/** Pooling over windows and over whole maps. */

import { binary, unary } from "../../../ir/expression.ts";
import type { OpAttributes, ValueName } from "../../../ir/node.ts";
import { emptyTensor, sizeOf } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { number } from "./expressions.ts";
import { malformed } from "./faults.ts";
import { mapOf, reshaped, staticShape, tableSize, widened, workElement } from "./operands.ts";
import { meanOf, reduced } from "./reduction.ts";
import { padsAttribute, perAxisAttribute, pooledExtents, type Window, windowOf } from "./window.ts";

interface Pooling {
  readonly x: ValueName;
  readonly window: Window;
  readonly outputExtents: readonly number[];
}

/** Reads the attributes that all pooling ops share; `ceilSince` and `dilatesSince` are the opsets that brought them. */
function poolingOf(context: ImportContext, ceilSince: number, dilatesSince: number): Pooling {
  const { attributes, opset } = context.node;
  const x = context.input(0);
  const spatial = staticShape(context, x, "the input").slice(2);
  const kernel = attributes.ints("kernel_shape");
  if (kernel.length !== spatial.length || kernel.length < 1 || kernel.some((extent) => extent < 1)) {
    return malformed(context, `kernel_shape is [${kernel}], the input has ${spatial.length} spatial axes`);
  }
  tableSize(context, sizeOf(kernel));
  const window = windowOf(context, spatial, kernel, { dilates: opset >= dilatesSince });
  const ceil = opset >= ceilSince && attributes.int("ceil_mode", 0) !== 0;
  return { x, window, outputExtents: pooledExtents(context, spatial, window, ceil) };
}

function poolNode(
  context: ImportContext,
  { x, window, outputExtents }: Pooling,
  options: Pick<OpAttributes["pool"], "kind" | "countPadding" | "norm">,
): ValueName {
  return context.builder.add("pool", [x], { ...window, ...options, layout: "channelsFirst", outputExtents });
}

/** MaxPool; its second output holds flat indices into the whole input. */
function importMaxPool(context: ImportContext): readonly ValueName[] {
  const { attributes, outputUsed } = context.node;
  const pooling = poolingOf(context, 10, 10);
  const columnMajor = attributes.int("storage_order", 0) !== 0;
  const y = poolNode(context, pooling, { kind: "max", countPadding: false, norm: 2 });
  if (outputUsed[1] !== true) return [y];
  const { x, window, outputExtents } = pooling;
  const indices = context.builder.add("poolIndices", [x], {
    ...window,
    layout: "channelsFirst",
    outputExtents,
    columnMajor,
  });
  return [y, indices];
}

function importAveragePool(context: ImportContext): readonly ValueName[] {
  const pooling = poolingOf(context, 10, 19);
  const countPadding = context.node.attributes.int("count_include_pad", 0) !== 0;
  return [poolNode(context, pooling, { kind: "average", countPadding, norm: 2 })];
}

function importLpPool(context: ImportContext): readonly ValueName[] {
  const pooling = poolingOf(context, 18, 18);
  const norm = context.node.attributes.int("p", 2);
  if (norm < 1) return malformed(context, `p is ${norm}`);
  return [poolNode(context, pooling, { kind: "lp", countPadding: false, norm })];
}

/** All axes after the channels. */
function wholeMap(context: ImportContext): { readonly x: ValueName; readonly axes: readonly number[] } {
  const x = context.input(0);
  const rank = context.typeOf(x).shape.length;
  if (rank < 3) return malformed(context, `${context.node.opType} wants rank 3 or more, got ${rank}`);
  return { x, axes: Array.from({ length: rank - 2 }, (_, index) => index + 2) };
}

function importGlobalAveragePool(context: ImportContext): readonly ValueName[] {
  const { x, axes } = wholeMap(context);
  return [meanOf(context, x, { axes, keepAxes: true })];
}

function importGlobalMaxPool(context: ImportContext): readonly ValueName[] {
  const { x, axes } = wholeMap(context);
  return [reduced(context, x, "max", { axes, keepAxes: true })];
}

/** (Σ |x|^p)^(1/p) over the whole map. */
function importGlobalLpPool(context: ImportContext): readonly ValueName[] {
  const { x, axes } = wholeMap(context);
  const p = context.node.attributes.int("p", 2);
  if (p < 1) return malformed(context, `p is ${p}`);
  const { element } = context.typeOf(x);
  const work = workElement(element);
  const powers = mapOf(
    context,
    [widened(context, x)],
    ([value]) => binary("pow", unary("abs", value), number(work, p)),
  );
  const sum = reduced(context, powers, "sum", { axes, keepAxes: true });
  const root = mapOf(context, [sum], ([total]) => binary("pow", total, number(work, 1 / p)));
  return [context.builder.cast(root, element)];
}

/**
 * MaxUnpool: each value goes to its flat index of the extents that the pool's window implies; a larger `output_shape`
 * adds zeros at the end of the axes.
 */
function importMaxUnpool(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const [x, indices] = [context.input(0), context.input(1)];
  const shape = staticShape(context, x, "the input");
  const rank = shape.length - 2;
  const kernel = attributes.ints("kernel_shape");
  if (kernel.length !== rank || kernel.some((extent) => extent < 1)) {
    return malformed(context, `kernel_shape is [${kernel}]`);
  }
  const strides = perAxisAttribute(context, "strides", rank);
  const pads = padsAttribute(context, rank);
  const inferred = shape.map((extent, axis) => {
    const spatial = axis - 2;
    if (spatial < 0) return extent;
    return (extent - 1) * strides[spatial] + kernel[spatial] - pads[spatial] - pads[spatial + rank];
  });
  const { element } = context.typeOf(x);
  const count = sizeOf(shape);
  const zeros = context.builder.constant(emptyTensor(element, [tableSize(context, sizeOf(inferred))]));
  const flat = context.builder.add(
    "scatterElements",
    [zeros, reshaped(context, indices, [count]), reshaped(context, x, [count])],
    { axis: 0, reduction: "none" },
  );
  const map = reshaped(context, flat, inferred);
  if (context.optional(2) === undefined) return [map];
  const wanted = context.integers(2);
  if (wanted.length !== shape.length || wanted.some((extent, axis) => extent < inferred[axis])) {
    return malformed(context, `output_shape [${wanted}] is smaller than [${inferred}]`);
  }
  const after = wanted.map((extent, axis) => extent - inferred[axis]);
  if (after.every((extra) => extra === 0)) return [map];
  return [context.builder.add("pad", [map], { before: shape.map(() => 0), after, mode: "constant" })];
}

export const poolingImporters: OpImporterTable = {
  MaxPool: importMaxPool,
  AveragePool: importAveragePool,
  LpPool: importLpPool,
  GlobalAveragePool: importGlobalAveragePool,
  GlobalMaxPool: importGlobalMaxPool,
  GlobalLpPool: importGlobalLpPool,
  MaxUnpool: importMaxUnpool,
};
