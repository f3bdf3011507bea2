/** Runs graphs on loop kernels alone and compares them with the evaluator, for tests. */

import assert from "node:assert/strict";
import { evaluateGraph, StateMemory } from "../../compiler/ir/evaluate/mod.ts";
import { decodeBf16 } from "../../compiler/numeric/element.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { SymbolValues } from "../../compiler/ir/extent.ts";
import { type PlainTensor, type Tensor, tensorParts } from "../../compiler/ir/tensor.ts";
import { randomInputs } from "./op_samples.ts";
import { mathLibrary } from "../../targets/wasm/math/library.ts";
import { moduleText } from "../../targets/wasm/module.ts";
import { type KernelChoice, lowerWasm, type WasmProgram } from "../../targets/wasm/program.ts";
import { startProgram } from "../../targets/wasm/run_program.ts";
import { loopKernel } from "../../targets/wasm/loops/select.ts";

export type Tensors = Readonly<Record<string, Tensor>>;

/** How far an entry may lie from the evaluator's: 0 where results are exact. */
export type Tolerance = (expected: number, index: number, output: string) => number;

export interface LoopRunOptions {
  /** One run each, from the states that the one before left. Random inputs of `seed` when absent. */
  readonly inputs?: readonly Tensors[];
  readonly seed?: number;
  /** Symbols of each run of random inputs. */
  readonly runs?: readonly SymbolValues[];
  /** Whether maps run as epilogues of the nodes before them. */
  readonly fuse?: boolean;
  readonly tolerance?: Tolerance;
  /** What is compiled, where it differs from what is evaluated: a mutant. */
  readonly compiled?: Graph;
}

export function loopChoice(fuse: boolean): KernelChoice {
  return { canFuseEpilogue: () => fuse, selectKernel: loopKernel };
}

export function loopProgram(graph: Graph, fuse = false): WasmProgram {
  return lowerWasm(graph, loopChoice(fuse));
}

/** WAT of the kernels of a graph. */
export function loopText(graph: Graph, fuse = false): string {
  return moduleText(loopProgram(graph, fuse), "simd128", mathLibrary);
}

/** Runs a graph on its loop kernels and on the evaluator and asserts that they agree. */
export async function assertLoops(graph: Graph, options: LoopRunOptions = {}): Promise<void> {
  const { seed = 1, fuse = false, tolerance = () => 0, runs = [{}] } = options;
  const inputs = options.inputs ?? runs.map((symbols, index) => randomInputs(graph, seed + index, symbols));
  const running = await startProgram(loopProgram(options.compiled ?? graph, fuse), "simd128", mathLibrary);
  const states = new StateMemory(graph.states, graph.symbols);
  for (const given of inputs) {
    const { outputs } = evaluateGraph(graph, given, { states });
    const actual = await running.run(given);
    for (const [name, tensor] of Object.entries(outputs)) assertTensors(name, actual[name], tensor, tolerance);
  }
}

/** Asserts that the comparison sees the difference between a graph and a mutant of it. */
export async function assertSeen(mutant: Graph, graph: Graph, options: LoopRunOptions = {}): Promise<void> {
  await assert.rejects(assertLoops(graph, { ...options, compiled: mutant }), assert.AssertionError);
}

function assertTensors(name: string, actual: Tensor, expected: Tensor, tolerance: Tolerance): void {
  const parts = tensorParts(actual);
  tensorParts(expected).forEach((part, index) => {
    assert.equal(parts[index]?.role, part.role);
    assertValues(`${name}.${part.role}`, parts[index].tensor, part.tensor, (value, at) => tolerance(value, at, name));
  });
}

function assertValues(
  what: string,
  actual: PlainTensor,
  expected: PlainTensor,
  tolerance: (expected: number, index: number) => number,
): void {
  assert.equal(actual.element, expected.element, what);
  assert.deepEqual(actual.shape, expected.shape, what);
  const isBrain = expected.element === "bf16";
  for (let index = 0; index < expected.data.length; index++) {
    if (actual.data[index] === expected.data[index]) continue;
    const [x, y] = [Number(actual.data[index]), Number(expected.data[index])];
    const [a, b] = isBrain ? [decodeBf16(x), decodeBf16(y)] : [x, y];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const room = tolerance(b, index);
    assert.ok(Math.abs(a - b) <= room, `${what}[${index}] is ${a}, wants ${b} within ${room}`);
  }
}

/** Half a unit in the last place of 1 in f32. */
export const unit = 2 ** -24;

/** Higham's gamma: n roundings in a row err by at most this factor. */
export function gamma(n: number): number {
  return n * unit / (1 - n * unit);
}
