/** Runs decoder graphs on the evaluator: feeding ids, greedy decoding, perplexity by windows. */

import assert from "node:assert/strict";
import { evaluateGraph, StateMemory } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { type PlainTensor, plainTensor } from "../../compiler/ir/tensor.ts";
import { argMax } from "./compare.ts";

/** Feeds ids to a decoder and yields its logits, [1, positions, vocabulary]; `states` grow by the ids. */
export function feed(graph: Graph, ids: readonly number[], states: StateMemory): PlainTensor<"f32"> {
  const input = plainTensor("i32", [1, ids.length], Int32Array.from(ids));
  const { logits } = evaluateGraph(graph, { ids: input }, { states }).outputs;
  assert.ok(logits.kind === "plain" && logits.data instanceof Float32Array);
  return plainTensor("f32", logits.shape, logits.data);
}

export function freshStates(graph: Graph): StateMemory {
  return new StateMemory(graph.states, graph.symbols);
}

/** The most likely continuation: `count` ids after the prompt, one token a call. */
export function greedy(graph: Graph, prompt: readonly number[], count: number): readonly number[] {
  const states = freshStates(graph);
  const ids: number[] = [];
  let logits = feed(graph, prompt, states);
  for (;;) {
    const vocabulary = logits.shape[2];
    ids.push(argMax(logits.data.subarray(logits.data.length - vocabulary)));
    if (ids.length === count) return ids;
    logits = feed(graph, ids.slice(-1), states);
  }
}

/** -ln p(target) by log-softmax in float64. */
export function negativeLogLikelihood(logits: ArrayLike<number>, target: number): number {
  let largest = -Infinity;
  for (let index = 0; index < logits.length; index++) largest = Math.max(largest, logits[index]);
  let sum = 0;
  for (let index = 0; index < logits.length; index++) sum += Math.exp(logits[index] - largest);
  return largest + Math.log(sum) - logits[target];
}
