/**
 * Perplexity and divergence of language models.
 *
 * Windows begin at ids 0, W, 2W, ...: the ids s..s+W-1 are fed to clear states, and at every position the next id is
 * scored (the last window is as long as there are ids). Perplexity is exp(mean -ln p(next)), with the softmax in
 * float64; the divergence is the mean over positions of Σ p_float (ln p_float - ln p_compiled), in nats.
 */

import { emptyTensor, type PlainTensor } from "../ir/tensor.ts";
import type { Sample } from "../data/samples.ts";
import { argMax, ErrorSums, klDivergence, logSoftmax, median, type OutputError } from "./measures.ts";
import type { Runner } from "./runners.ts";

export interface LanguageQuality {
  readonly perplexity: number;
  readonly floatPerplexity: number;
  readonly kl: number;
  /** Share of positions whose likeliest id is the same. */
  readonly agreement: number;
  readonly logits: OutputError;
  readonly positions: number;
  /** Median over the calls, per id fed. */
  readonly latencyMs: number;
  readonly floatLatencyMs: number;
}

export interface LanguageOptions {
  /** Ids of one window. */
  readonly window: number;
  /** Most ids that one call of the model takes; windows are fed in chunks of it over the states. */
  readonly chunk: number;
  /** Whether the model takes chunks shorter than `chunk`; one that does not leaves short windows out. */
  readonly dynamic: boolean;
  readonly input: string;
  readonly output: string;
  readonly element: "i32" | "i64";
  readonly onProgress?: (fraction: number) => void;
}

export async function compareOnText(
  float: Runner,
  compiled: Runner,
  ids: Int32Array,
  options: LanguageOptions,
): Promise<LanguageQuality> {
  const sums = new ErrorSums();
  const times: number[] = [];
  const floatTimes: number[] = [];
  let positions = 0;
  let agreeing = 0;
  let kl = 0;
  let loss = 0;
  let floatLoss = 0;
  for (let start = 0; start + 1 < ids.length; start += options.window) {
    const fed = Math.min(options.window, ids.length - 1 - start);
    if (!options.dynamic && fed < options.chunk) break;
    float.reset();
    compiled.reset();
    for (let offset = 0; offset < fed; offset += options.chunk) {
      const count = Math.min(options.chunk, fed - offset);
      const sample = sampleOf(options, ids.subarray(start + offset, start + offset + count));
      const wanted = await logitRows(float, sample, options.output, count, floatTimes);
      const actual = await logitRows(compiled, sample, options.output, count, times);
      for (let row = 0; row < count; row++) {
        const next = ids[start + offset + row + 1];
        const p = logSoftmax(wanted[row]);
        const q = logSoftmax(actual[row]);
        kl += klDivergence(p, q);
        loss -= q[next];
        floatLoss -= p[next];
        agreeing += Number(argMax(wanted[row]) === argMax(actual[row]));
        sums.add(wanted[row], actual[row]);
      }
      positions += count;
    }
    options.onProgress?.(Math.min(1, (start + fed) / (ids.length - 1)));
  }
  return {
    perplexity: Math.exp(loss / positions),
    floatPerplexity: Math.exp(floatLoss / positions),
    kl: kl / positions,
    agreement: agreeing / positions,
    logits: sums.result(),
    positions,
    latencyMs: median(times),
    floatLatencyMs: median(floatTimes),
  };
}

function sampleOf({ input, element }: LanguageOptions, ids: Int32Array): Sample {
  const tensor: PlainTensor = emptyTensor(element, [1, ids.length]);
  const { data } = tensor;
  if (data instanceof BigInt64Array) ids.forEach((id, index) => data[index] = BigInt(id));
  else if (data instanceof Int32Array) data.set(ids);
  return { [input]: tensor };
}

/** The logits of every position, one row each. */
async function logitRows(
  runner: Runner,
  sample: Sample,
  output: string,
  count: number,
  times: number[],
): Promise<readonly Float32Array[]> {
  const begin = performance.now();
  const { data } = (await runner.run(sample))[output];
  times.push((performance.now() - begin) / count);
  const all = data instanceof Float32Array ? data : Float32Array.from(data);
  const extent = all.length / count;
  return Array.from({ length: count }, (_, row) => all.subarray(row * extent, (row + 1) * extent));
}
