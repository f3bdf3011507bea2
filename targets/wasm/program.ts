/** Lowers a graph to a WebAssembly program: kernels in order, every operand at a fixed address, weights in kernel order. */

import { fail, InvariantError } from "../../compiler/diagnostics.ts";
import { bytesOf, type ElementType } from "../../compiler/numeric/element.ts";
import { type Extent, shapeBound } from "../../compiler/ir/extent.ts";
import { freshName, type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { tensorParts, type TensorRole } from "../../compiler/ir/tensor.ts";
import { dropDeadNodes } from "../plan/live.ts";
import { alignUp, type Lifetime, planMemory } from "../plan/memory.ts";
import { partBytes, partKey, partsOfType } from "../plan/parts.ts";
import { type CanFuseEpilogue, formRegions } from "../plan/regions.ts";
import { type Storage, type StorageOf, storageOf } from "../plan/storage.ts";
import { viewsOf } from "../plan/views.ts";
import { type Region, regionOrigin, regionOutputs } from "../region.ts";
import type { KernelOperand, SelectContext, WasmKernel } from "./kernel.ts";

/** One call of a kernel function. */
export interface WasmStep {
  readonly region: Region;
  readonly kernel: WasmKernel;
  readonly functionName: string;
  /** Address of each operand, in the kernel's order. */
  readonly addresses: readonly number[];
}

/** A run of bytes in weights.bin. */
export interface PlacedWeights {
  readonly key: string;
  /** The constant value that it came from. */
  readonly value: ValueName;
  /** `data`, `codes`, ... for arrays as they are; otherwise the packed layout with its numbers. */
  readonly layout: string;
  /** From the start of weights.bin. */
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** An array of the model's border: a graph input or output, or one part of a quantized one. */
export interface Port {
  readonly name: string;
  readonly value: ValueName;
  readonly part: TensorRole;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
  /** Extents that the strides are made of. */
  readonly bounds: readonly number[];
  readonly address: number;
}

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

export interface WasmProgram {
  readonly graph: Graph;
  readonly steps: readonly WasmStep[];
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly states: readonly PlacedState[];
  readonly weights: readonly PlacedWeights[];
  readonly memory: MemoryMap;
}

/** How kernels are chosen. */
export interface KernelChoice {
  readonly canFuseEpilogue: CanFuseEpilogue;
  readonly selectKernel: (region: Region, context: SelectContext) => WasmKernel;
}

/** The first bytes stay unused, so that no address is 0. */
const firstAddress = 64;
/** Weights start on cache lines. */
const weightAlignment = 64;
const pageBytes = 65536;
/** Kernels may read 15 bytes past a part. */
const readSlack = 16;

/** Lowers a graph. Throws DiagnosticError when the model does not fit a 32-bit memory. */
export function lowerWasm(source: Graph, choice: KernelChoice): WasmProgram {
  const graph = dropDeadNodes(source);
  const storage = storageOf(graph);
  const regions = formRegions(graph, choice.canFuseEpilogue).filter(({ main }) => !isPureView(main, graph));
  const context: SelectContext = { graph, symbols: graph.symbols };
  const calls = nameFunctions(regions.map((region) => ({ region, kernel: choice.selectKernel(region, context) })));
  const borders = borderParts(graph);

  const weights = placeWeights(graph, calls, borders, storage);
  const weightsBytes = weights.reduce((end, { offset, bytes }) => Math.max(end, offset + bytes.byteLength), 0);
  const statesBase = alignUp(firstAddress + weightsBytes + readSlack, weightAlignment);
  const states = placeStates(graph, statesBase);
  const statesEnd = states.reduce((end, { address, bytes }) => Math.max(end, address + bytes), statesBase);
  const arenaBase = alignUp(statesEnd + readSlack, weightAlignment);
  const lifetimes = bufferLifetimes(calls, borders, storage);
  const plan = planMemory(lifetimes);
  const pages = Math.ceil((arenaBase + plan.bytes + readSlack) / pageBytes);
  if (pages > 65536) tooLarge(pages);

  const bufferAddress = (key: string) => arenaBase + present(plan.offsets.get(key), `buffer ${key}`);
  const weightsAddress = new Map(weights.map(({ key, offset }) => [key, firstAddress + offset]));
  const stateAddress = new Map(states.map((state) => [partKey(state.name, state.part), state.address]));
  const addressOfStorage = (place: Storage): number => {
    switch (place.kind) {
      case "buffer":
        return bufferAddress(place.key) + place.offset;
      case "constant":
        return present(weightsAddress.get(partKey(place.hash, place.part)), `constant ${place.hash}`) + place.offset;
      case "state":
        return present(stateAddress.get(partKey(place.state, place.part)), `state ${place.state}`) + place.offset;
    }
  };
  const addressOfOperand = (operand: KernelOperand, step: number, index: number): number => {
    switch (operand.kind) {
      case "value":
        return addressOfStorage(storage(operand.value, operand.part));
      case "weights":
        return present(weightsAddress.get(operand.weights.key), `weights ${operand.weights.key}`);
      case "scratch":
        return bufferAddress(scratchKey(step, index));
      case "state":
        return present(stateAddress.get(partKey(operand.state, operand.part)), `state ${operand.state}`);
    }
  };
  const port = (border: BorderPart): Port => ({
    ...border,
    bounds: shapeBound(border.shape, graph.symbols),
    address: addressOfStorage(storage(border.value, border.part)),
  });
  return {
    graph,
    steps: calls.map((call, step) => ({
      ...call,
      addresses: call.kernel.operands.map((operand, index) => addressOfOperand(operand, step, index)),
    })),
    inputs: borders.inputs.map(port),
    outputs: borders.outputs.map(port),
    states,
    weights,
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
      lifetimes: lifetimes.map((lifetime) => ({ ...lifetime, address: bufferAddress(lifetime.id) })),
    },
  };
}

interface KernelCall {
  readonly region: Region;
  readonly kernel: WasmKernel;
  readonly functionName: string;
}

interface BorderPart {
  readonly name: string;
  readonly value: ValueName;
  readonly part: TensorRole;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
}

interface Borders {
  readonly inputs: readonly BorderPart[];
  readonly outputs: readonly BorderPart[];
}

/** Views that a state is written through still need their kernel. */
function isPureView(main: Region["main"], graph: Graph): boolean {
  return main.op !== "append" && main.op !== "writeState" && viewsOf(main, graph) !== undefined;
}

/** Kernels of one id share one function, named after the source node that used it first. */
function nameFunctions(
  chosen: readonly { readonly region: Region; readonly kernel: WasmKernel }[],
): readonly KernelCall[] {
  const byId = new Map<string, string>();
  const taken = new Set<string>(["run"]);
  return chosen.map(({ region, kernel }) => {
    let functionName = byId.get(kernel.id);
    if (functionName === undefined) {
      functionName = freshName(regionOrigin(region)[0] ?? regionOutputs(region)[0], taken);
      taken.add(functionName);
      byId.set(kernel.id, functionName);
    }
    return { region, kernel, functionName };
  });
}

function borderParts(graph: Graph): Borders {
  const partsOf = (entry: { readonly name: string; readonly value: ValueName }): readonly BorderPart[] =>
    partsOfType(typeOf(graph, entry.value)).map((type) => ({
      ...type,
      name: type.part === "data" || type.part === "codes" ? entry.name : `${entry.name}.${type.part}`,
      value: entry.value,
    }));
  return { inputs: graph.inputs.flatMap(partsOf), outputs: graph.outputs.flatMap(partsOf) };
}

/** Constants in the order in which kernels first read them, each once. */
function placeWeights(
  graph: Graph,
  calls: readonly KernelCall[],
  borders: Borders,
  storage: StorageOf,
): readonly PlacedWeights[] {
  const placed = new Map<string, PlacedWeights>();
  let end = 0;
  const place = (key: string, value: ValueName, layout: string, make: () => Uint8Array<ArrayBuffer>) => {
    if (placed.has(key)) return;
    const bytes = make();
    const offset = alignUp(end, weightAlignment);
    placed.set(key, { key, value, layout, offset, bytes });
    end = offset + bytes.byteLength;
  };
  const placeValue = (value: ValueName, part: TensorRole) => {
    const found = storage(value, part);
    if (found.kind !== "constant") return;
    place(partKey(found.hash, found.part), value, found.part, () => constantBytes(graph, found.hash, found.part));
  };
  for (const { kernel } of calls) {
    for (const operand of kernel.operands) {
      if (operand.kind === "value") placeValue(operand.value, operand.part);
      if (operand.kind === "weights") {
        const { key, value, layout, pack } = operand.weights;
        place(key, value, layout, pack);
      }
    }
  }
  for (const { value, part } of borders.outputs) placeValue(value, part);
  return [...placed.values()];
}

function constantBytes(graph: Graph, hash: string, part: TensorRole): Uint8Array<ArrayBuffer> {
  const found = tensorParts(graph.constants.get(hash)).find(({ role }) => role === part);
  if (found === undefined) throw new InvariantError(`Constant ${hash} has no ${part}`);
  return bytesOf(found.tensor.data);
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

function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new InvariantError(`${what} was not placed`);
  return value;
}

function tooLarge(pages: number): never {
  return fail("Q0701", `The compiled model needs ${(pages / 16384).toFixed(1)} GiB of memory; WebAssembly has 4 GiB`, {
    help: "Bind smaller extents, or quantize the weights (a recipe such as w4)",
  });
}
