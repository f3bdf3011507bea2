/** Linear layers of the float reference on tensors of rows: what weight solvers measure with. */

import { type PlainTensor, plainTensor } from "../ir/tensor.ts";
import { addProduct, rowMajor, transposed } from "../numeric/dense/product.ts";

/** x[..., K] · weights[N, K]ᵀ (+ bias[N]), of shape [..., N], in float32. */
export function linearRows(
  x: PlainTensor<"f32">,
  weights: PlainTensor<"f32">,
  bias: PlainTensor<"f32"> | undefined,
): PlainTensor<"f32"> {
  const [outputs, inputs] = weights.shape;
  const rows = x.data.length / inputs;
  const data = new Float32Array(rows * outputs);
  if (bias !== undefined) { for (let row = 0; row < rows; row++) data.set(bias.data, row * outputs); }
  const factors = transposed(rowMajor(weights.data, outputs, inputs));
  addProduct(rowMajor(data, rows, outputs), rowMajor(x.data, rows, inputs), factors, { precision: "f32" });
  return plainTensor("f32", [...x.shape.slice(0, -1), outputs], data);
}
