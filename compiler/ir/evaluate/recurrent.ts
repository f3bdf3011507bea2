/** LSTM, GRU and plain recurrent cells with the formulas of ONNX. Gates in doubles; h and c are rounded at every step. */

import { decodeBf16, type ElementType, encodeBf16 } from "../../numeric/element.ts";
import type { OpAttributes, RecurrentActivation } from "../node.ts";
import { dotRows, type Rows } from "./dot.ts";
import { type Evaluate, plainInput } from "./environment.ts";
import { floatData, readNumbers, storeNumbers } from "./numbers.ts";

type Activation = (x: number) => number;

const activationTable: { readonly [Name in RecurrentActivation]: Activation } = {
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  relu: (x) => Math.max(0, x),
  hardsigmoid: (x) => Math.max(0, Math.min(1, 0.2 * x + 0.5)),
  softsign: (x) => x / (1 + Math.abs(x)),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  affine: (x) => x,
  elu: (x) => (x < 0 ? Math.expm1(x) : x),
};

const gateCounts = { lstm: 4, gru: 3, rnn: 1 } as const;
const activationCounts = { lstm: 3, gru: 2, rnn: 1 } as const;

/** Everything that one direction needs; matrices are rows of gates. */
interface Cell {
  readonly attributes: OpAttributes["recurrent"];
  readonly element: ElementType;
  readonly batch: number;
  readonly hidden: number;
  readonly recurrence: { readonly data: Rows; readonly offset: number };
  readonly bias: Float64Array;
  readonly peepholes: Float64Array | undefined;
  readonly activations: readonly Activation[];
  readonly h: Float64Array<ArrayBuffer>;
  readonly c: Float64Array<ArrayBuffer>;
}

export const evaluateRecurrent: Evaluate<"recurrent"> = (inputs, attributes) => {
  const { cell, direction } = attributes;
  const x = plainInput(inputs, 0);
  const [steps, batch, inputExtent] = x.shape;
  const r = plainInput(inputs, 2);
  const [directions, , hidden] = r.shape;
  const gates = gateCounts[cell] * hidden;
  const bias = readNumbers(plainInput(inputs, 3));
  const initialH = readNumbers(plainInput(inputs, 4));
  const initialC = inputs.length > 5 ? readNumbers(plainInput(inputs, 5)) : new Float64Array(initialH.length);
  const peepholes = inputs.length > 6 ? readNumbers(plainInput(inputs, 6)) : undefined;
  const all = new Float64Array(steps * directions * batch * hidden);
  const lastH = new Float64Array(directions * batch * hidden);
  const lastC = new Float64Array(directions * batch * hidden);
  const weights = floatData(plainInput(inputs, 1));
  const recurrence = floatData(r);
  const values = floatData(x);
  for (let index = 0; index < directions; index++) {
    const isReverse = direction === "reverse" || index === 1;
    const span = { from: index * batch * hidden, to: (index + 1) * batch * hidden };
    const activations = activationCounts[cell];
    const state: Cell = {
      attributes,
      element: x.element,
      batch,
      hidden,
      recurrence: { data: recurrence, offset: index * gates * hidden },
      bias: bias.subarray(index * 2 * gates, (index + 1) * 2 * gates),
      peepholes: peepholes?.subarray(index * 3 * hidden, (index + 1) * 3 * hidden),
      activations: attributes.activations.slice(index * activations, (index + 1) * activations)
        .map((name) => activationTable[name]),
      h: initialH.slice(span.from, span.to),
      c: initialC.slice(span.from, span.to),
    };
    const projected = new Float64Array(steps * batch * gates);
    dotRows(
      { data: values, offset: 0, count: steps * batch },
      { data: weights, offset: index * gates * inputExtent, count: gates },
      inputExtent,
      0,
      inputExtent,
      { data: projected, offset: 0, stride: gates },
    );
    for (let step = 0; step < steps; step++) {
      const time = isReverse ? steps - 1 - step : step;
      advance[cell](state, projected.subarray(time * batch * gates, (time + 1) * batch * gates));
      all.set(state.h, (time * directions + index) * batch * hidden);
    }
    lastH.set(state.h, span.from);
    lastC.set(state.c, span.from);
  }
  const lastShape = [directions, batch, hidden];
  const outputs = [
    storeNumbers(x.element, [steps, directions, batch, hidden], all),
    storeNumbers(x.element, lastShape, lastH),
  ];
  return cell === "lstm" ? [...outputs, storeNumbers(x.element, lastShape, lastC)] : outputs;
};

