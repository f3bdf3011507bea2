/** LSTM, GRU and RNN as one recurrent op. */

import { equalShapes, type Extent, printExtent } from "../../../ir/extent.ts";
import { compare, select } from "../../../ir/expression.ts";
import type { OpAttributes, RecurrentActivation, ValueName } from "../../../ir/node.ts";
import type { ImportContext, OpImporterTable } from "../op_importer.ts";
import { number, sub } from "./expressions.ts";
import { malformed, unsupported } from "./faults.ts";
import {
  expanded,
  floatConstant,
  iota,
  mapOf,
  numbersOf,
  plainConstant,
  reshaped,
  sliced,
  staticExtent,
  transposed,
} from "./operands.ts";

type Cell = OpAttributes["recurrent"]["cell"];
type Direction = OpAttributes["recurrent"]["direction"];

const gateCounts: Readonly<Record<Cell, number>> = { lstm: 4, gru: 3, rnn: 1 };

const defaultActivations: Readonly<Record<Cell, readonly string[]>> = {
  lstm: ["Sigmoid", "Tanh", "Tanh"],
  gru: ["Sigmoid", "Tanh"],
  rnn: ["Tanh"],
};

/** Activations whose ONNX defaults are those of Quern's recurrent op; others need parameters it does not hold. */
const knownActivations: ReadonlyMap<string, RecurrentActivation> = new Map<string, RecurrentActivation>([
  ["sigmoid", "sigmoid"],
  ["tanh", "tanh"],
  ["relu", "relu"],
  ["hardsigmoid", "hardsigmoid"],
  ["softsign", "softsign"],
  ["softplus", "softplus"],
  ["elu", "elu"],
]);

function directionOf(context: ImportContext): Direction {
  const direction = context.node.attributes.string("direction", "forward");
  if (direction === "forward" || direction === "reverse" || direction === "bidirectional") return direction;
  return malformed(context, `direction is "${direction}"`);
}

/** The default alpha and beta of an activation that has them. */
const activationDefaults: Readonly<Record<string, readonly [number, number]>> = {
  hardsigmoid: [0.2, 0.5],
  elu: [1, 0],
};

function activationsOf(context: ImportContext, cell: Cell, directions: number): readonly RecurrentActivation[] {
  const { attributes } = context.node;
  const perDirection = defaultActivations[cell];
  const all = Array.from({ length: directions }, () => perDirection).flat();
  const names = attributes.strings("activations", all);
  if (names.length !== all.length) return malformed(context, `activations must hold ${all.length} names`);
  const alphas = [...attributes.floats("activation_alpha", [])];
  const betas = [...attributes.floats("activation_beta", [])];
  return names.map((name) => {
    const known = knownActivations.get(name.toLowerCase());
    if (known === undefined) return unsupported(context, `activation ${name} is not supported`);
    const defaults = activationDefaults[known];
    if (defaults === undefined) return known;
    const alpha = alphas.shift() ?? defaults[0];
    const beta = known === "hardsigmoid" ? betas.shift() ?? defaults[1] : defaults[1];
    if (Math.fround(alpha) === Math.fround(defaults[0]) && Math.fround(beta) === Math.fround(defaults[1])) return known;
    return unsupported(context, `activation ${name} with alpha ${alpha} and beta ${beta} is not supported`);
  });
}

/** The steps of every sequence when all sequences are equally long; the whole time axis when none are given. */
function uniformSteps(context: ImportContext, time: Extent): Extent | undefined {
  const value = context.optional(4);
  if (value === undefined) return time;
  const lengths = plainConstant(context, value);
  if (lengths === undefined) return undefined;
  const [first, ...rest] = numbersOf(lengths);
  return first !== undefined && rest.every((length) => length === first) ? first : undefined;
}

/** Operands of the recurrent op, in its layout: time first, directions first in states. */
interface Operands {
  readonly x: ValueName;
  readonly rest: readonly ValueName[];
  readonly batch: Extent;
  readonly hidden: number;
}

function operandsOf(context: ImportContext, cell: Cell, directions: number, batchFirst: boolean): Operands {
  const [x, w, r] = [context.input(0), context.input(1), context.input(2)];
  if ([x, w, r].some((value) => context.typeOf(value).shape.length !== 3)) {
    return malformed(context, "X, W and R must have rank 3");
  }
  const sequence = batchFirst ? transposed(context, x, [1, 0, 2]) : x;
  const { shape: [, batch], element } = context.typeOf(sequence);
  const hidden = staticExtent(context, context.typeOf(r).shape[2], "the hidden axis");
  const stated = context.node.attributes.int("hidden_size", hidden);
  if (stated !== hidden) return malformed(context, `hidden_size is ${stated}, R has ${hidden}`);
  const zeros = (shape: readonly Extent[]) =>
    expanded(context, floatConstant(context, element, shape.map(() => 1), [0]), shape);
  const state = (index: number) => {
    const value = context.optional(index);
    if (value === undefined) return zeros([directions, batch, hidden]);
    return batchFirst ? transposed(context, value, [1, 0, 2]) : value;
  };
  const bias = context.optional(3) ?? zeros([directions, 2 * gateCounts[cell] * hidden]);
  const peepholes = cell === "lstm" ? context.optional(7) : undefined;
  const rest = [w, r, bias, state(5)];
  const rows = gateCounts[cell] * hidden;
  const wanted: (readonly Extent[])[] = [
    [directions, rows, context.typeOf(sequence).shape[2]],
    [directions, rows, hidden],
    [directions, 2 * rows],
    [directions, batch, hidden],
  ];
  if (cell === "lstm") {
    rest.push(state(6));
    wanted.push([directions, batch, hidden]);
  }
  if (peepholes !== undefined) {
    rest.push(peepholes);
    wanted.push([directions, 3 * hidden]);
  }
  rest.forEach((value, index) => checkShape(context, value, wanted[index]));
  return { x: sequence, rest, batch, hidden };
}

