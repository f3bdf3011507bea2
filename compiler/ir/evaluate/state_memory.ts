/** The states of a graph between runs: KV caches and the like, zero at reset. */

import { allocate, type ElementType } from "../../numeric/element.ts";
import { codeElement } from "../../numeric/number_format.ts";
import { stepShape } from "../../numeric/scheme.ts";
import { shapeBound, type SymbolTable } from "../extent.ts";
import type { State } from "../graph.ts";
import { emptyTensor, type PlainTensor, plainTensor, sizeOf, type Tensor } from "../tensor.ts";
import { schemeOf, type TensorType } from "../types.ts";
import { InvariantError } from "../../diagnostics.ts";

/**
 * Holds one tensor per state, sized to the bounds of its extents, and the number of positions they hold.
 * Invariant: rows at and past `past` along a state's axis have no meaning; every tensor has its declared type.
 */
export class StateMemory {
  readonly #states: readonly State[];
  readonly #symbols: SymbolTable;
  readonly #tensors = new Map<string, Tensor>();
  #past = 0;

  constructor(states: readonly State[], symbols: SymbolTable) {
    this.#states = states;
    this.#symbols = symbols;
    this.reset();
  }

  /** Positions held. */
  get past(): number {
    return this.#past;
  }

  /** Zeroes every state. */
  reset(): void {
    for (const state of this.#states) this.#tensors.set(state.name, zeroTensor(state.type, this.#symbols));
    this.#past = 0;
  }

  /** Keeps the first `positions` positions. States that are replaced whole cannot be cut back. */
  rewind(positions: number): void {
    if (!Number.isInteger(positions) || positions < 0 || positions > this.#past) {
      throw new RangeError(`Cannot rewind to ${positions} of ${this.#past} positions`);
    }
    if (positions < this.#past && this.#states.some((state) => state.axis < 0)) {
      if (positions !== 0) throw new RangeError("Cannot rewind a state that holds no positions; reset it");
      this.reset();
      return;
    }
    this.#past = positions;
  }

  /** Counts positions that a finished run has appended. */
  advance(positions: number): void {
    this.#past += positions;
  }

  get(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new InvariantError(`State "${name}" is not declared`);
    return tensor;
  }

  /** Replaces a state's tensor; arrays of the old one are left alone. */
  set(name: string, tensor: Tensor): void {
    this.get(name);
    this.#tensors.set(name, tensor);
  }

  /** A copy that later runs do not change. */
  snapshot(): StateMemory {
    const copy = new StateMemory(this.#states, this.#symbols);
    for (const [name, tensor] of this.#tensors) copy.set(name, copyTensor(tensor));
    copy.#past = this.#past;
    return copy;
  }
}

function zeroTensor(type: TensorType, symbols: SymbolTable): Tensor {
  const shape = shapeBound(type.shape, symbols);
  const scheme = schemeOf(type);
  if (scheme === undefined) return emptyTensor(type.element, shape);
  const steps = stepShape(scheme, shape);
  return {
    kind: "quantized",
    scheme,
    element: type.element,
    shape,
    codes: emptyTensor(codeElement(scheme.format), shape),
    steps: emptyTensor("f32", steps),
    zeros: scheme.zeroPoint ? emptyTensor("i32", steps) : undefined,
    offsets: scheme.offset ? emptyTensor("f32", steps) : undefined,
  };
}

function copyPlain<E extends ElementType>(tensor: PlainTensor<E>): PlainTensor<E> {
  const data = allocate(tensor.element, sizeOf(tensor.shape));
  new Uint8Array(data.buffer).set(new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
  return plainTensor(tensor.element, tensor.shape, data);
}

function copyTensor(tensor: Tensor): Tensor {
  if (tensor.kind === "plain") return copyPlain(tensor);
  return {
    ...tensor,
    codes: copyPlain(tensor.codes),
    steps: copyPlain(tensor.steps),
    zeros: tensor.zeros === undefined ? undefined : copyPlain(tensor.zeros),
    offsets: tensor.offsets === undefined ? undefined : copyPlain(tensor.offsets),
  };
}
