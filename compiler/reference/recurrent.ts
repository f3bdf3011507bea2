/** LSTM, GRU and plain recurrent cells, unrolled into tfjs ops. */

import * as tf from "@tensorflow/tfjs-core";
import type { OpAttributes, RecurrentActivation } from "../ir/node.ts";

const activations: { readonly [A in RecurrentActivation]: (x: tf.Tensor) => tf.Tensor } = {
  sigmoid: tf.sigmoid,
  tanh: tf.tanh,
  relu: tf.relu,
  hardsigmoid: (x) => tf.clipByValue(tf.add(tf.mul(x, 0.2), 0.5), 0, 1),
  softsign: (x) => tf.div(x, tf.add(tf.abs(x), 1)),
  softplus: tf.softplus,
  affine: (x) => x,
  elu: tf.elu,
};

/** One direction: matrices [G*H, *], bias split in halves [G*H], all on the device. */
interface Direction {
  readonly x: tf.Tensor;
  readonly w: tf.Tensor;
  readonly r: tf.Tensor;
  readonly inputBias: tf.Tensor;
  readonly stateBias: tf.Tensor;
  readonly h: tf.Tensor;
  readonly c: tf.Tensor | undefined;
  readonly peepholes: readonly tf.Tensor[] | undefined;
  readonly functions: readonly ((x: tf.Tensor) => tf.Tensor)[];
  readonly reversed: boolean;
}

interface Carried {
  readonly h: tf.Tensor;
  readonly c: tf.Tensor | undefined;
}

/** Outputs of the recurrent op: y [T, D, B, H], the last h [D, B, H] and, of an LSTM, the last c. */
export function recurrent(inputs: readonly tf.Tensor[], attributes: OpAttributes["recurrent"]): tf.Tensor[] {
  const [x, w] = inputs;
  const directions = Array.from({ length: w.shape[0] }, (_, index) => directionOf(inputs, attributes, index));
  const runs = directions.map((direction) => unroll(direction, attributes));
  const steps = x.shape[0];
  const y = tf.stack(Array.from({ length: steps }, (_, step) => tf.stack(runs.map((run) => run.all[step]))));
  const lastH = tf.stack(runs.map((run) => run.last.h));
  if (attributes.cell !== "lstm") return [y, lastH];
  return [y, lastH, tf.stack(runs.map((run) => run.last.c ?? tf.zerosLike(run.last.h)))];
}

const activationCounts = { lstm: 3, gru: 2, rnn: 1 } as const;

function directionOf(inputs: readonly tf.Tensor[], attributes: OpAttributes["recurrent"], index: number): Direction {
  const [x, w, r, bias, h, c, peepholes] = inputs;
  const at = (tensor: tf.Tensor) => tf.reshape(tf.slice(tensor, [index], [1]), tensor.shape.slice(1));
  const [inputBias, stateBias] = tf.split(at(bias), 2, 0);
  const count = activationCounts[attributes.cell];
  return {
    x,
    w: at(w),
    r: at(r),
    inputBias,
    stateBias,
    h: at(h),
    c: attributes.cell !== "lstm" ? undefined : c === undefined ? tf.zerosLike(at(h)) : at(c),
    peepholes: peepholes === undefined ? undefined : tf.split(at(peepholes), 3, 0),
    functions: attributes.activations.slice(index * count, (index + 1) * count).map((name) => activations[name]),
    reversed: attributes.direction === "reverse" || index === 1,
  };
}

function unroll(direction: Direction, attributes: OpAttributes["recurrent"]): { all: tf.Tensor[]; last: Carried } {
  const { x, reversed } = direction;
  const [steps, batch, extent] = x.shape;
  const all = new Array<tf.Tensor>(steps);
  let carried: Carried = { h: direction.h, c: direction.c };
  for (let step = 0; step < steps; step++) {
    const time = reversed ? steps - 1 - step : step;
    const row = tf.reshape(tf.slice(x, [time, 0, 0], [1, batch, extent]), [batch, extent]);
    carried = advance[attributes.cell](direction, attributes, row, carried);
    all[time] = carried.h;
  }
  return { all, last: carried };
}

