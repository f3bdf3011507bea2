/** Gives every operand of a WebGPU program its place: constants in kernel order, states, and the plan of the arena. */

import { present } from "../../compiler/diagnostics.ts";
import { shapeBound } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { sizeOf, type TensorRole } from "../../compiler/ir/tensor.ts";
import { elementBytes, type ElementType } from "../../compiler/numeric/element.ts";
import { alignUp, type Lifetime, planMemory } from "../plan/memory.ts";
import { partKey, partsOfType } from "../plan/parts.ts";
import { type Storage, type StorageOf, storageOf } from "../plan/storage.ts";
import { placeWeights, type WeightOperand, weightsEnd } from "../plan/weights.ts";
import type { WeightEntry } from "../target.ts";
import type { OperandPlace } from "./dispatch.ts";
import type { WgslDispatch, WgslOperand } from "./kernel.ts";
import { elementWords } from "./storage.ts";

/** A part of a value at the model's border. */
export interface Border {
  readonly value: ValueName;
  readonly part: TensorRole;
}

/** A dispatch of a program; `kernel` counts the kernels, which may have several. */
export interface PlacedDispatch {
  readonly kernel: number;
  readonly dispatch: WgslDispatch;
}

export interface Placement {
  readonly weights: readonly WeightEntry[];
  readonly weightsBytes: number;
  readonly statesBytes: number;
  readonly plan: ReturnType<typeof planMemory>;
  readonly lifetimes: readonly Lifetime[];
  readonly placeOf: (operand: WgslOperand) => OperandPlace;
  /** First word of an operand in its memory. */
  readonly wordOf: (operand: WgslOperand, kernel: number) => number;
  /** Memory and first word of a part at the border. */
  readonly borderOf: (border: Border) => { readonly memory: "arena" | "states" | "weights"; readonly word: number };
}

/** Places a program's operands, its weights behind those that stand `before`. */
export function placeProgram(
  graph: Graph,
  calls: readonly PlacedDispatch[],
  borders: { readonly inputs: readonly Border[]; readonly outputs: readonly Border[] },
  before: readonly WeightEntry[],
): Placement {
  const storage = storageOf(graph);
  const storageOfOperand = (operand: WgslOperand): Storage | undefined => {
    switch (operand.kind) {
      case "value":
        return storage(operand.value, operand.part);
      case "state":
        return { kind: "state", state: operand.state, part: operand.part, offset: 0 };
      case "weights":
      case "scratch":
        return undefined;
    }
  };
  const operands = calls.flatMap(({ dispatch }) => dispatch.operands);
  const read = operands.filter((operand) => operand.kind === "value" || operand.kind === "weights");
  const shown = borders.outputs.map(({ value, part }): WeightOperand => ({ kind: "value", value, part }));
  const weights = placeWeights(graph, [...read, ...shown], storage, before);
  const weightAt = new Map(weights.map((entry) => [entry.key, entry]));
  const states = placeStates(graph);
  const lifetimes = bufferLifetimes(graph, calls, borders, storage, storageOfOperand);
  const plan = planMemory(lifetimes);
  const elementOf = (found: Storage, part: Border): ElementType =>
    found.kind === "state"
      ? partElement(graph, { state: found.state }, found.part)
      : partElement(graph, { value: part.value }, part.part);
  const wordOfStorage = (found: Storage, element: ElementType): number => {
    const inside = found.offset / elementBytes(element) * elementWords(element);
    switch (found.kind) {
      case "buffer":
        return present(plan.offsets.get(found.key), found.key) / 4 + inside;
      case "state":
        return present(states.offsets.get(partKey(found.state, found.part)), found.state) + inside;
      case "constant":
        return (present(weightAt.get(partKey(found.hash, found.part)), found.hash).offset + found.offset) / 4;
    }
  };
  return {
    weights,
    weightsBytes: weightsEnd(weights),
    statesBytes: states.words * 4,
    plan,
    lifetimes,
    placeOf: (operand) => {
      if (operand.kind === "scratch") return { memory: "arena" };
      const found = storageOfOperand(operand);
      if (found?.kind === "buffer") return { memory: "arena" };
      if (found?.kind === "state") return { memory: "states" };
      const key = operand.kind === "weights" ? operand.weights.key : found && partKey(found.hash, found.part);
      const { offset, bytes } = present(weightAt.get(key ?? ""), operand.name);
      return { memory: "weights", offset, bytes: bytes.byteLength };
    },
    wordOf: (operand, kernel) => {
      if (operand.kind === "scratch") {
        const key = scratchKey(kernel, operand.name);
        return present(plan.offsets.get(key), key) / 4;
      }
      if (operand.kind === "weights") return present(weightAt.get(operand.weights.key), operand.name).offset / 4;
      const found = present(storageOfOperand(operand), operand.name);
      const element = operand.kind === "state"
        ? partElement(graph, { state: operand.state }, operand.part)
        : elementOf(found, operand);
      return wordOfStorage(found, element);
    },
    borderOf: (border) => {
      const found = storage(border.value, border.part);
      const word = wordOfStorage(found, elementOf(found, border));
      return { memory: found.kind === "constant" ? "weights" : found.kind === "state" ? "states" : "arena", word };
    },
  };
}

function partElement(
  graph: Graph,
  of: { readonly value: ValueName } | { readonly state: string },
  part: TensorRole,
): ElementType {
  const type = "value" in of
    ? typeOf(graph, of.value)
    : present(graph.states.find(({ name }) => name === of.state), of.state).type;
  return present(partsOfType(type).find((candidate) => candidate.part === part), part).element;
}

function placeStates(graph: Graph): { readonly offsets: ReadonlyMap<string, number>; readonly words: number } {
  const offsets = new Map<string, number>();
  let words = 0;
  for (const state of graph.states) {
    for (const type of partsOfType(state.type)) {
      offsets.set(partKey(state.name, type.part), words);
      words = alignUp(words + sizeOf(shapeBound(type.shape, graph.symbols)) * elementWords(type.element), 4);
    }
  }
  return { offsets, words };
}

function scratchKey(kernel: number, name: string): string {
  return `scratch:${kernel}:${name}`;
}

/** Each buffer lives from the step that writes it to the last that reads it; inputs from before, outputs to after all. */
function bufferLifetimes(
  graph: Graph,
  calls: readonly PlacedDispatch[],
  borders: { readonly inputs: readonly Border[]; readonly outputs: readonly Border[] },
  storage: StorageOf,
  storageOfOperand: (operand: WgslOperand) => Storage | undefined,
): readonly Lifetime[] {
  const lifetimes = new Map<string, { id: string; bytes: number; start: number; end: number }>();
  const touch = (id: string, bytes: number, step: number) => {
    const known = lifetimes.get(id);
    if (known === undefined) lifetimes.set(id, { id, bytes, start: step, end: step });
    else known.end = Math.max(known.end, step);
  };
  const touchPart = ({ value, part }: Border, step: number) => {
    const found = storage(value, part);
    if (found.kind !== "buffer") return;
    const element = partElement(graph, { value }, part);
    touch(found.key, found.bytes / elementBytes(element) * elementWords(element) * 4, step);
  };
  for (const border of borders.inputs) touchPart(border, -1);
  calls.forEach(({ kernel, dispatch }, step) => {
    for (const operand of dispatch.operands) {
      if (operand.kind === "scratch") touch(scratchKey(kernel, operand.name), 4 * operand.words, step);
      else if (operand.kind === "value" && storageOfOperand(operand)?.kind === "buffer") touchPart(operand, step);
    }
  });
  for (const border of borders.outputs) touchPart(border, calls.length);
  return [...lifetimes.values()];
}
