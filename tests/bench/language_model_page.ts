/** Runs in the browser: every engine decodes the same tokens, a few at a time in turn. */

import { Wllama } from "@wllama/wllama";

export interface PageRequest {
  /** Folder of each compiled artifact, by the name that is shown. */
  readonly artifacts: Readonly<Record<string, string>>;
  readonly gguf: string;
  readonly wllama: string;
  readonly rounds: number;
  /** Tokens that are decoded in a turn. */
  readonly tokens: number;
  /** Tokens of the prompt. */
  readonly prompt: number;
}

export interface PageTiming {
  readonly name: string;
  /** Milliseconds of the whole prompt. */
  readonly prompt: number;
  /** Milliseconds of one token in every round. */
  readonly rounds: readonly number[];
  /** The likeliest next token after the prompt. */
  readonly likeliest: number;
}

interface Engine {
  readonly name: string;
  /** Appends tokens to the context and returns the likeliest next one. */
  readonly feed: (tokens: readonly number[]) => Promise<number>;
}

interface Artifact {
  load(): Promise<{
    run(inputs: {
      readonly ids: { readonly data: Int32Array; readonly shape: readonly number[] };
    }): Promise<{ readonly logits: { readonly data: ArrayLike<number> } }>;
  }>;
}

async function openArtifact(name: string, folder: string): Promise<Engine> {
  const module: Artifact = await import(`${folder}/mod.js`);
  const model = await module.load();
  return {
    name,
    feed: async (tokens) => {
      const { logits } = await model.run({ ids: { data: Int32Array.from(tokens), shape: [1, tokens.length] } });
      return largest(logits.data);
    },
  };
}

function largest(values: ArrayLike<number>): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}

async function openWllama({ gguf, wllama }: PageRequest): Promise<Engine> {
  const engine = new Wllama({
    "single-thread/wllama.wasm": `${wllama}/single-thread/wllama.wasm`,
    "multi-thread/wllama.wasm": `${wllama}/multi-thread/wllama.wasm`,
  }, { suppressNativeLog: true });
  const file = await (await fetch(gguf)).blob();
  await engine.loadModel([file], { n_threads: 1, n_ctx: 1024 });
  return {
    name: "wllama 2.3.1",
    feed: async (tokens) => {
      await engine.decode([...tokens], {});
      const [best] = await engine.getLogits(1);
      return best.token;
    },
  };
}

/** Loads every engine, feeds the prompt, then decodes in turns. */
export async function runPage(request: PageRequest): Promise<readonly PageTiming[]> {
  const engines = [await openWllama(request)];
  for (const [name, folder] of Object.entries(request.artifacts)) engines.push(await openArtifact(name, folder));
  const prompt = Array.from({ length: request.prompt }, (_, index) => 1000 + 37 * index);
  const started: { prompt: number; likeliest: number; rounds: number[] }[] = [];
  for (const { feed } of engines) {
    const begin = performance.now();
    const likeliest = await feed(prompt);
    started.push({ prompt: performance.now() - begin, likeliest, rounds: [] });
  }
  // The first turns warm the engines up and are not counted.
  for (let round = -2; round < request.rounds; round++) {
    for (const [index, { feed }] of engines.entries()) {
      const begin = performance.now();
      for (let token = 0; token < request.tokens; token++) await feed([500 + token]);
      if (round >= 0) started[index].rounds.push((performance.now() - begin) / request.tokens);
    }
  }
  return engines.map(({ name }, index) => ({ name, ...started[index] }));
}

Object.assign(globalThis, { runPage });
