/** Ops on states: append, readState, writeState. */

import type { ElementType } from "../../numeric/element.ts";
import type { OpAttributes } from "../node.ts";
import { type PlainTensor, type QuantizedTensor, stridesOf, type Tensor } from "../tensor.ts";
import type { Environment } from "./environment.ts";
import { copyStrided } from "./strided.ts";
import { readStrided } from "./view.ts";
import { DiagnosticError, errorDiagnostic, InvariantError } from "../../diagnostics.ts";

export function evaluateAppend(
  [x]: readonly Tensor[],
  { state, axis }: OpAttributes["append"],
  { states }: Environment,
): readonly Tensor[] {
  const held = states.get(state);
  const { past } = states;
  const total = past + x.shape[axis];
  if (total > held.shape[axis]) {
    throw new DiagnosticError([
      errorDiagnostic("Q0121", `State "${state}" holds ${held.shape[axis]} positions, ${total} are wanted`, {
        help: "Reset or rewind the states, or compile with a longer context",
      }),
    ]);
  }
  return [appendTensor(held, x, axis, past)];
}

function appendTensor(held: Tensor, x: Tensor, axis: number, past: number): Tensor {
  if (held.kind === "plain" && x.kind === "plain") return appendPlain(held, x, axis, past);
  if (held.kind === "quantized" && x.kind === "quantized") return appendQuantized(held, x, axis, past);
  throw new InvariantError(`Cannot append a ${x.kind} tensor to a ${held.kind} state`);
}

function appendQuantized(held: QuantizedTensor, x: QuantizedTensor, axis: number, past: number): QuantizedTensor {
  const codes = appendPlain(held.codes, x.codes, axis, past);
  const zeros = held.zeros === undefined || x.zeros === undefined
    ? undefined
    : appendPlain(held.zeros, x.zeros, axis, past);
  const offsets = held.offsets === undefined || x.offsets === undefined
    ? undefined
    : appendPlain(held.offsets, x.offsets, axis, past);
  return { ...x, shape: codes.shape, codes, steps: appendPlain(held.steps, x.steps, axis, past), zeros, offsets };
}

/** Writes x at rows past.. of the held tensor and returns the rows up to its end, dense. */
function appendPlain<E extends ElementType>(
  held: PlainTensor<E>,
  x: PlainTensor<E>,
  axis: number,
  past: number,
): PlainTensor<E> {
  const strides = stridesOf(held.shape);
  copyStrided(
    x.shape,
    { data: x.data, offset: 0, strides: stridesOf(x.shape) },
    { data: held.data, offset: past * strides[axis], strides },
  );
  const shape = held.shape.map((extent, index) => (index === axis ? past + x.shape[axis] : extent));
  return readStrided(held, shape, 0, strides);
}

export function evaluateReadState(
  _: readonly Tensor[],
  { state }: OpAttributes["readState"],
  { states }: Environment,
): readonly Tensor[] {
  return [copied(states.get(state))];
}

function copied(tensor: Tensor): Tensor {
  if (tensor.kind === "plain") return copyPlain(tensor);
  const zeros = tensor.zeros === undefined ? undefined : copyPlain(tensor.zeros);
  const offsets = tensor.offsets === undefined ? undefined : copyPlain(tensor.offsets);
  return { ...tensor, codes: copyPlain(tensor.codes), steps: copyPlain(tensor.steps), zeros, offsets };
}

function copyPlain<E extends ElementType>(tensor: PlainTensor<E>): PlainTensor<E> {
  const strides = stridesOf(tensor.shape);
  return readStrided(tensor, tensor.shape, 0, strides);
}

/** The graph evaluator stores the value when the run ends: the op itself passes it on. */
export function evaluateWriteState([x]: readonly Tensor[]): readonly Tensor[] {
  return [x];
}
