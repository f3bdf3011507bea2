/** Counts the codes in which a compiled graph differs from the evaluator. */

import { evaluateGraph } from "../ir/evaluate/mod.ts";
import { type Graph, typeOf } from "../ir/graph.ts";
import type { ValueName } from "../ir/node.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { Sample } from "../data/samples.ts";

export interface CodeCount {
  readonly value: ValueName;
  readonly origin: readonly string[];
  readonly codes: number;
  readonly different: number;
  /** Largest difference of a code, in codes. */
  readonly largest: number;
}

/** Compiles a graph and runs it once, from clear states. */
export type RunGraph = (graph: Graph, inputs: Sample) => Promise<Readonly<Record<string, Tensor>>>;

/**
 * Runs the graph with every quantized value as an output, on the evaluator and compiled, and compares the codes.
 * States start clear for each sample.
 */
export async function compareCodes(
  graph: Graph,
  samples: readonly Sample[],
  run: RunGraph,
): Promise<readonly CodeCount[]> {
  const watched = graph.nodes.flatMap((node) =>
    node.op === "constant" ? [] : node.outputs
      .filter((value) => typeOf(graph, value).encoding.kind !== "plain")
      .map((value) => ({ value, origin: node.origin }))
  );
  const observed: Graph = {
    ...graph,
    outputs: [...graph.outputs, ...watched.map(({ value }) => ({ name: watchName(value), value }))],
  };
  const counts = watched.map(() => ({ codes: 0, different: 0, largest: 0 }));
  for (const sample of samples) {
    const wanted = evaluateGraph(observed, sample).outputs;
    const actual = await run(observed, sample);
    watched.forEach(({ value }, index) => {
      const x = codesOf(wanted[watchName(value)]);
      const y = codesOf(actual[watchName(value)]);
      const count = counts[index];
      count.codes += x.length;
      for (let entry = 0; entry < x.length; entry++) {
        if (x[entry] === y[entry]) continue;
        count.different++;
        count.largest = Math.max(count.largest, Math.abs(x[entry] - y[entry]));
      }
    });
  }
  return watched.map((entry, index) => ({ ...entry, ...counts[index] }));
}

function watchName(value: ValueName): string {
  return `codes of %${value}`;
}

function codesOf(tensor: Tensor): ArrayLike<number> {
  if (tensor.kind === "plain") throw new TypeError("a watched value is quantized");
  const { data } = tensor.codes;
  return data instanceof BigInt64Array || data instanceof BigUint64Array ? Float64Array.from(data, Number) : data;
}
