/** Constant weights as matrices [depth, columns]: what packers read. */

import { type QuantizedTensor, sizeOf, stridesOf, type Tensor } from "../../../compiler/ir/tensor.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { outerScheme, stepShape } from "../../../compiler/numeric/scheme.ts";

/** Entry (k, n) lies at `k * depthStride + n * columnStride`. Panels never hold columns of two groups. */
export interface MatrixView {
  readonly depth: number;
  readonly columns: number;
  readonly depthStride: number;
  readonly columnStride: number;
  /** Columns of a group: all of them in a matmul. */
  readonly groupColumns: number;
}

/** The last two axes of a matmul's `b` as depth and columns. Leading axes must have extent 1. */
export function matmulView(shape: readonly number[], transposeB: boolean): MatrixView | undefined {
  if (shape.length < 2 || sizeOf(shape.slice(0, -2)) !== 1) return undefined;
  const [rows, columns] = shape.slice(-2);
  return transposeB
    ? { depth: columns, columns: rows, depthStride: 1, columnStride: columns, groupColumns: rows }
    : { depth: rows, columns, depthStride: columns, columnStride: 1, groupColumns: columns };
}

/** Channels-last conv weights [M, ...kernel, C / groups]: one column per output channel. */
export function convView(shape: readonly number[], groups: number): MatrixView {
  const depth = sizeOf(shape.slice(1));
  return { depth, columns: shape[0], depthStride: 1, columnStride: depth, groupColumns: shape[0] / groups };
}

/** Panels of all groups. */
export function panelCount(view: MatrixView, panelColumns: number): number {
  return (view.columns / view.groupColumns) * Math.ceil(view.groupColumns / panelColumns);
}

/** The panel of a column, and its place there. */
export function panelPlace(
  view: MatrixView,
  panelColumns: number,
  column: number,
): { readonly panel: number; readonly lane: number } {
  const within = column % view.groupColumns;
  const first = ((column - within) / view.groupColumns) * Math.ceil(view.groupColumns / panelColumns);
  return { panel: first + Math.floor(within / panelColumns), lane: within % panelColumns };
}

/** A quantized matrix: codes at `view`, and one step (zero, offset) per block of the depth and block of columns. */
export interface QuantizedMatrix {
  readonly view: MatrixView;
  /** Extent of the depth that shares a step; the whole depth when there is one block. */
  readonly block: number;
  readonly blocks: number;
  readonly codes: ArrayLike<number>;
  readonly steps: Float32Array;
  readonly zeros?: Int32Array;
  readonly offsets?: Float32Array;
  /** Two-level steps: the outer step of each column, where it is one for the whole depth. */
  readonly outerStep?: (column: number) => number;
  /** Index into the step arrays of the block that holds (k, n). */
  readonly stepIndex: (depthBlock: number, column: number) => number;
}

/** Codes of at most 8 bits, or undefined. */
function byteCodes(tensor: QuantizedTensor): Int8Array | Uint8Array | undefined {
  const { data } = tensor.codes;
  return data instanceof Int8Array || data instanceof Uint8Array ? data : undefined;
}

/** A quantized matrix over axes: the columns' axis and the axis of the depth (the other axes have extent 1 or one block). */
export function quantizedMatrix(
  tensor: Tensor,
  view: MatrixView,
  columnAxis: number,
  depthAxis: number | "whole",
): QuantizedMatrix | undefined {
  if (tensor.kind !== "quantized") return undefined;
  const codes = byteCodes(tensor);
  if (codes === undefined) return undefined;
  const { scheme, shape } = tensor;
  const grid = stepShape(scheme, shape);
  if (grid.some((extent, axis) => extent !== 1 && axis !== columnAxis && axis !== depthAxis)) return undefined;
  const strides = stridesOf(grid);
  const columnBlock = blockExtent(scheme, shape, columnAxis);
  const outer = outerStepOf(tensor, columnAxis);
  if (outer === "varies") return undefined;
  const block = depthAxis === "whole" ? view.depth : blockExtent(scheme, shape, depthAxis);
  const depthStride = depthAxis === "whole" ? 0 : strides[depthAxis];
  return {
    view,
    block,
    blocks: Math.ceil(view.depth / block),
    codes,
    steps: tensor.steps.data,
    zeros: tensor.zeros?.data,
    offsets: tensor.offsets?.data,
    ...(outer === undefined ? {} : { outerStep: outer }),
    stepIndex: (depth, column) => depth * depthStride + Math.floor(column / columnBlock) * strides[columnAxis],
  };
}

/** Outer steps by column; undefined for one level, `varies` where they change along another axis. */
function outerStepOf(
  { scheme, shape, outerSteps }: QuantizedTensor,
  columnAxis: number,
): ((column: number) => number) | "varies" | undefined {
  if (outerSteps === undefined) return undefined;
  const outer = outerScheme(scheme);
  const { data, shape: grid } = outerSteps;
  if (grid.some((extent, axis) => extent !== 1 && axis !== columnAxis)) return "varies";
  const block = blockExtent(outer, shape, columnAxis);
  return (column) => data[Math.floor(column / block)];
}

function blockExtent(scheme: QuantScheme, shape: readonly number[], axis: number): number {
  const block = scheme.block[axis];
  return block === "all" || block === undefined ? shape[axis] : Math.min(block, shape[axis]);
}