function checkShape(context: ImportContext, value: ValueName, wanted: readonly Extent[]): void {
  const { shape } = context.typeOf(value);
  if (equalShapes(shape, wanted)) return;
  malformed(context, `an operand has the shape [${shape.map(printExtent)}], wanted [${wanted.map(printExtent)}]`);
}

function importRecurrent(context: ImportContext, cell: Cell): readonly ValueName[] {
  const { attributes, opset } = context.node;
  const direction = directionOf(context);
  const directions = direction === "bidirectional" ? 2 : 1;
  const batchFirst = opset >= 14 && attributes.int("layout", 0) !== 0;
  const { x, rest } = operandsOf(context, cell, directions, batchFirst);
  const options: OpAttributes["recurrent"] = {
    cell,
    direction,
    activations: activationsOf(context, cell, directions),
    clip: attributes.float("clip", 0),
    linearBeforeReset: cell === "gru" && attributes.int("linear_before_reset", 0) !== 0,
    coupledGates: cell === "lstm" && attributes.int("input_forget", 0) !== 0,
  };
  const time = context.typeOf(x).shape[0];
  const steps = uniformSteps(context, time);
  const outputs = steps === undefined
    ? raggedOutputs(context, x, rest, options)
    : uniformOutputs(context, x, rest, options, steps);
  if (!batchFirst) return outputs;
  return outputs.map((value, index) => transposed(context, value, index === 0 ? [2, 0, 1, 3] : [1, 0, 2]));
}

/** All sequences end after `steps`; the outputs after that are zeros. */
function uniformOutputs(
  context: ImportContext,
  x: ValueName,
  rest: readonly ValueName[],
  options: OpAttributes["recurrent"],
  steps: Extent,
): readonly ValueName[] {
  const time = context.typeOf(x).shape[0];
  if (steps === time) return context.builder.addAll("recurrent", [x, ...rest], options);
  const whole = staticExtent(context, time, "the time axis");
  const used = staticExtent(context, steps, "the sequence length");
  if (used < 1 || used > whole) return malformed(context, `sequence_lens is ${used}, there are ${whole} steps`);
  const [all, ...last] = context.builder.addAll("recurrent", [sliced(context, x, 0, 0, used), ...rest], options);
  const padded = context.builder.add("pad", [all], {
    before: [0, 0, 0, 0],
    after: [whole - used, 0, 0, 0],
    mode: "constant",
  });
  return [padded, ...last];
}

/**
 * Sequences of different lengths, forward: steps after a sequence's end are computed and then masked, and its last
 * state is the output at its last step.
 */
function raggedOutputs(
  context: ImportContext,
  x: ValueName,
  rest: readonly ValueName[],
  options: OpAttributes["recurrent"],
): readonly ValueName[] {
  if (options.direction !== "forward") {
    return unsupported(context, `sequence_lens of different lengths with direction "${options.direction}"`);
  }
  if (options.cell === "lstm" && context.node.outputUsed[2] === true) {
    return unsupported(context, "sequence_lens of different lengths with the output Y_c");
  }
  const [all] = context.builder.addAll("recurrent", [x, ...rest], options);
  const { shape: [time, , batch, hidden], element } = context.typeOf(all);
  const lengths = context.builder.cast(context.input(4), "i64");
  const steps = iota(context, time, 0, 4);
  const ends = reshaped(context, lengths, [1, 1, batch, 1]);
  const masked = mapOf(
    context,
    [all, steps, ends],
    ([value, step, end]) => select(compare("lt", step, end), value, number(element, 0)),
  );
  const byBatch = transposed(context, reshaped(context, all, [time, batch, hidden]), [1, 0, 2]);
  const final = reshaped(context, mapOf(context, [lengths], ([end]) => sub(end, number("i64", 1))), [batch, 1]);
  const last = context.builder.add("gatherNd", [byBatch, final], { batchAxes: 1 });
  return [masked, reshaped(context, last, [1, batch, hidden])];
}

export const recurrentImporters: OpImporterTable = {
  LSTM: (context) => importRecurrent(context, "lstm"),
  GRU: (context) => importRecurrent(context, "gru"),
  RNN: (context) => importRecurrent(context, "rnn"),
};
