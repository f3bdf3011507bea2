/** Makes selftest.bin: runs of the evaluator that the shipped model must repeat on the user's device. */

import { evaluateGraph, StateMemory } from "../../compiler/ir/evaluate/mod.ts";
import { evaluateShape, type SymbolValues } from "../../compiler/ir/extent.ts";
import { type Graph, producers, readers, typeOf } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { emptyTensor, type PlainTensor, plainTensor, sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import {
  bytesOf,
  decodeBf16,
  elementBytes,
  type ElementType,
  encodeBf16,
  fromBytes,
  isFloat,
  type TypedArray,
} from "../../compiler/numeric/element.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import type { TestHeader, TestOutput, TestTensor } from "../../runtime/selftest.ts";
import { alignUp } from "../plan/memory.ts";
import { perturb } from "./perturb.ts";
import { type Deviation, type Deviations, deviations, toleranceOf } from "./tolerance.ts";

/** One run: inputs by source name. */
export type TestInputs = Readonly<Record<string, PlainTensor>>;

/** Positions of the first run of a model with a dynamic axis: enough to use what is between positions. */
const firstExtent = 3;

/** Entries of one output that are kept; a larger output is sampled at an odd stride. */
const mostEntries = 16384;

/**
 * Inputs of the test: one run at small symbols, and where states grow one more of the least extent on top of it.
 * Floats are uniform in [0, 1), indices uniform over what they index, other integers 1.
 */
export function selfTestInputs(graph: Graph, seed = 1): readonly TestInputs[] {
  const atMost = (wanted: number): SymbolValues =>
    Object.fromEntries(
      Object.entries(graph.symbols).map(([name, { min, max }]) => [name, Math.max(min, Math.min(max, wanted))]),
    );
  const grows = graph.states.some(({ axis }) => axis >= 0);
  const runs = grows ? [atMost(firstExtent), atMost(1)] : [atMost(firstExtent)];
  const random = randomNumbers(seed);
  return runs.map((symbols) =>
    Object.fromEntries(graph.inputs.map(({ name, value }) => {
      const type = typeOf(graph, value);
      const tensor = emptyTensor(type.element, evaluateShape(type.shape, symbols));
      fill(tensor, indexLimit(graph, value), random);
      return [name, tensor];
    }))
  );
}

/** selftest.bin. Outputs without a bound on their deviation are left out. */
export function makeSelfTest(graph: Graph): Uint8Array<ArrayBuffer> {
  const states = new StateMemory(graph.states, graph.symbols);
  const shadow = shadowOf(graph);
  const arrays = new ArrayList();
  let allowed: Deviations | undefined;
  const runs = selfTestInputs(graph).map((given) => {
    const { outputs } = evaluateGraph(graph, given, { states });
    const shadowOutputs = shadow?.(given);
    const bounds = deviations(graph, allowed);
    allowed = bounds;
    return {
      inputs: Object.entries(given).map(([name, tensor]) => arrays.place(name, tensor)),
      outputs: graph.outputs.flatMap(({ name, value }) =>
        testOutput(name, outputs[name], shadowOutputs?.[name], bounds.get(value), arrays)
      ),
    };
  });
  return join({ runs }, arrays);
}

/** Runs of the slightly moved graph, where rounding to codes may amplify what targets round differently. */
function shadowOf(graph: Graph): ((given: TestInputs) => Readonly<Record<string, Tensor>>) | undefined {
  const bounds = deviations(graph);
  if (!graph.outputs.some(({ value }) => (bounds.get(value)?.moved ?? 0) > 0)) return undefined;
  const movedGraph = perturb(graph, randomNumbers(2));
  const states = new StateMemory(graph.states, graph.symbols);
  return (given) => evaluateGraph(movedGraph, given, { states }).outputs;
}

/** Arrays of the file, end to end. Invariant: `bytes` is the aligned end of the last one. */
class ArrayList {
  readonly arrays: Uint8Array[] = [];
  bytes = 0;

  place(name: string, { element, shape, data }: PlainTensor): TestTensor {
    const offset = this.bytes;
    this.arrays.push(bytesOf(data));
    this.bytes = alignUp(offset + data.byteLength, 8);
    return { name, element, shape, offset };
  }
}

/** The difference between one pair of runs is a sample of how far runs differ; others may lie this much farther. */
const shadowMargin = 4;

function testOutput(
  name: string,
  tensor: Tensor,
  shadow: Tensor | undefined,
  deviation: Deviation | undefined,
  arrays: ArrayList,
): TestOutput[] {
  if (tensor.kind !== "plain" || deviation === undefined) {
    throw new InvariantError(`Output "${name}" is not plain`, "emit");
  }
  const bound = toleranceOf(deviation, largestMagnitude(tensor), isFloat(tensor.element));
  if (bound === undefined) return [];
  const seen = shadow?.kind === "plain" ? largestDifference(tensor, shadow) : 0;
  const tolerance = Math.max(bound, shadowMargin * seen);
  const stride = strideFor(sizeOf(tensor.shape));
  return [{ ...arrays.place(name, everyNth(tensor, stride)), shape: tensor.shape, tolerance, stride }];
}

function largestDifference(a: PlainTensor, b: PlainTensor): number {
  let largest = 0;
  for (let index = 0; index < a.data.length; index++) {
    const difference = Math.abs(numberAt(a, index) - numberAt(b, index));
    if (difference > largest && Number.isFinite(difference)) largest = difference;
  }
  return largest;
}

function numberAt({ data, element }: PlainTensor, index: number): number {
  const value = Number(data[index]);
  return element === "bf16" ? decodeBf16(value) : value;
}

function strideFor(entries: number): number {
  const stride = Math.ceil(entries / mostEntries);
  return stride > 1 ? stride | 1 : 1;
}

/** Entries 0, stride, 2 stride, ... as a vector. */
function everyNth(tensor: PlainTensor, stride: number): PlainTensor {
  if (stride === 1) return tensor;
  const width = elementBytes(tensor.element);
  const count = Math.ceil(tensor.data.length / stride);
  const from = bytesOf(tensor.data);
  const bytes = new Uint8Array(count * width);
  for (let index = 0; index < count; index++) {
    bytes.set(from.subarray(index * stride * width, (index * stride + 1) * width), index * width);
  }
  return plainTensor(tensor.element, [count], fromBytes(tensor.element, bytes));
}

function join(header: TestHeader, { arrays, bytes }: ArrayList): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = alignUp(text.byteLength, 8);
  const file = new Uint8Array(8 + headerBytes + bytes).fill(0x20, 8, 8 + headerBytes);
  new DataView(file.buffer).setUint32(0, headerBytes, true);
  file.set(text, 8);
  let offset = 8 + headerBytes;
  for (const array of arrays) {
    file.set(array, offset);
    offset = alignUp(offset + array.byteLength, 8);
  }
  return file;
}

