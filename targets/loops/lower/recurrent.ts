/** LSTM, GRU and plain recurrent cells, gate order and formulas of ONNX. */

import type { OpAttributes, RecurrentActivation } from "../../../compiler/ir/node.ts";
import type { ElementType } from "../../../compiler/numeric/element.ts";
import type { Lowering } from "../context.ts";
import { addIndex, extentIndex, subIndex } from "../index.ts";
import { bufferOf, load, type Operand } from "../operand.ts";
import type { Index, Scalar } from "../program.ts";
import {
  accumulatorOf,
  add,
  castTo,
  compareOf,
  div,
  literalOf,
  max,
  min,
  mul,
  selectOf,
  sub,
  unaryOf,
} from "../scalar.ts";

type Attributes = OpAttributes["recurrent"];

const gateCounts = { lstm: 4, gru: 3, rnn: 1 } as const;
const activationCounts = { lstm: 3, gru: 2, rnn: 1 } as const;

/** One direction of one batch entry: its private arrays and where its weights lie. */
interface Cell {
  readonly lowering: Lowering;
  readonly attributes: Attributes;
  readonly element: ElementType;
  readonly hidden: number;
  readonly direction: number;
  readonly batch: Index;
  readonly w: Operand;
  readonly r: Operand;
  readonly bias: Operand;
  readonly peepholes: Operand | undefined;
  readonly x: Operand;
  /** Names of the arrays: state, cell memory, pre-activations, and the reset state of a GRU. */
  readonly h: string;
  readonly c: string;
  readonly gates: string;
  readonly reset: string;
  readonly activations: readonly RecurrentActivation[];
}

export function lowerRecurrent(lowering: Lowering, attributes: Attributes): readonly string[] {
  const { b } = lowering;
  const { cell: kind, direction } = attributes;
  const [x, w, r] = [lowering.input(0, "x"), lowering.input(1, "w"), lowering.input(2, "r")];
  const [bias, initialH] = [lowering.input(3, "bias"), lowering.input(4, "initialH")];
  const initialC = lowering.optional(5, "initialC");
  const peepholes = lowering.optional(6, "peepholes");
  const element = accumulatorOf(x.element);
  const hidden = r.bounds[2];
  const steps = extentIndex(x.shape[0]);
  for (let index = 0; index < r.bounds[0]; index++) {
    const isReverse = direction === "reverse" || index === 1;
    const activations = attributes.activations.slice(index * activationCounts[kind]);
    b.for("batch", extentIndex(x.shape[1]), "independent", (batch) => {
      const cell: Cell = {
        lowering,
        attributes,
        element,
        hidden,
        direction: index,
        batch,
        w,
        r,
        bias,
        peepholes,
        x,
        h: b.array("h", element, hidden),
        c: b.array("c", element, kind === "lstm" ? hidden : 1),
        gates: b.array("gates", element, gateCounts[kind] * hidden),
        reset: b.array("reset", element, kind === "gru" ? hidden : 1),
        activations,
      };
      b.for("u", hidden, "independent", (unit) => {
        b.store(cell.h, unit, castTo(element, load(b, initialH, [index, batch, unit])));
        if (kind !== "lstm") return;
        const memory = initialC === undefined
          ? literalOf(element, 0)
          : castTo(element, load(b, initialC, [index, batch, unit]));
        b.store(cell.c, unit, memory);
      });
      b.for("step", steps, "sequential", (step) => {
        const time = isReverse ? b.letIndex("time", subIndex(addIndex(steps, -1), step)) : step;
        advance[kind](cell, time);
        b.for(
          "u",
          hidden,
          "independent",
          (unit) => lowering.store([time, index, batch, unit], arrayAt(cell, cell.h, unit)),
        );
      });
      copyLast(cell, lowering.result(1, "lastH"), cell.h);
      if (kind === "lstm") copyLast(cell, lowering.result(2, "lastC"), cell.c);
    });
  }
  return algebra[kind];
}

