/** Places everything that a program keeps in its linear memory: weights, states, and the arena that values share. */

import { fail, InvariantError, present } from "../../compiler/diagnostics.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import type { TensorRole } from "../../compiler/ir/tensor.ts";
import type { Borders } from "../plan/borders.ts";
import { alignUp, type Lifetime, planMemory } from "../plan/memory.ts";
import { partBytes, partKey, partsOfType } from "../plan/parts.ts";
import type { Storage, StorageOf } from "../plan/storage.ts";
import { placeWeights, type WeightOperand, weightsEnd } from "../plan/weights.ts";
import { type Region, regionOutputs } from "../region.ts";
import type { WeightEntry } from "../target.ts";
import type { KernelOperand, WasmKernel } from "./kernel.ts";

export interface PlacedState {
  readonly name: string;
  readonly part: TensorRole;
  readonly address: number;
  readonly bytes: number;
}

/** Layout of the linear memory: weights, then states, then the arena that values share. */
export interface MemoryMap {
  readonly weightsBase: number;
  readonly weightsBytes: number;
  readonly statesBase: number;
  readonly statesBytes: number;
  readonly arenaBase: number;
  readonly arenaBytes: number;
  /** The most arena bytes that are live at once. */
  readonly peakBytes: number;
  /** Bytes of the arena if nothing shared. */
  readonly unsharedBytes: number;
  readonly pages: number;
  readonly lifetimes: readonly (Lifetime & { readonly address: number })[];
}

/** The first bytes stay unused, so that no address is 0. */
const firstAddress = 64;
/** States and values start on cache lines. */
const blockAlignment = 64;
const pageBytes = 65536;
/** Kernels may read 15 bytes past a part. */
const readSlack = 16;

/** A kernel to call, and the function that it became. */
export interface KernelCall {
  readonly region: Region;
  readonly kernel: WasmKernel;
  readonly functionName: string;
}

/** Where everything lies. */
export interface Placement {
  readonly weights: readonly WeightEntry[];
  readonly states: readonly PlacedState[];
  readonly memory: MemoryMap;
  readonly addressOf: (value: ValueName, part: TensorRole) => number;
  /** Address of operand `index` of step `step`. */
  readonly addressOfOperand: (operand: KernelOperand, step: number, index: number) => number;
}

/** Places the memory of a program, its weights behind those that stand `before`. Throws DiagnosticError when it does not fit 32-bit addresses. */
export function placeMemory(
  graph: Graph,
  calls: readonly KernelCall[],
  borders: Borders,
  storage: StorageOf,
  before: readonly WeightEntry[],
): Placement {
  const weights = placeWeights(graph, weightOperands(calls, borders), storage, before);
  const weightsBytes = weightsEnd(weights);
  const statesBase = alignUp(firstAddress + weightsBytes + readSlack, blockAlignment);
  const states = placeStates(graph, statesBase);
  const statesEnd = states.reduce((end, { address, bytes }) => Math.max(end, address + bytes), statesBase);
  const arenaBase = alignUp(statesEnd + readSlack, blockAlignment);
  const lifetimes = bufferLifetimes(calls, borders, storage);
  const plan = planMemory(lifetimes);
  const pages = Math.ceil((arenaBase + plan.bytes + readSlack) / pageBytes);
  if (pages > 65536) tooLarge(pages);
  const buffer = (key: string) => arenaBase + present(plan.offsets.get(key), `buffer ${key}`);
  return {
    weights,
    states,
    memory: {
      weightsBase: firstAddress,
      weightsBytes,
      statesBase,
      statesBytes: statesEnd - statesBase,
      arenaBase,
      arenaBytes: plan.bytes,
      peakBytes: plan.peakBytes,
      unsharedBytes: lifetimes.reduce((sum, { bytes }) => sum + alignUp(bytes, 16), 0),
      pages,
      lifetimes: lifetimes.map((lifetime) => ({ ...lifetime, address: buffer(lifetime.id) })),
    },
    ...addressing(weights, states, buffer, storage),
  };
}

