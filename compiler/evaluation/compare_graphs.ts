/** Compares two graphs: their nodes as text, then every value that both compute on the same inputs. */

import { makeNode } from "../ir/build.ts";
import { constantEnvironment, evaluateGraph, evaluateNode } from "../ir/evaluate/mod.ts";
import { type Graph, typeOf } from "../ir/graph.ts";
import { isFloat } from "../numeric/element.ts";
import type { Node, ValueName } from "../ir/node.ts";
import { printNode } from "../ir/print.ts";
import type { QuantizedTensor, Tensor } from "../ir/tensor.ts";
import { ErrorSums, type OutputError } from "./measures.ts";
import type { Sample } from "../data/samples.ts";

export interface NodeDifference {
  /** Lines of the first graph that the other has not, in order; constants by their content. */
  readonly removed: readonly string[];
  readonly added: readonly string[];
}

export interface ValueError extends OutputError {
  /** Name in the first graph. */
  readonly value: ValueName;
  /** Name in the other graph, where another node of the same origin makes it. */
  readonly other: ValueName;
  readonly origin: readonly string[];
}

/** Difference of the graphs' text, node by node. */
export function compareNodes(first: Graph, other: Graph): NodeDifference {
  const lines = (graph: Graph) => graph.nodes.map((node) => printNode(graph, node));
  const a = lines(first);
  const b = lines(other);
  const inA = new Set(a);
  const inB = new Set(b);
  return { removed: a.filter((line) => !inB.has(line)), added: b.filter((line) => !inA.has(line)) };
}

/**
 * Errors of the values that both graphs compute, in the first graph's order, over all samples. Values match by name,
 * else by the origin of their node (the last node of an origin holds its result). Quantized values count as reals.
 */
export function compareValues(first: Graph, other: Graph, samples: readonly Sample[]): readonly ValueError[] {
  const pairs = matchValues(first, other);
  const sums = new Map(pairs.map(({ value }) => [value, new ErrorSums()]));
  for (const sample of samples) {
    const wanted = observe(first, sample, new Set(pairs.map(({ value }) => value)));
    const actual = observe(other, sample, new Set(pairs.map((pair) => pair.other)));
    for (const pair of pairs) {
      const x = wanted.get(pair.value);
      const y = actual.get(pair.other);
      if (x !== undefined && y !== undefined && x.length === y.length) sums.get(pair.value)?.add(x, y);
    }
  }
  return pairs.map((pair) => ({ ...pair, ...(sums.get(pair.value) ?? new ErrorSums()).result() }));
}

interface Pair {
  readonly value: ValueName;
  readonly other: ValueName;
  readonly origin: readonly string[];
}

function matchValues(first: Graph, other: Graph): readonly Pair[] {
  const byOrigin = new Map<string, ValueName>();
  for (const node of other.nodes) if (node.op !== "constant") byOrigin.set(originKey(node), node.outputs[0]);
  const outputs = new Map(other.outputs.map(({ name, value }) => [name, value]));
  const pairs: Pair[] = first.nodes.flatMap((node) => {
    if (node.op === "constant") return [];
    const [value] = node.outputs;
    const found = other.types.has(value) ? value : node.origin.length > 0 ? byOrigin.get(originKey(node)) : undefined;
    if (found === undefined || isReal(first, value) !== isReal(other, found)) return [];
    return [{ value, other: found, origin: node.origin }];
  });
  const known = new Set(pairs.map(({ value }) => value));
  for (const { name, value } of first.outputs) {
    const found = outputs.get(name);
    if (found !== undefined && !known.has(value)) pairs.push({ value, other: found, origin: [] });
  }
  return pairs;
}

/** Whether a value stands for real numbers: floats, or codes with their steps. Bare codes and accumulators do not. */
function isReal(graph: Graph, value: ValueName): boolean {
  const type = typeOf(graph, value);
  return type.encoding.kind !== "plain" || isFloat(type.element);
}

function originKey(node: Node): string {
  return JSON.stringify([...node.origin].sort());
}

function observe(graph: Graph, sample: Sample, wanted: ReadonlySet<ValueName>): Map<ValueName, ArrayLike<number>> {
  const seen = new Map<ValueName, ArrayLike<number>>();
  evaluateGraph(graph, sample, {
    observe: (value, tensor) => {
      if (wanted.has(value)) seen.set(value, realNumbers(tensor));
    },
  });
  return seen;
}

/** The numbers that a tensor stands for. */
function realNumbers(tensor: Tensor): ArrayLike<number> {
  const plain = tensor.kind === "plain" ? tensor : decode(tensor);
  const { data } = plain;
  return data instanceof BigInt64Array || data instanceof BigUint64Array ? Float64Array.from(data, Number) : data;
}

function decode(tensor: QuantizedTensor) {
  const node = makeNode("dequantize", ["q"], ["x"], {}, []);
  const [result] = evaluateNode(node, [tensor], constantEnvironment({ get: () => tensor }));
  if (result.kind !== "plain") throw new TypeError("dequantize gives a plain tensor");
  return result;
}
