/** Puts query and key rows back from neighbouring rotary pairs to halves. */

import { allocate } from "../../numeric/element.ts";
import { type PlainTensor, plainTensor, type Tensor } from "../../ir/tensor.ts";

/**
 * llama.cpp stores row h*D + 2j + p where the half-split form has h*D + p*R/2 + j (j < R/2, p in {0, 1}); rows from R on
 * stay. Permuting query and key rows alike leaves q·k unchanged, and the rotation of pairs (j, j + R/2) follows.
 */
export function halvesFromPairs(tensor: Tensor, headExtent: number, rotated: number): Tensor {
  const rows = Array.from({ length: tensor.shape[0] }, (_, row) => {
    const within = row % headExtent;
    if (within >= rotated) return row;
    const half = within < rotated / 2 ? 0 : 1;
    return row - within + 2 * (within - half * rotated / 2) + half;
  });
  if (tensor.kind === "plain") return takeRows(tensor, rows);
  const { codes, steps, offsets, zeros } = tensor;
  return {
    ...tensor,
    codes: takeRows(codes, rows),
    steps: takeRows(steps, rows),
    ...(zeros === undefined ? {} : { zeros: takeRows(zeros, rows) }),
    ...(offsets === undefined ? {} : { offsets: takeRows(offsets, rows) }),
  };
}

/** Row i of the result is row rows[i] of the tensor. */
function takeRows<T extends PlainTensor>(tensor: T, rows: readonly number[]): T {
  const width = tensor.data.length / tensor.shape[0];
  const data = allocate(tensor.element, tensor.data.length);
  // Both arrays have the tensor's element; the union of array types hides it from the checker.
  const target = data as Float32Array;
  const source = tensor.data as Float32Array;
  rows.forEach((from, to) => target.set(source.subarray(from * width, (from + 1) * width), to * width));
  return { ...tensor, ...plainTensor(tensor.element, tensor.shape, data) };
}
