/** Compares a compiled model with its float model on samples: errors per output, top-1 accuracy and agreement. */

import type { Sample } from "../data/samples.ts";
import { argMax, ErrorSums, median, type OutputError } from "./measures.ts";
import type { Runner, RunOutput } from "./runners.ts";

export interface Agreement {
  readonly outputs: Readonly<Record<string, OutputError>>;
  /** Share of rows (all axes but the last) of the first output whose largest entry is the same. */
  readonly agreement: number;
  /** Accuracy of the compiled and of the float model; undefined without labels. */
  readonly top1?: number;
  readonly floatTop1?: number;
  /** Median of one run. */
  readonly latencyMs: number;
  readonly floatLatencyMs: number;
  readonly samples: number;
}

export interface AgreementOptions {
  readonly labels?: readonly number[];
  readonly onProgress?: (fraction: number) => void;
}

/** Runs every sample from clear states on both. */
export async function compareOnSamples(
  float: Runner,
  compiled: Runner,
  samples: readonly Sample[],
  { labels, onProgress }: AgreementOptions = {},
): Promise<Agreement> {
  const sums = new Map<string, ErrorSums>();
  const times: number[] = [];
  const floatTimes: number[] = [];
  let rows = 0;
  let agreeing = 0;
  let right = 0;
  let floatRight = 0;
  for (const [index, sample] of samples.entries()) {
    const wanted = await timed(float, sample, floatTimes);
    const actual = await timed(compiled, sample, times);
    for (const [name, { data }] of Object.entries(wanted)) {
      const sum = sums.get(name) ?? new ErrorSums();
      sums.set(name, sum);
      sum.add(data, actual[name].data);
    }
    const [first] = Object.keys(wanted);
    const floatTops = topsOf(wanted[first]);
    const tops = topsOf(actual[first]);
    rows += tops.length;
    agreeing += tops.filter((top, row) => top === floatTops[row]).length;
    if (labels !== undefined) {
      right += Number(classOf(actual[first]) === labels[index]);
      floatRight += Number(classOf(wanted[first]) === labels[index]);
    }
    onProgress?.((index + 1) / samples.length);
  }
  return {
    outputs: Object.fromEntries([...sums].map(([name, sum]) => [name, sum.result()])),
    agreement: agreeing / rows,
    ...(labels === undefined ? {} : { top1: right / samples.length, floatTop1: floatRight / samples.length }),
    latencyMs: median(times),
    floatLatencyMs: median(floatTimes),
    samples: samples.length,
  };
}

async function timed(
  runner: Runner,
  sample: Sample,
  times: number[],
): Promise<Readonly<Record<string, RunOutput>>> {
  runner.reset();
  const start = performance.now();
  const outputs = await runner.run(sample);
  times.push(performance.now() - start);
  return outputs;
}

/** Index of the largest entry of every row along the last axis. */
function topsOf({ data, shape }: RunOutput): number[] {
  const extent = shape[shape.length - 1] ?? 1;
  if (extent === 0) return [];
  return Array.from({ length: data.length / extent }, (_, row) => argMax(slice(data, row * extent, extent)));
}

/** The class that one sample's scores name. */
function classOf({ data }: RunOutput): number {
  return argMax(data);
}

function slice(data: ArrayLike<number>, start: number, length: number): ArrayLike<number> {
  if (ArrayBuffer.isView(data) && "subarray" in data) {
    // Every array of numbers that a runner yields is a typed array.
    return (data as Float32Array).subarray(start, start + length);
  }
  return Array.from({ length }, (_, index) => data[start + index]);
}
