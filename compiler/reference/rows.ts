/** Matrix products of the float reference on tensors of rows: what weight solvers measure with. */

import * as tf from "@tensorflow/tfjs-core";
import { type PlainTensor, plainTensor } from "../ir/tensor.ts";

function matrixOf(tensor: PlainTensor<"f32">): tf.Tensor2D {
  const columns = tensor.shape[tensor.shape.length - 1];
  return tf.tensor2d(tensor.data, [tensor.data.length / columns, columns]);
}

/** XᵀX [K, K] of x[..., K], summed in float32 within a tensor. */
export function gramOf(x: PlainTensor<"f32">): Float32Array {
  return tf.tidy(() => {
    const rows = matrixOf(x);
    return Float32Array.from(tf.matMul(rows, rows, true, false).dataSync());
  });
}

/** x[..., K] · weights[N, K]ᵀ (+ bias[N]), of shape [..., N]. */
export function linearRows(
  x: PlainTensor<"f32">,
  weights: PlainTensor<"f32">,
  bias: PlainTensor<"f32"> | undefined,
): PlainTensor<"f32"> {
  const data = tf.tidy(() => {
    const product = tf.matMul(matrixOf(x), matrixOf(weights), false, true);
    const sum = bias === undefined ? product : tf.add(product, tf.tensor1d(bias.data));
    return Float32Array.from(sum.dataSync());
  });
  return plainTensor("f32", [...x.shape.slice(0, -1), weights.shape[0]], data);
}