const algebra: { readonly [Kind in Attributes["cell"]]: readonly string[] } = {
  rnn: ["h = f(w x + r h + b)"],
  gru: ["z, r = f(...), g = g(w x + r (h ⊙ r) + b), h = (1 - z) ⊙ g + z ⊙ h"],
  lstm: ["i, o, f = s(...), c = f ⊙ c + i ⊙ g(...), h = o ⊙ t(c)"],
};

function copyLast(cell: Cell, to: Operand, from: string): void {
  const { b } = cell.lowering;
  const target = bufferOf(b, to, "data", "write");
  b.for("u", cell.hidden, "independent", (unit) => {
    const [direction, batch] = to.strides;
    const place = addIndex(addIndex(cell.direction * direction, { kind: "mul", x: cell.batch, y: batch }), unit);
    b.store(target, place, castTo(to.element, arrayAt(cell, from, unit)));
  });
}

function arrayAt(cell: Cell, buffer: string, index: Index): Scalar {
  return { kind: "load", element: cell.element, buffer, index };
}

/** gates[g] = Σ x w[g] + Σ state r[g] + both biases, for the gates from..to (in units of the hidden extent). */
function gateSums(cell: Cell, time: Index, from: number, to: number, state: string): void {
  const { lowering: { b }, element, hidden, direction, batch, x, w, r, gates } = cell;
  b.for("g", (to - from) * hidden, "independent", (offset) => {
    const gate = addIndex(offset, from * hidden);
    const sum = b.let("sum", add(biasAt(cell, 0, gate), biasAt(cell, 1, gate)));
    b.for("i", x.bounds[2], "reduction", (i) => {
      const left = castTo(element, load(b, x, [time, batch, i]));
      b.assign(sum, add(sum, mul(left, castTo(element, load(b, w, [direction, gate, i])))));
    });
    b.for("j", hidden, "reduction", (j) => {
      b.assign(sum, add(sum, mul(arrayAt(cell, state, j), castTo(element, load(b, r, [direction, gate, j])))));
    });
    b.store(gates, gate, sum);
  });
}

/** Entry `gate` of the bias of w (part 0) or of r (part 1). */
function biasAt(cell: Cell, part: 0 | 1, gate: Index): Scalar {
  const { lowering: { b }, attributes, hidden, bias, direction, element } = cell;
  const width = gateCounts[attributes.cell] * hidden;
  return castTo(element, load(b, bias, [direction, addIndex(gate, part * width)]));
}

function clipped(cell: Cell, x: Scalar): Scalar {
  const { clip } = cell.attributes;
  return clip === 0 ? x : min(max(x, literalOf(x.element, -clip)), literalOf(x.element, clip));
}

/** A pre-activation of one unit. */
function gateAt(cell: Cell, which: number, unit: Index): Scalar {
  return arrayAt(cell, cell.gates, addIndex(unit, which * cell.hidden));
}

/** Rounds to the element that states are kept in. */
function kept(cell: Cell, value: Scalar): Scalar {
  return castTo(cell.element, castTo(cell.x.element, value));
}

function activate(cell: Cell, index: number, x: Scalar): Scalar {
  return activation(cell, cell.activations[index], clipped(cell, x));
}

function activation(cell: Cell, name: RecurrentActivation, argument: Scalar): Scalar {
  const { b } = cell.lowering;
  const { element } = argument;
  const number = (value: number) => literalOf(element, value);
  const x = b.let("z", argument);
  switch (name) {
    case "sigmoid":
      return div(number(1), add(number(1), unaryOf("exp", unaryOf("neg", x))));
    case "tanh":
      return unaryOf("tanh", x);
    case "relu":
      return max(x, number(0));
    case "hardsigmoid":
      return max(min(add(mul(x, number(0.2)), number(0.5)), number(1)), number(0));
    case "softsign":
      return div(x, add(number(1), unaryOf("abs", x)));
    case "softplus": {
      const tail = unaryOf("log", add(number(1), unaryOf("exp", unaryOf("neg", unaryOf("abs", x)))));
      return add(max(x, number(0)), tail);
    }
    case "affine":
      return x;
    case "elu":
      return selectOf(compareOf("lt", x, number(0)), sub(unaryOf("exp", x), number(1)), x);
  }
}

