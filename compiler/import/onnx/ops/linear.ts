/** MatMul and Gemm. */

import { type Extent, isStatic } from "../../../ir/extent.ts";
import { equalShapes } from "../../../ir/extent.ts";
import type { ValueName } from "../../../ir/node.ts";
import { plainTensor } from "../../../ir/tensor.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { add, mul, number } from "./expressions.ts";
import { malformed } from "./faults.ts";
import { mapOf, numbersOf, plainConstant, reshaped, transposed } from "./operands.ts";

/** matmul of operands of rank 2 or more, plain in and out. */
export function matmul(
  context: ImportContext,
  a: ValueName,
  b: ValueName,
  options: { readonly transposeB?: boolean; readonly bias?: ValueName } = {},
): ValueName {
  const { transposeB = false, bias } = options;
  const inputs = bias === undefined ? [a, b] : [a, b, bias];
  return context.builder.add("matmul", inputs, { transposeB, hasBias: bias !== undefined, result: { kind: "real" } });
}

/** numpy's matmul: a vector on the left is a row, one on the right a column, and their axis is dropped again. */
function importMatMul(context: ImportContext): readonly ValueName[] {
  const [a, b] = [context.input(0), context.input(1)];
  const [left, right] = [context.typeOf(a).shape, context.typeOf(b).shape];
  if (left.length === 0 || right.length === 0) return malformed(context, "MatMul of a scalar");
  const rows = left.length === 1 ? reshaped(context, a, [1, left[0]]) : a;
  const columns = right.length === 1 ? reshaped(context, b, [right[0], 1]) : b;
  const product = matmul(context, rows, columns);
  if (left.length > 1 && right.length > 1) return [product];
  const { shape } = context.typeOf(product);
  const kept = shape.filter((_, axis) =>
    !(axis === shape.length - 2 && left.length === 1) && !(axis === shape.length - 1 && right.length === 1)
  );
  return [reshaped(context, product, kept)];
}

/** alpha * A' * B' + beta * C. C becomes the bias of the matmul where it is one entry per column and alpha is 1. */
function importGemm(context: ImportContext): readonly ValueName[] {
  const { attributes } = context.node;
  const alpha = attributes.float("alpha", 1);
  const beta = attributes.float("beta", 1);
  const transposeA = attributes.int("transA", 0) !== 0;
  const transposeB = attributes.int("transB", 0) !== 0;
  const [a, b, c] = [context.input(0), context.input(1), context.optional(2)];
  if (context.typeOf(a).shape.length !== 2 || context.typeOf(b).shape.length !== 2) {
    return malformed(context, "Gemm wants matrices");
  }
  const rows = transposeA ? transposed(context, a, [1, 0]) : a;
  const columns = context.typeOf(b).shape[transposeB ? 0 : 1];
  const bias = c === undefined || beta === 0 || alpha !== 1 ? undefined : biasOf(context, c, columns, beta);
  const product = matmul(context, rows, b, { transposeB, bias });
  if (bias !== undefined) return [product];
  const { element } = context.typeOf(product);
  if (c === undefined || beta === 0) {
    return [alpha === 1 ? product : mapOf(context, [product], ([x]) => mul(x, number(element, alpha)))];
  }
  return [mapOf(context, [product, c], ([x, offset]) => {
    const grown = alpha === 1 ? x : mul(x, number(element, alpha));
    return add(grown, beta === 1 ? offset : mul(offset, number(element, beta)));
  })];
}

/** C as a vector of one entry per column, times beta; undefined when it varies along the rows or beta needs run time. */
function biasOf(context: ImportContext, c: ValueName, columns: Extent, beta: number): ValueName | undefined {
  const { shape, element } = context.typeOf(c);
  const row = shape.length === 2 && shape[0] === 1 ? shape.slice(1) : shape;
  if (!equalShapes(row, [columns]) || !isStatic(columns)) return undefined;
  if (beta === 1) return reshaped(context, c, [columns]);
  const tensor = plainConstant(context, c);
  if (tensor === undefined || element !== "f32") return undefined;
  const scaled = Float32Array.from(numbersOf(tensor), (entry) => entry * beta);
  return context.builder.constant(plainTensor("f32", [columns], scaled));
}

export const linearImporters: OpImporterTable = {
  MatMul: importMatMul,
  Gemm: importGemm,
};