/** recurrent[b][g] = Σ h[b] r[g] for gates `from..to` (in units of the hidden extent). */
function recur(cell: Cell, h: Rows, from: number, to: number): Float64Array<ArrayBuffer> {
  const { batch, hidden, recurrence } = cell;
  const gates = (to - from) * hidden;
  const sums = new Float64Array(batch * gates);
  dotRows(
    { data: h, offset: 0, count: batch },
    { data: recurrence.data, offset: recurrence.offset + from * hidden * hidden, count: gates },
    hidden,
    0,
    hidden,
    { data: sums, offset: 0, stride: gates },
  );
  return sums;
}

function clipped(x: number, clip: number): number {
  return clip === 0 ? x : Math.min(clip, Math.max(-clip, x));
}

function roundTo(element: ElementType, value: number): number {
  switch (element) {
    case "f32":
      return Math.fround(value);
    case "f16":
      return Math.f16round(value);
    case "bf16":
      return decodeBf16(encodeBf16(value));
    default:
      return value;
  }
}

type Advance = (cell: Cell, projected: Float64Array) => void;

const advance: { readonly [Kind in OpAttributes["recurrent"]["cell"]]: Advance } = {
  rnn(cell, projected) {
    const { hidden, bias, attributes: { clip }, activations: [f], h } = cell;
    const sums = recur(cell, h, 0, 1);
    for (let at = 0; at < sums.length; at++) {
      const unit = at % hidden;
      h[at] = roundTo(cell.element, f(clipped(projected[at] + sums[at] + bias[unit] + bias[hidden + unit], clip)));
    }
  },

  /** z, r = f(...); h~ = g(x w + (r ⊙ h) r + b), or g(x w + r ⊙ (h r + b_r) + b_w); h = (1 - z) ⊙ h~ + z ⊙ h. */
  gru(cell, projected) {
    const { batch, hidden, bias, attributes: { clip, linearBeforeReset }, activations: [f, g], h } = cell;
    const gates = 3 * hidden;
    const sums = recur(cell, h, 0, linearBeforeReset ? 3 : 2);
    const width = (linearBeforeReset ? 3 : 2) * hidden;
    const gate = (row: number, which: number, unit: number) => {
      const at = which * hidden + unit;
      const sum = projected[row * gates + at] + sums[row * width + at] + bias[at] + bias[gates + at];
      return f(clipped(sum, clip));
    };
    const reset = new Float64Array(batch * hidden);
    const kept = new Float64Array(batch * hidden);
    for (let at = 0; at < reset.length; at++) {
      const row = Math.floor(at / hidden);
      kept[at] = gate(row, 0, at % hidden);
      reset[at] = gate(row, 1, at % hidden);
    }
    const inner = linearBeforeReset ? undefined : recur(cell, h.map((value, at) => value * reset[at]), 2, 3);
    for (let at = 0; at < kept.length; at++) {
      const row = Math.floor(at / hidden);
      const place = 2 * hidden + at % hidden;
      const recurrent = inner === undefined
        ? reset[at] * (sums[row * width + place] + bias[gates + place])
        : inner[at] + bias[gates + place];
      const candidate = g(clipped(projected[row * gates + place] + recurrent + bias[place], clip));
      h[at] = roundTo(cell.element, (1 - kept[at]) * candidate + kept[at] * h[at]);
    }
  },

  /** i, f = s(...); c = f ⊙ c + i ⊙ g(...); o = s(... + p_o ⊙ c); h = o ⊙ t(c). */
  lstm(cell, projected) {
    const { hidden, bias, peepholes, attributes: { clip, coupledGates }, activations: [s, g, t], h, c } = cell;
    const gates = 4 * hidden;
    const sums = recur(cell, h, 0, 4);
    for (let at = 0; at < h.length; at++) {
      const row = Math.floor(at / hidden);
      const unit = at % hidden;
      const before = (which: number, memory: number) => {
        const place = which * hidden + unit;
        const peep = peepholes === undefined || which > 2 ? 0 : peepholes[place] * memory;
        const sum = projected[row * gates + place] + sums[row * gates + place] + bias[place] + bias[gates + place];
        return clipped(sum + peep, clip);
      };
      const open = s(before(0, c[at]));
      const keep = coupledGates ? 1 - open : s(before(2, c[at]));
      const memory = roundTo(cell.element, keep * c[at] + open * g(before(3, 0)));
      c[at] = memory;
      h[at] = roundTo(cell.element, s(before(1, memory)) * t(memory));
    }
  },
};