function clipped(x: tf.Tensor, clip: number): tf.Tensor {
  return clip === 0 ? x : tf.clipByValue(x, -clip, clip);
}

function rows(matrix: tf.Tensor, from: number, to: number): tf.Tensor {
  return matrix.shape.length === 1
    ? tf.slice(matrix, [from], [to - from])
    : tf.slice(matrix, [from, 0], [to - from, -1]);
}

function product(x: tf.Tensor, matrix: tf.Tensor): tf.Tensor {
  return tf.matMul(x, matrix, false, true);
}

type Advance = (direction: Direction, attributes: OpAttributes["recurrent"], x: tf.Tensor, carried: Carried) => Carried;

const advance: { readonly [C in OpAttributes["recurrent"]["cell"]]: Advance } = {
  rnn: ({ w, r, inputBias, stateBias, functions: [f] }, { clip }, x, { h }) => {
    const sum = tf.add(tf.add(product(x, w), product(h, r)), tf.add(inputBias, stateBias));
    return { h: f(clipped(sum, clip)), c: undefined };
  },

  /** z, r = f(...); h~ = g(x w + (r ⊙ h) r + b) or g(x w + b_w + r ⊙ (h r + b_r)); h = (1 - z) ⊙ h~ + z ⊙ h. */
  gru: ({ w, r, inputBias, stateBias, functions: [f, g] }, { clip, linearBeforeReset }, x, { h }) => {
    const extent = h.shape[h.shape.length - 1];
    const fromInput = tf.add(product(x, w), inputBias);
    const gate = (which: number) => {
      const [from, to] = [which * extent, (which + 1) * extent];
      const sum = tf.add(
        tf.slice(fromInput, [0, from], [-1, extent]),
        tf.add(product(h, rows(r, from, to)), rows(stateBias, from, to)),
      );
      return f(clipped(sum, clip));
    };
    const [update, reset] = [gate(0), gate(1)];
    const candidateRows = rows(r, 2 * extent, 3 * extent);
    const candidateBias = rows(stateBias, 2 * extent, 3 * extent);
    const fromState = linearBeforeReset
      ? tf.mul(reset, tf.add(product(h, candidateRows), candidateBias))
      : tf.add(product(tf.mul(reset, h), candidateRows), candidateBias);
    const candidate = g(clipped(tf.add(tf.slice(fromInput, [0, 2 * extent], [-1, extent]), fromState), clip));
    return { h: tf.add(tf.mul(tf.sub(1, update), candidate), tf.mul(update, h)), c: undefined };
  },

  /** i, o, f = gates (peepholes of i and f see the old cell, that of o the new one); c = f ⊙ c + i ⊙ g; h = o ⊙ tanh c. */
  lstm: ({ w, r, inputBias, stateBias, peepholes, functions: [f, g, k] }, { clip, coupledGates }, x, carried) => {
    const { h } = carried;
    const c = carried.c ?? tf.zerosLike(h);
    const sums = tf.add(tf.add(product(x, w), product(h, r)), tf.add(inputBias, stateBias));
    const [input, output, forget, candidate] = tf.split(sums, 4, 1);
    const peeped = (sum: tf.Tensor, which: number, cell: tf.Tensor) =>
      peepholes === undefined ? sum : tf.add(sum, tf.mul(peepholes[which], cell));
    const inputGate = f(clipped(peeped(input, 0, c), clip));
    const forgetGate = coupledGates ? tf.sub(1, inputGate) : f(clipped(peeped(forget, 2, c), clip));
    const next = tf.add(tf.mul(forgetGate, c), tf.mul(inputGate, g(clipped(candidate, clip))));
    const outputGate = f(clipped(peeped(output, 1, next), clip));
    return { h: tf.mul(outputGate, k(next)), c: next };
  },
};