type Advance = (cell: Cell, time: Index) => void;

const advance: { readonly [Kind in Attributes["cell"]]: Advance } = {
  rnn: advancePlain,
  gru: advanceGru,
  lstm: advanceLstm,
};

function advancePlain(cell: Cell, time: Index): void {
  const { lowering: { b }, hidden } = cell;
  gateSums(cell, time, 0, 1, cell.h);
  b.for("u", hidden, "independent", (unit) => {
    b.store(cell.h, unit, kept(cell, activate(cell, 0, gateAt(cell, 0, unit))));
  });
}

function advanceGru(cell: Cell, time: Index): void {
  const { lowering: { b }, hidden, attributes: { linearBeforeReset } } = cell;
  gateSums(cell, time, 0, 2, cell.h);
  b.for("u", hidden, "independent", (unit) => {
    const gate = b.let("gate", activate(cell, 0, gateAt(cell, 1, unit)));
    b.store(cell.reset, unit, linearBeforeReset ? gate : mul(gate, arrayAt(cell, cell.h, unit)));
  });
  if (linearBeforeReset) linearReset(cell, time);
  else gateSums(cell, time, 2, 3, cell.reset);
  b.for("u", hidden, "independent", (unit) => {
    const update = b.let("update", activate(cell, 0, gateAt(cell, 0, unit)));
    const candidate = activate(cell, 1, gateAt(cell, 2, unit));
    const fresh = mul(sub(literalOf(cell.element, 1), update), candidate);
    b.store(cell.h, unit, kept(cell, add(fresh, mul(update, arrayAt(cell, cell.h, unit)))));
  });
}

/** The candidate's sum where the reset gate scales the recurrent part after its linear step. */
function linearReset(cell: Cell, time: Index): void {
  const { lowering: { b }, element, hidden, direction, batch, x, w, r } = cell;
  b.for("u", hidden, "independent", (unit) => {
    const gate = addIndex(unit, 2 * hidden);
    const inner = b.let("inner", biasAt(cell, 1, gate));
    b.for("j", hidden, "reduction", (j) => {
      b.assign(inner, add(inner, mul(arrayAt(cell, cell.h, j), castTo(element, load(b, r, [direction, gate, j])))));
    });
    const sum = b.let("sum", biasAt(cell, 0, gate));
    b.for("i", x.bounds[2], "reduction", (i) => {
      const left = castTo(element, load(b, x, [time, batch, i]));
      b.assign(sum, add(sum, mul(left, castTo(element, load(b, w, [direction, gate, i])))));
    });
    b.store(cell.gates, gate, add(sum, mul(arrayAt(cell, cell.reset, unit), inner)));
  });
}

function advanceLstm(cell: Cell, time: Index): void {
  const { lowering: { b }, hidden, attributes: { coupledGates }, element } = cell;
  gateSums(cell, time, 0, 4, cell.h);
  b.for("u", hidden, "independent", (unit) => {
    const memory = b.let("memory", arrayAt(cell, cell.c, unit));
    const open = b.let("open", activate(cell, 0, withPeephole(cell, 0, unit, memory)));
    const keep = coupledGates
      ? sub(literalOf(element, 1), open)
      : activate(cell, 0, withPeephole(cell, 2, unit, memory));
    const fresh = mul(open, activate(cell, 1, gateAt(cell, 3, unit)));
    const next = b.let("next", kept(cell, add(mul(keep, memory), fresh)));
    b.store(cell.c, unit, next);
    const out = activate(cell, 0, withPeephole(cell, 1, unit, next));
    b.store(cell.h, unit, kept(cell, mul(out, activation(cell, cell.activations[2], next))));
  });
}

function withPeephole(cell: Cell, which: number, unit: Index, memory: Scalar): Scalar {
  const { lowering: { b }, peepholes, direction, hidden, element } = cell;
  const sum = gateAt(cell, which, unit);
  if (peepholes === undefined) return sum;
  const weight = castTo(element, load(b, peepholes, [direction, addIndex(unit, which * hidden)]));
  return add(sum, mul(weight, memory));
}
