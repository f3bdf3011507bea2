/** attention and rope. Scores, softmax and sums in doubles, rounded once. */

import type { OpAttributes } from "../node.ts";
import type { PlainTensor, Tensor } from "../tensor.ts";
import { dotRows, type RowBlock, type Rows } from "./dot.ts";
import { type Environment, plainInput } from "./environment.ts";
import { floatData, readNumbers, storeNumbers } from "./numbers.ts";
import { decodedOperand } from "./operand_rows.ts";
import { broadcastStrides } from "./strided.ts";
import { fail } from "../../diagnostics.ts";

export function evaluateRope(
  inputs: readonly Tensor[],
  { extent, interleaved, fromPast }: OpAttributes["rope"],
  environment: Environment,
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const cos = readNumbers(plainInput(inputs, 1));
  const sin = readNumbers(plainInput(inputs, 2));
  const [rows, half] = plainInput(inputs, 1).shape;
  const [batch, length, heads, width] = x.shape;
  const first = fromPast ? environment.states.past : 0;
  if (first + length > rows) {
    fail("Q0122", `Position ${first + length - 1} has no rotation: the tables of rope have ${rows} rows`, {
      help: "Reset or rewind the states, or compile with a longer context",
    });
  }
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
}

export function evaluateAttention(inputs: readonly Tensor[], attributes: OpAttributes["attention"]): readonly Tensor[] {
  const q = plainInput(inputs, 0);
  const k = decodedOperand(inputs[1]);
  const v = decodedOperand(inputs[2]);
  const [batch, length, heads, width] = q.shape;
  const [, keys, groups] = k.shape;
  const valueWidth = v.shape[3];
  const mask = inputs.length > 3 ? maskReader(inputs[3], [batch, heads, length, keys]) : undefined;
  const data = { q: floatData(q), k: floatData(k), v: floatData(v) };
  const result = new Float64Array(batch * length * heads * valueWidth);
  const shared = heads / groups;
  for (let sample = 0; sample < batch; sample++) {
    for (let group = 0; group < groups; group++) {
      const keyRows = headRows(data.k, sample, group, keys, groups, width);
      const valueColumns = transposed(headRows(data.v, sample, group, keys, groups, valueWidth), valueWidth);
      for (let head = group * shared; head < (group + 1) * shared; head++) {
        const queries = headRows(data.q, sample, head, length, heads, width);
        const sums = attendHead({ queries, keyRows, valueColumns, width }, attributes, mask?.(sample, head));
        for (let row = 0; row < length; row++) {
          const from = row * valueWidth;
          const to = ((sample * length + row) * heads + head) * valueWidth;
          result.set(sums.subarray(from, from + valueWidth), to);
        }
      }
    }
  }
  return [storeNumbers(q.element, [batch, length, heads, valueWidth], result)];
}

/** One head's operands: queries and keys of `width`, and the values' columns, each of one entry per key. */
interface Head {
  readonly queries: RowBlock;
  readonly keyRows: RowBlock;
  readonly valueColumns: RowBlock;
  readonly width: number;
}

/** softmax(queries · keys) · values as [queries, values]; a row that sees no key is 0. */
function attendHead(
  { queries, keyRows, valueColumns, width }: Head,
  attributes: OpAttributes["attention"],
  mask: HeadMask | undefined,
): Float64Array<ArrayBuffer> {
  const length = queries.count;
  const keys = keyRows.count;
  const scores = new Float64Array(length * keys);
  dotRows(queries, keyRows, width, 0, width, { data: scores, offset: 0, stride: keys });
  const weights = likeRows(valueColumns.data, scores.length);
  const totals = softmaxRows(scores, length, keys, attributes, weights, mask);
  const stride = valueColumns.count;
  const sums = new Float64Array(length * stride);
  dotRows({ data: weights, offset: 0, count: length }, valueColumns, keys, 0, keys, { data: sums, offset: 0, stride });
  for (let row = 0, at = 0; row < length; row++) {
    for (let column = 0; column < stride; column++, at++) sums[at] = totals[row] === 0 ? 0 : sums[at] / totals[row];
  }
  return sums;
}

function likeRows(rows: Rows, length: number): Rows {
  return rows instanceof Float32Array ? new Float32Array(length) : new Float64Array(length);
}

/** Rows of one head of [B, L, H, D], dense. */
function headRows(data: Rows, sample: number, head: number, length: number, heads: number, width: number): RowBlock {
  const rows = likeRows(data, length * width);
  for (let row = 0; row < length; row++) {
    const from = ((sample * length + row) * heads + head) * width;
    rows.set(data.subarray(from, from + width), row * width);
  }
  return { data: rows, offset: 0, count: length };
}

function transposed(rows: RowBlock, width: number): RowBlock {
  const columns = likeRows(rows.data, rows.data.length);
  for (let row = 0; row < rows.count; row++) {
    for (let index = 0; index < width; index++) columns[index * rows.count + row] = rows.data[row * width + index];
  }
  return { data: columns, offset: 0, count: width };
}

/** Writes exp(score - max) of every row to `weights` and returns the row sums; a row that sees no key sums to 0. */
function softmaxRows(
  scores: Float64Array,
  length: number,
  keys: number,
  { scale, causal, softcap, window }: OpAttributes["attention"],
  weights: Rows,
  mask: HeadMask | undefined,
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
      if (mask !== undefined) score += mask(row, key);
      scores[base + key] = score;
      most = Math.max(most, score);
    }
    if (most === -Infinity) continue;
    for (let key = begin; key < end; key++) {
      weights[base + key] = Math.exp(scores[base + key] - most);
      totals[row] += weights[base + key];
    }
  }
  return totals;
}

/** What the mask adds to a score of one head. */
type HeadMask = (row: number, key: number) => number;

/** Masks of heads: the mask's value, or 0 and -Infinity for true and false. */
function maskReader(tensor: Tensor, shape: readonly number[]): (sample: number, head: number) => HeadMask {
  const mask: PlainTensor = decodedOperand(tensor);
  const strides = broadcastStrides(mask.shape, shape);
  const values = mask.element === "bool"
    ? Float64Array.from(readNumbers(mask), (entry) => (entry === 0 ? -Infinity : 0))
    : readNumbers(mask);
  return (sample, head) => {
    const base = sample * strides[0] + head * strides[1];
    return (row, key) => values[base + row * strides[2] + key * strides[3]];
  };
}