function addressing(
  weights: readonly WeightEntry[],
  states: readonly PlacedState[],
  buffer: (key: string) => number,
  storage: StorageOf,
): Pick<Placement, "addressOf" | "addressOfOperand"> {
  const weightsByKey = new Map(weights.map(({ key, offset }) => [key, firstAddress + offset]));
  const statesByKey = new Map(states.map((state) => [partKey(state.name, state.part), state.address]));
  const addressOf = (value: ValueName, part: TensorRole): number => {
    const place: Storage = storage(value, part);
    switch (place.kind) {
      case "buffer":
        return buffer(place.key) + place.offset;
      case "constant":
        return present(weightsByKey.get(partKey(place.hash, place.part)), `constant ${place.hash}`) + place.offset;
      case "state":
        return present(statesByKey.get(partKey(place.state, place.part)), `state ${place.state}`) + place.offset;
    }
  };
  return {
    addressOf,
    addressOfOperand: (operand, step, index) => {
      switch (operand.kind) {
        case "value":
          return addressOf(operand.value, operand.part);
        case "weights":
          return present(weightsByKey.get(operand.weights.key), `weights ${operand.weights.key}`);
        case "scratch":
          return buffer(scratchKey(step, index));
        case "state":
          return present(statesByKey.get(partKey(operand.state, operand.part)), `state ${operand.state}`);
      }
    },
  };
}

function* weightOperands(calls: readonly KernelCall[], borders: Borders): Iterable<WeightOperand> {
  for (const { kernel } of calls) {
    for (const operand of kernel.operands) {
      if (operand.kind === "value" || operand.kind === "weights") yield operand;
    }
  }
  for (const { value, part } of borders.outputs) yield { kind: "value", value, part };
}

function placeStates(graph: Graph, base: number): readonly PlacedState[] {
  let address = base;
  return graph.states.flatMap((state) =>
    partsOfType(state.type).map((type) => {
      const placed = { name: state.name, part: type.part, address, bytes: partBytes(type, graph.symbols) };
      address = alignUp(address + placed.bytes, 16);
      return placed;
    })
  );
}

function scratchKey(step: number, operand: number): string {
  return `scratch:${step}:${operand}`;
}

/** Each buffer lives from the step that writes it to the last that reads it; inputs from before, outputs to after all. */
function bufferLifetimes(
  calls: readonly KernelCall[],
  borders: Borders,
  storage: StorageOf,
): readonly Lifetime[] {
  const lifetimes = new Map<string, { id: string; bytes: number; start: number; end: number }>();
  const touch = (value: ValueName, part: TensorRole, step: number, writes: boolean) => {
    const place = storage(value, part);
    if (place.kind !== "buffer") return;
    const known = lifetimes.get(place.key);
    if (known !== undefined) {
      known.end = Math.max(known.end, step);
    } else if (writes) {
      lifetimes.set(place.key, { id: place.key, bytes: place.bytes, start: step, end: step });
    } else {
      throw new InvariantError(`The ${part} of %${value} are read at step ${step}, before any kernel writes them`);
    }
  };
  for (const { value, part } of borders.inputs) touch(value, part, -1, true);
  calls.forEach(({ region, kernel }, step) => {
    const outputs = regionOutputs(region);
    const writes = (operand: KernelOperand) => operand.kind === "value" && outputs.includes(operand.value);
    // An operand that is written counts from this step even where it is listed before one that is read.
    for (const operand of [...kernel.operands].sort((a, b) => Number(writes(b)) - Number(writes(a)))) {
      if (operand.kind === "value") touch(operand.value, operand.part, step, writes(operand));
    }
    kernel.operands.forEach((operand, index) => {
      if (operand.kind !== "scratch") return;
      const id = scratchKey(step, index);
      lifetimes.set(id, { id, bytes: operand.bytes, start: step, end: step });
    });
  });
  for (const { value, part } of borders.outputs) touch(value, part, calls.length, false);
  return [...lifetimes.values()];
}

function tooLarge(pages: number): never {
  return fail("Q0701", `The compiled model needs ${(pages / 16384).toFixed(1)} GiB of memory; WebAssembly has 4 GiB`, {
    help: "Bind smaller extents, or quantize the weights (a recipe such as w4)",
  });
}