/** Entries that an input indexes, when a gather reads it (perhaps through views and casts); undefined otherwise. */
function indexLimit(graph: Graph, input: ValueName): number | undefined {
  const read = readers(graph);
  const made = producers(graph);
  const pending = [input];
  for (const value of pending) {
    for (const node of read.get(value) ?? []) {
      if (node.op === "gather" && node.inputs[1] === value) {
        const extent = typeOf(graph, node.inputs[0]).shape[node.attributes.axis];
        if (typeof extent === "number") return extent;
      }
      const passesOn = node.op === "reshape" || node.op === "transpose" ||
        (node.op === "map" &&
          node.inputs.every((operand) => operand === value || made.get(operand)?.op === "constant"));
      if (passesOn) pending.push(...node.outputs);
    }
  }
  return undefined;
}

function fill({ element, data, shape }: PlainTensor, limit: number | undefined, random: () => number): void {
  for (let index = 0; index < sizeOf(shape); index++) {
    setNumber(data, element, index, numberFor(element, limit, random));
  }
}

function numberFor(element: ElementType, limit: number | undefined, random: () => number): number {
  if (isFloat(element)) return random();
  if (limit !== undefined) return Math.floor(random() * Math.min(limit, 127));
  return 1;
}

function setNumber(data: TypedArray, element: ElementType, index: number, value: number): void {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[index] = BigInt(value);
  else data[index] = element === "bf16" ? encodeBf16(value) : value;
}

function largestMagnitude(tensor: PlainTensor): number {
  let largest = 0;
  for (let index = 0; index < tensor.data.length; index++) {
    const magnitude = Math.abs(numberAt(tensor, index));
    if (Number.isFinite(magnitude) && magnitude > largest) largest = magnitude;
  }
  return largest;
}

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
