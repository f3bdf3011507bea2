/** attention and rope. Scores, softmax and sums in doubles, rounded once. */

import type { OpAttributes } from "../node.ts";
import type { PlainTensor, Tensor } from "../tensor.ts";
import { dotRows, type Rows } from "./dot.ts";
import { type Evaluate, plainInput } from "./environment.ts";
import { floatData, readNumbers, storeNumbers } from "./numbers.ts";
import { decodedOperand } from "./operand_rows.ts";
import { broadcastStrides } from "./strided.ts";
import { InvariantError } from "../../diagnostics.ts";

export const evaluateRope: Evaluate<"rope"> = (inputs, { extent, interleaved, fromPast }, environment) => {
  const x = plainInput(inputs, 0);
  const cos = readNumbers(plainInput(inputs, 1));
  const sin = readNumbers(plainInput(inputs, 2));
  const [rows, half] = plainInput(inputs, 1).shape;
  const [batch, length, heads, width] = x.shape;
  const first = fromPast ? environment.states.past : 0;
  if (first + length > rows) throw new InvariantError(`rope needs ${first + length} table rows, has ${rows}`);
  const result = readNumbers(x);
  const step = interleaved ? 1 : half;
  for (let row = 0; row < batch * length * heads; row++) {
    const table = (first + Math.floor(row / heads) % length) * half;
    for (let pair = 0; pair < extent / 2; pair++) {
      const at = row * width + (interleaved ? 2 * pair : pair);
      const a = result[at];
      const b = result[at + step];
      result[at] = a * cos[table + pair] - b * sin[table + pair];
      result[at + step] = b * cos[table + pair] + a * sin[table + pair];
    }
  }
  return [storeNumbers(x.element, x.shape, result)];
};

export const evaluateAttention: Evaluate<"attention"> = (inputs, attributes) => {
  const q = plainInput(inputs, 0);
  const k = decodedOperand(inputs[1]);
  const v = decodedOperand(inputs[2]);
  const [batch, length, heads, width] = q.shape;
  const [, keys, groups] = k.shape;
  const valueWidth = v.shape[3];
  const mask = inputs.length > 3 ? maskReader(inputs[3], [batch, heads, length, keys]) : undefined;
  const result = new Float64Array(batch * length * heads * valueWidth);
  const scores = new Float64Array(length * keys);
  const sums = new Float64Array(length * valueWidth);
  const shared = heads / groups;
  for (let sample = 0; sample < batch; sample++) {
    for (let group = 0; group < groups; group++) {
      const keyRows = headRows(floatData(k), sample, group, keys, groups, width);
      const valueColumns = transposed(headRows(floatData(v), sample, group, keys, groups, valueWidth), keys);
      for (let head = group * shared; head < (group + 1) * shared; head++) {
        const queries = headRows(floatData(q), sample, head, length, heads, width);
        dotRows(
          { data: queries, offset: 0, count: length },
          { data: keyRows, offset: 0, count: keys },
          width,
          0,
          width,
          { data: scores, offset: 0, stride: keys },
        );
        const weights = valueColumns instanceof Float32Array
          ? new Float32Array(scores.length)
          : new Float64Array(scores.length);
        const totals = softmaxRows(
          scores,
          length,
          keys,
          attributes,
          weights,
          (row, key) => mask === undefined ? 0 : mask(sample, head, row, key),
        );
        dotRows(
          { data: weights, offset: 0, count: length },
          { data: valueColumns, offset: 0, count: valueWidth },
          keys,
          0,
          keys,
          { data: sums, offset: 0, stride: valueWidth },
        );
        for (let row = 0; row < length; row++) {
          const to = ((sample * length + row) * heads + head) * valueWidth;
          for (let index = 0; index < valueWidth; index++) {
            result[to + index] = totals[row] === 0 ? 0 : sums[row * valueWidth + index] / totals[row];
          }
        }
      }
    }
  }
  return [storeNumbers(q.element, [batch, length, heads, valueWidth], result)];
};

/** Rows of one head of [B, L, H, D], dense. */
function headRows(data: Rows, sample: number, head: number, length: number, heads: number, width: number): Rows {
  const rows = data instanceof Float32Array ? new Float32Array(length * width) : new Float64Array(length * width);
  for (let row = 0; row < length; row++) {
    const from = ((sample * length + row) * heads + head) * width;
    rows.set(data.subarray(from, from + width), row * width);
  }
  return rows;
}

function transposed(rows: Rows, count: number): Rows {
  const width = count === 0 ? 0 : rows.length / count;
  const columns = rows instanceof Float32Array ? new Float32Array(rows.length) : new Float64Array(rows.length);
  for (let row = 0; row < count; row++) {
    for (let index = 0; index < width; index++) columns[index * count + row] = rows[row * width + index];
  }
  return columns;
}

/** Writes exp(score - max) of every row to `weights` and returns the row sums; a row that sees no key sums to 0. */
function softmaxRows(
  scores: Float64Array,
  length: number,
  keys: number,
  { scale, causal, softcap, window }: OpAttributes["attention"],
  weights: Rows,
  mask: (row: number, key: number) => number,
): Float64Array {
  const totals = new Float64Array(length);
  for (let row = 0; row < length; row++) {
    const last = keys - length + row;
    const end = causal ? Math.max(0, Math.min(keys, last + 1)) : keys;
    const begin = window > 0 ? Math.max(0, last + 1 - window) : 0;
    const base = row * keys;
    let most = -Infinity;
    for (let key = begin; key < end; key++) {
      let score = scale * scores[base + key];
      if (softcap !== 0) score = softcap * Math.tanh(score / softcap);
      score += mask(row, key);
      scores[base + key] = score;
      most = Math.max(most, score);
    }
    weights.fill(0, base, base + keys);
    if (most === -Infinity) continue;
    for (let key = begin; key < end; key++) {
      weights[base + key] = Math.exp(scores[base + key] - most);
      totals[row] += weights[base + key];
    }
  }
  return totals;
}

/** What the mask adds to a score: its value, or 0 and -Infinity for true and false. */
function maskReader(
  tensor: Tensor,
  shape: readonly number[],
): (sample: number, head: number, row: number, key: number) => number {
  const mask: PlainTensor = decodedOperand(tensor);
  const strides = broadcastStrides(mask.shape, shape);
  const values = readNumbers(mask);
  const at = (sample: number, head: number, row: number, key: number) =>
    values[sample * strides[0] + head * strides[1] + row * strides[2] + key * strides[3]];
  return mask.element === "bool" ? (...place) => (at(...place) === 0 ? -Infinity : 0) : at;
}
