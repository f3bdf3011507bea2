/** Matmul and attention from tfjs ops. */

import * as tf from "@tensorflow/tfjs-core";
import type { OpAttributes } from "../ir/node.ts";

/** a[..., M, K] times b[..., K, N] (or its transpose), leading axes broadcast. */
export function matrixProduct(a: tf.Tensor, b: tf.Tensor, transposeB: boolean): tf.Tensor {
  const columns = b.shape[b.shape.length - (transposeB ? 2 : 1)];
  if (b.shape.length === 2) {
    const inner = a.shape[a.shape.length - 1];
    const rows = a.shape.slice(0, -1);
    const flat = tf.matMul(tf.reshape(a, [product(rows), inner]), b, false, transposeB);
    return tf.reshape(flat, [...rows, columns]);
  }
  const rank = Math.max(a.shape.length, b.shape.length);
  const lead = Array.from(
    { length: rank - 2 },
    (_, axis) => Math.max(extentFromEnd(a.shape, rank - axis), extentFromEnd(b.shape, rank - axis)),
  );
  const batch = product(lead);
  const left = flatBatch(a, lead, batch);
  const right = flatBatch(b, lead, batch);
  const result = stackedProduct(left, transposeB ? tf.transpose(right, [0, 2, 1]) : right);
  return tf.reshape(result, [...lead, a.shape[a.shape.length - 2], columns]);
}

/** a[B, M, K] · b[B, K, N], matrix by matrix: the fast product of tfjs' wasm backend takes one untransposed pair at a time. */
function stackedProduct(a: tf.Tensor3D, b: tf.Tensor3D): tf.Tensor3D {
  const [batch, rows, inner] = a.shape;
  const columns = b.shape[2];
  if (batch * rows * inner * columns === 0) return tf.matMul(a, b);
  const products = tf.unstack(a).map((left, index) =>
    tf.matMul<tf.Tensor2D>(
      tf.reshape(left, [rows, inner]),
      tf.reshape(tf.slice(b, [index, 0, 0], [1, inner, columns]), [inner, columns]),
    )
  );
  return tf.reshape(tf.stack(products), [batch, rows, columns]);
}

function extentFromEnd(shape: readonly number[], place: number): number {
  return shape[shape.length - place] ?? 1;
}

/** [..., R, C] broadcast to the leading axes and flattened to [batch, R, C]. */
function flatBatch(x: tf.Tensor, lead: readonly number[], batch: number): tf.Tensor3D {
  const [rows, columns] = x.shape.slice(-2);
  const full = [...lead, rows, columns];
  const own = x.shape.length === full.length && x.shape.every((extent, axis) => extent === full[axis]);
  const spread = own ? x : tf.broadcastTo(x, full);
  return tf.reshape<tf.Rank.R3>(spread, [batch, rows, columns]);
}

function product(extents: readonly number[]): number {
  return extents.reduce((size, extent) => size * extent, 1);
}

/** softmax(softcap(scale * q·k) + mask)·v over q [B,T,H,D], k [B,S,G,D], v [B,S,G,E]; the mask adds, and is broadcast to [B,H,T,S]. */
export function attention(
  q: tf.Tensor,
  k: tf.Tensor,
  v: tf.Tensor,
  mask: tf.Tensor | undefined,
  attributes: OpAttributes["attention"],
): tf.Tensor {
  const [batch, queries, heads, depth] = q.shape;
  const [, keys, groups] = k.shape;
  const perGroup = heads / groups;
  const extent: number = v.shape[v.shape.length - 1];
  // Heads of one group stand together, so that one product serves them all.
  const rows = tf.reshape<tf.Rank.R3>(tf.transpose(q, [0, 2, 1, 3]), [batch * groups, perGroup * queries, depth]);
  const columns = tf.reshape<tf.Rank.R3>(tf.transpose(k, [0, 2, 3, 1]), [batch * groups, depth, keys]);
  const values = tf.reshape<tf.Rank.R3>(tf.transpose(v, [0, 2, 1, 3]), [batch * groups, keys, extent]);
  let scores: tf.Tensor = tf.mul(stackedProduct(rows, columns), attributes.scale);
  if (attributes.softcap > 0) scores = tf.mul(tf.tanh(tf.div(scores, attributes.softcap)), attributes.softcap);
  scores = tf.reshape(scores, [batch, heads, queries, keys]);
  if (mask !== undefined) scores = tf.add(scores, mask);
  const hidden = positionMask(queries, keys, attributes);
  if (hidden !== undefined) scores = tf.add(scores, hidden);
  const weights = tf.reshape<tf.Rank.R3>(tf.softmax(scores), [batch * groups, perGroup * queries, keys]);
  const mixed = tf.reshape(stackedProduct(weights, values), [batch, heads, queries, extent]);
  return tf.transpose(mixed, [0, 2, 1, 3]);
}

/** Minus infinity where row t may not see key s; undefined where all may see all. */
function positionMask(
  queries: number,
  keys: number,
  { causal, window }: OpAttributes["attention"],
): tf.Tensor | undefined {
  if (!causal && window === 0) return undefined;
  const entries = new Float32Array(queries * keys);
  for (let t = 0; t < queries; t++) {
    const last = causal ? keys - queries + t : keys - 1;
    const first = window > 0 ? keys - queries + t - window + 1 : 0;
    for (let s = 0; s < keys; s++) if (s > last || s < first) entries[t * keys + s] = Number.NEGATIVE_INFINITY;
  }
  return tf.tensor2d(entries, [queries, keys]);
}
