/** Constant weights as matrices [depth, columns] with strides: what packers read. */

import type { Extent } from "../../../compiler/ir/extent.ts";
import { type PlainTensor, type QuantizedTensor, sizeOf, stridesOf } from "../../../compiler/ir/tensor.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { stepShape } from "../../../compiler/numeric/scheme.ts";

/** Where entry (k, n) lies in an array: `base + k * depthStride + n * columnStride`. */
export interface MatrixView {
  readonly depth: number;
  readonly columns: number;
  readonly depthStride: number;
  readonly columnStride: number;
}

/** The last two axes of `b` as depth and columns. Leading axes must have extent 1. */
export function matrixView(shape: readonly Extent[], transposeB: boolean): MatrixView | undefined {
  if (!shape.every((extent): extent is number => typeof extent === "number")) return undefined;
  if (shape.length < 2 || sizeOf(shape.slice(0, -2)) !== 1) return undefined;
  const [rows, columns] = shape.slice(-2);
  return transposeB
    ? { depth: columns, columns: rows, depthStride: 1, columnStride: columns }
    : { depth: rows, columns, depthStride: columns, columnStride: 1 };
}

/** A quantized matrix: codes at `view`, steps (and zeros, offsets) at `(floor(k / block), floor(n / columnBlock))`. */
export interface QuantizedMatrix {
  readonly view: MatrixView;
  readonly block: number;
  readonly blocks: number;
  readonly codes: ArrayLike<number>;
  readonly steps: Float32Array;
  readonly zeros?: Int32Array;
  readonly offsets?: Float32Array;
  /** Index into the step arrays of the block that holds (k, n). */
  readonly stepIndex: (depthBlock: number, column: number) => number;
}

/** Blocks of a scheme along the depth of a matrix: the extent that shares a step, the whole depth for `"all"`. */
export function depthBlock(scheme: QuantScheme, shape: readonly number[], transposeB: boolean): number {
  const axis = transposeB ? shape.length - 1 : shape.length - 2;
  const block = scheme.block[axis];
  return block === "all" || block === undefined ? shape[axis] : Math.min(block, shape[axis]);
}

export function quantizedMatrix(tensor: QuantizedTensor, transposeB: boolean): QuantizedMatrix | undefined {
  const view = matrixView(tensor.shape, transposeB);
  if (view === undefined || tensor.codes.element !== "i8" && tensor.codes.element !== "u8") return undefined;
  const rank = tensor.shape.length;
  const [depthAxis, columnAxis] = transposeB ? [rank - 1, rank - 2] : [rank - 2, rank - 1];
  const strides = stridesOf(stepShape(tensor.scheme, tensor.shape));
  const columnBlock = tensor.scheme.block[columnAxis];
  const block = depthBlock(tensor.scheme, tensor.shape, transposeB);
  return {
    view,
    block,
    blocks: Math.ceil(view.depth / block),
    codes: (tensor.codes as PlainTensor<"i8" | "u8">).data,
    steps: tensor.steps.data,
    zeros: tensor.zeros?.data,
    offsets: tensor.offsets?.data,
    stepIndex: (depth, column) =>
      depth * strides[depthAxis] +
      (columnBlock === "all" ? 0 : Math.floor(column / (columnBlock ?? 1))) * strides[columnAxis],
  };
}
