/** Lowers a graph to WebGPU dispatches: kernels in order, every operand at a fixed place, weights in kernel order. */

import { fail, InvariantError } from "../../compiler/diagnostics.ts";
import { evaluateExtent, type Extent, shapeBound } from "../../compiler/ir/extent.ts";
import { freshName, type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { sizeOf, tensorParts, type TensorRole } from "../../compiler/ir/tensor.ts";
import { bytesOf, elementBytes, type ElementType } from "../../compiler/numeric/element.ts";
import { lowerRegion } from "../loops/lower.ts";
import type { Index, LoopBuffer } from "../loops/program.ts";
import { dropDeadNodes } from "../plan/live.ts";
import { alignUp, type Lifetime, type MemoryPlan, planMemory } from "../plan/memory.ts";
import { partKey, partsOfType, type PartType } from "../plan/parts.ts";
import { type CanFuseEpilogue, formRegions } from "../plan/regions.ts";
import { type Storage, type StorageOf, storageOf } from "../plan/storage.ts";
import { viewsOf } from "../plan/views.ts";
import { type Region, regionOrigin, regionOutputs } from "../region.ts";
import { type PrintedStage, printStage } from "./loops/print.ts";
import { accessOf, stagesOf } from "./loops/stages.ts";
import { identifier } from "./names.ts";
import type { Memory } from "./kernel.ts";
import { elementWords } from "./storage.ts";

/** A shader: one module with one entry point of its name. Calls of equal text share it. */
export interface WgslKernel {
  readonly name: string;
  readonly op: string;
  readonly text: string;
  readonly memories: readonly Memory[];
  readonly usesSymbols: boolean;
}

/** Bytes of weights.bin that a dispatch binds as `weights0`, `weights1`, ... */
export interface Window {
  readonly offset: number;
  readonly bytes: number;
}

export interface WgslStep {
  readonly region: Region;
  readonly kernel: WgslKernel;
  /** Words of `Call`. */
  readonly starts: readonly number[];
  readonly windows: readonly Window[];
  /** The number of invocations is the largest product. */
  readonly threads: readonly (readonly Index[])[];
}

export interface PlacedWeights {
  readonly key: string;
  readonly value: ValueName;
  readonly layout: string;
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** An array of the model's border. `address` counts words, or bytes where the memory is `weights`. */
export interface WgslPort {
  readonly name: string;
  readonly value: ValueName;
  readonly part: TensorRole;
  readonly element: ElementType;
  readonly shape: readonly Extent[];
  readonly bounds: readonly number[];
  readonly memory: "arena" | "states" | "weights";
  readonly address: number;
}

export interface WgslProgram {
  readonly graph: Graph;
  readonly kernels: readonly WgslKernel[];
  readonly steps: readonly WgslStep[];
  readonly inputs: readonly WgslPort[];
  readonly outputs: readonly WgslPort[];
  readonly weights: readonly PlacedWeights[];
  readonly weightsBytes: number;
  readonly statesBytes: number;
  readonly plan: MemoryPlan;
  readonly lifetimes: readonly Lifetime[];
}

/** What every WebGPU device binds at once. */
export const bindingBytes = 128 * 2 ** 20;
/** Bindings start at multiples of this. */
const bindingAlignment = 256;
const weightAlignment = 64;
/** Storage buffers per stage that every device has, less the arena and the states. */
const mostWindows = 6;

interface Call {
  readonly region: Region;
  readonly stage: ReturnType<typeof stagesOf>[number];
  readonly program: ReturnType<typeof lowerRegion>;
}

interface Place {
  readonly storage: Storage;
  readonly type: PartType;
}

/** Lowers a graph. Throws DiagnosticError when the model does not fit the limits that every device has. */
export function lowerWgsl(source: Graph, canFuseEpilogue: CanFuseEpilogue): WgslProgram {
  const graph = dropDeadNodes(source);
  const storage = storageOf(graph);
  const symbols = Object.keys(graph.symbols).sort();
  const regions = formRegions(graph, canFuseEpilogue).filter(({ main }) => !isPureView(main, graph));
  const calls = regions.flatMap((region): Call[] => {
    const program = lowerRegion(region, graph);
    return stagesOf(program).map((stage) => ({ region, stage, program }));
  });
  const borders = borderParts(graph);
  const placeOf = (buffer: LoopBuffer) => placeOfBuffer(graph, storage, buffer);
  const placed = placeWeights(graph, calls, placeOf, borders, storage);
  const weightsBytes = placed.reduce((end, { offset, bytes }) => Math.max(end, offset + bytes.byteLength), 0);
  const weightAt = new Map(placed.map((entry) => [entry.key, entry]));
  const stateWords = placeStates(graph);
  const drafts = calls.map((call) => draftOf(call, placeOf, weightAt, symbols));
  const lifetimes = bufferLifetimes(graph, calls, drafts, placeOf, borders, storage);
  const plan = planMemory(lifetimes);

  const wordOf = ({ storage: found, type }: Place): number => {
    const inside = found.offset / elementBytes(type.element) * elementWords(type.element);
    if (found.kind === "buffer") return present(plan.offsets.get(found.key), found.key) / 4 + inside;
    if (found.kind === "state") {
      return present(stateWords.offsets.get(partKey(found.state, found.part)), found.state) + inside;
    }
    const weights = present(weightAt.get(partKey(found.hash, found.part)), found.hash);
    return (weights.offset + found.offset) / 4;
  };
  const kernels = new Map<string, WgslKernel>();
  const taken = new Set<string>();
  const steps = drafts.map(({ call, printed, windows, windowOf }, step): WgslStep => {
    const text = printed.text("main");
    let kernel = kernels.get(text);
    if (kernel === undefined) {
      const name = freshName(identifier(regionOrigin(call.region)[0] ?? regionOutputs(call.region)[0]), taken);
      taken.add(name);
      const { memories, usesSymbols } = printed;
      kernel = { name, op: call.program.name, text: printed.text(name), memories, usesSymbols };
      kernels.set(text, kernel);
    }
    const starts = printed.buffers.map((buffer) => {
      const place = placeOf(buffer);
      const window = windowOf.get(buffer.name);
      return wordOf(place) - (window === undefined ? 0 : windows[window].offset / 4);
    });
    const scratch = printed.scratch.map(({ name }) => present(plan.offsets.get(scratchKey(step, name)), name) / 4);
    return { region: call.region, kernel, starts: [...starts, ...scratch], windows, threads: printed.threads };
  });
  const port = (border: BorderPart): WgslPort => {
    const found = storage(border.value, border.part);
    const word = wordOf({ storage: found, type: border });
    return {
      ...border,
      bounds: shapeBound(border.shape, graph.symbols),
      memory: found.kind === "constant" ? "weights" : found.kind === "state" ? "states" : "arena",
      address: found.kind === "constant" ? word * 4 : word,
    };
  };
  return {
    graph,
    kernels: [...kernels.values()],
    steps,
    inputs: borders.inputs.map(port),
    outputs: borders.outputs.map(port),
    weights: placed,
    weightsBytes,
    statesBytes: stateWords.words * 4,
    plan,
    lifetimes,
  };
}

/** Views that a state is written through still need their kernel. */
function isPureView(main: Region["main"], graph: Graph): boolean {
  return main.op !== "append" && main.op !== "writeState" && viewsOf(main, graph) !== undefined;
}

interface Draft {
  readonly call: Call;
  readonly printed: PrintedStage;
  readonly windows: readonly Window[];
  /** The window of each buffer that is a constant. */
  readonly windowOf: ReadonlyMap<string, number>;
}

function draftOf(
  call: Call,
  placeOf: (buffer: LoopBuffer) => Place,
  weightAt: ReadonlyMap<string, PlacedWeights>,
  symbols: readonly string[],
): Draft {
  const { reads } = accessOf(call.stage.spaces.flatMap(({ body }) => body));
  const constants = call.program.buffers.flatMap((buffer) => {
    const { storage: found } = placeOf(buffer);
    if (found.kind !== "constant" || !reads.has(buffer.name)) return [];
    const { offset, bytes } = present(weightAt.get(partKey(found.hash, found.part)), found.hash);
    return [{ name: buffer.name, start: offset, end: offset + bytes.byteLength }];
  }).sort((a, b) => a.start - b.start);
  const windows: { offset: number; bytes: number }[] = [];
  const windowOf = new Map<string, number>();
  for (const { name, start, end } of constants) {
    const last = windows[windows.length - 1];
    const bytes = last === undefined ? Infinity : Math.max(last.bytes, alignUp(end - last.offset, 4));
    if (last !== undefined && bytes <= bindingBytes) last.bytes = bytes;
    else {
      const offset = Math.floor(start / bindingAlignment) * bindingAlignment;
      // A constant without entries still has to be bound.
      windows.push({ offset, bytes: Math.max(4, alignUp(end - offset, 4)) });
    }
    windowOf.set(name, windows.length - 1);
  }
  const over = windows.find(({ bytes }) => bytes > bindingBytes);
  const origin = regionOrigin(call.region)[0] ?? call.program.name;
  if (over !== undefined || windows.length > mostWindows) tooLarge(origin, over?.bytes ?? 0);
  const memoryOf = (buffer: LoopBuffer): Memory => {
    const { storage: found } = placeOf(buffer);
    if (found.kind === "constant") return `weights${windowOf.get(buffer.name) ?? 0}`;
    return found.kind === "state" ? "states" : "arena";
  };
  return { call, printed: printStage(call.program, call.stage, memoryOf, symbols), windows, windowOf };
}

function placeOfBuffer(graph: Graph, storage: StorageOf, { source, part }: LoopBuffer): Place {
  const type = source.kind === "value"
    ? typeOf(graph, source.value)
    : present(graph.states.find(({ name }) => name === source.state), source.state).type;
  const partType = present(partsOfType(type).find((candidate) => candidate.part === part), part);
  const found: Storage = source.kind === "value"
    ? storage(source.value, part)
    : { kind: "state", state: source.state, part, offset: 0 };
  return { storage: found, type: partType };
}

interface BorderPart extends PartType {
  readonly name: string;
  readonly value: ValueName;
}

interface Borders {
  readonly inputs: readonly BorderPart[];
  readonly outputs: readonly BorderPart[];
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
  calls: readonly Call[],
  placeOf: (buffer: LoopBuffer) => Place,
  borders: Borders,
  storage: StorageOf,
): readonly PlacedWeights[] {
  const placed = new Map<string, PlacedWeights>();
  let end = 0;
  const place = (found: Storage, value: ValueName) => {
    if (found.kind !== "constant" || placed.has(partKey(found.hash, found.part))) return;
    const bytes = constantBytes(graph, found.hash, found.part);
    const key = partKey(found.hash, found.part);
    const offset = alignUp(end, weightAlignment);
    placed.set(key, { key, value, layout: found.part, offset, bytes });
    end = offset + bytes.byteLength;
  };
  for (const { program } of calls) {
    for (const buffer of program.buffers) {
      if (buffer.source.kind === "value") place(placeOf(buffer).storage, buffer.source.value);
    }
  }
  for (const { value, part } of borders.outputs) place(storage(value, part), value);
  return [...placed.values()];
}

function constantBytes(graph: Graph, hash: string, part: TensorRole): Uint8Array<ArrayBuffer> {
  const found = tensorParts(graph.constants.get(hash)).find(({ role }) => role === part);
  if (found === undefined) throw new InvariantError(`Constant ${hash} has no ${part}`);
  return bytesOf(found.tensor.data);
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

function scratchKey(step: number, name: string): string {
  return `scratch:${step}:${name}`;
}

/** Each buffer lives from the step that writes it to the last that reads it; inputs from before, outputs to after all. */
function bufferLifetimes(
  graph: Graph,
  calls: readonly Call[],
  drafts: readonly Draft[],
  placeOf: (buffer: LoopBuffer) => Place,
  borders: Borders,
  storage: StorageOf,
): readonly Lifetime[] {
  const lifetimes = new Map<string, { id: string; bytes: number; start: number; end: number }>();
  const touch = ({ storage: found, type }: Place, step: number) => {
    if (found.kind !== "buffer") return;
    const known = lifetimes.get(found.key);
    const bytes = found.bytes / elementBytes(type.element) * elementWords(type.element) * 4;
    if (known === undefined) lifetimes.set(found.key, { id: found.key, bytes, start: step, end: step });
    else known.end = Math.max(known.end, step);
  };
  const touchBorder = (border: BorderPart, step: number) =>
    touch({ storage: storage(border.value, border.part), type: border }, step);
  for (const border of borders.inputs) touchBorder(border, -1);
  const largest = Object.fromEntries(Object.entries(graph.symbols).map(([name, { max }]) => [name, max]));
  calls.forEach(({ program }, step) => {
    for (const buffer of program.buffers) touch(placeOf(buffer), step);
    const { scratch, threads } = drafts[step].printed;
    for (const { name, words } of scratch) {
      const id = scratchKey(step, name);
      lifetimes.set(id, { id, bytes: 4 * words * threadCount(threads, largest), start: step, end: step });
    }
  });
  for (const border of borders.outputs) touchBorder(border, calls.length);
  return [...lifetimes.values()];
}

/** Invocations of a dispatch at given symbols. */
export function threadCount(threads: WgslStep["threads"], symbols: Readonly<Record<string, number>>): number {
  return Math.max(
    ...threads.map((extents) => extents.reduce<number>((n, extent) => n * indexValue(extent, symbols), 1)),
  );
}

function indexValue(index: Index, symbols: Readonly<Record<string, number>>): number {
  if (typeof index === "number") return index;
  switch (index.kind) {
    case "symbol":
      return evaluateExtent({ symbol: index.name, factor: 1, offset: 0 }, symbols);
    case "variable":
    case "scalar":
      throw new InvariantError("A dispatch depends on a variable");
    default: {
      const [x, y] = [indexValue(index.x, symbols), indexValue(index.y, symbols)];
      switch (index.kind) {
        case "add":
          return x + y;
        case "mul":
          return x * y;
        case "div":
          return Math.floor(x / y);
        case "rem":
          return x % y;
        case "min":
          return Math.min(x, y);
        case "max":
          return Math.max(x, y);
      }
    }
  }
}

function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new InvariantError(`${what} was not placed`);
  return value;
}

function tooLarge(origin: string, bytes: number): never {
  const what = bytes === 0 ? "weights in too many places" : `${Math.ceil(bytes / 2 ** 20)} MiB of weights`;
  return fail("Q0720", `"${origin}" reads ${what}; WebGPU binds 128 MiB at once`, {
    help: "Quantize the weights (a recipe such as w8 or w4), or compile for wasm",
  });
}
