/** LSTM, GRU and plain recurrent cells with the formulas of ONNX. Gates in doubles; h and c are rounded at every step. */

import { decodeBf16, type ElementType, encodeBf16 } from "../../numeric/element.ts";
import type { OpAttributes, RecurrentActivation } from "../node.ts";
import type { Tensor } from "../tensor.ts";
import { dotRows, type Rows } from "./dot.ts";
import { plainInput } from "./environment.ts";
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
  /** State of the direction, changed step by step. */
  readonly h: Float64Array<ArrayBuffer>;
  readonly c: Float64Array<ArrayBuffer>;
}

export function evaluateRecurrent(inputs: readonly Tensor[], attributes: OpAttributes["recurrent"]): readonly Tensor[] {
  const { cell } = attributes;
  const x = plainInput(inputs, 0);
  const [steps, batch] = x.shape;
  const [directions, , hidden] = plainInput(inputs, 2).shape;
  const all = new Float64Array(steps * directions * batch * hidden);
  const lastH = new Float64Array(directions * batch * hidden);
  const lastC = new Float64Array(directions * batch * hidden);
  for (let direction = 0; direction < directions; direction++) {
    const state = directionCell(inputs, attributes, direction);
    const projected = projectInput(inputs, direction);
    const width = projected.length / Math.max(1, steps);
    const isReverse = attributes.direction === "reverse" || direction === 1;
    for (let step = 0; step < steps; step++) {
      const time = isReverse ? steps - 1 - step : step;
      advance[cell](state, projected.subarray(time * width, (time + 1) * width));
      all.set(state.h, (time * directions + direction) * batch * hidden);
    }
    lastH.set(state.h, direction * batch * hidden);
    lastC.set(state.c, direction * batch * hidden);
  }
  const lastShape = [directions, batch, hidden];
  const outputs = [
    storeNumbers(x.element, [steps, directions, batch, hidden], all),
    storeNumbers(x.element, lastShape, lastH),
  ];
  return cell === "lstm" ? [...outputs, storeNumbers(x.element, lastShape, lastC)] : outputs;
}

/** The cell of one direction in its initial state. */
function directionCell(inputs: readonly Tensor[], attributes: OpAttributes["recurrent"], direction: number): Cell {
  const { cell } = attributes;
  const x = plainInput(inputs, 0);
  const r = plainInput(inputs, 2);
  const batch = x.shape[1];
  const hidden = r.shape[2];
  const gates = gateCounts[cell] * hidden;
  const part = (index: number, length: number) =>
    readNumbers(plainInput(inputs, index)).slice(direction * length, (direction + 1) * length);
  const count = activationCounts[cell];
  return {
    attributes,
    element: x.element,
    batch,
    hidden,
    recurrence: { data: floatData(r), offset: direction * gates * hidden },
    bias: part(3, 2 * gates),
    peepholes: inputs.length > 6 ? part(6, 3 * hidden) : undefined,
    activations: attributes.activations.slice(direction * count, (direction + 1) * count)
      .map((name) => activationTable[name]),
    h: part(4, batch * hidden),
    c: inputs.length > 5 ? part(5, batch * hidden) : new Float64Array(batch * hidden),
  };
}

/** x[t][b] · w[g] of every step, sample and gate of one direction. */
function projectInput(inputs: readonly Tensor[], direction: number): Float64Array<ArrayBuffer> {
  const x = plainInput(inputs, 0);
  const w = plainInput(inputs, 1);
  const [steps, batch, width] = x.shape;
  const gates = w.shape[1];
  const projected = new Float64Array(steps * batch * gates);
  const rows = { data: floatData(x), offset: 0, count: steps * batch };
  const weights = { data: floatData(w), offset: direction * gates * width, count: gates };
  dotRows(rows, weights, width, 0, width, { data: projected, offset: 0, stride: gates });
  return projected;
}

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
