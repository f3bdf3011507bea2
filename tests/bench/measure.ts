/** Timing of contenders in turn, so that drift of the machine's speed hits all alike. */

export interface Contender {
  readonly name: string;
  readonly run: () => unknown;
}

export interface RaceOptions {
  readonly rounds: number;
  /** Milliseconds of warm-up per contender: engines compile their best code meanwhile. */
  readonly warmUp: number;
  /** Least milliseconds of one measurement; short runs are repeated within it. */
  readonly slice: number;
  readonly onRound?: (round: number) => void;
}

export interface Timing {
  readonly name: string;
  /** Median milliseconds of one run over the rounds. */
  readonly milliseconds: number;
  /** Milliseconds of one run in the fastest round. */
  readonly least: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Runs until `milliseconds` have passed, at least once; returns the milliseconds of one run. */
async function runFor({ run }: Contender, milliseconds: number): Promise<number> {
  const start = performance.now();
  let runs = 0;
  let passed = 0;
  while (passed < milliseconds || runs === 0) {
    await run();
    runs++;
    passed = performance.now() - start;
  }
  return passed / runs;
}

/** One timing per contender, in their order. */
export async function race(contenders: readonly Contender[], options: RaceOptions): Promise<readonly Timing[]> {
  const { rounds, warmUp, slice, onRound } = options;
  for (const contender of contenders) await runFor(contender, warmUp);
  const times: number[][] = contenders.map(() => []);
  for (let round = 0; round < rounds; round++) {
    onRound?.(round);
    for (const [index, contender] of contenders.entries()) times[index].push(await runFor(contender, slice));
  }
  return contenders.map(({ name }, index) => ({
    name,
    milliseconds: median(times[index]),
    least: Math.min(...times[index]),
  }));
}
