/** A conversation with a compiled language model: templating, prefill in chunks, sampling, and streaming of text. */

import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** What the chat needs of a compiled model: the part of the artifact's `mod.d.ts` that it calls. */
export interface LanguageModel {
  run(
    inputs: Record<string, { readonly data: Int32Array; readonly shape: readonly number[] }>,
  ): Promise<Record<string, { readonly data: ArrayLike<number>; readonly shape: readonly number[] }>>;
  readonly state: { reset(): void; rewind(positions: number): void };
}

export interface SamplingOptions {
  /** 0 picks the likeliest token every time. */
  readonly temperature: number;
  /** Only this many of the likeliest tokens are drawn from. */
  readonly topK: number;
  readonly maxTokens: number;
  readonly seed: number;
}

export const greedy: SamplingOptions = { temperature: 0, topK: 1, maxTokens: 256, seed: 1 };

/** One piece of streamed text with the pace so far. */
export interface ReplyPiece {
  readonly text: string;
  readonly tokens: number;
  /** Generated tokens per second, prefill not counted; 0 for the first. */
  readonly tokensPerSecond: number;
}

interface NamedTemplate {
  readonly name: string;
  readonly template: string;
}

/** What the artifact's files tell a chat. */
export interface ChatFiles {
  /** Most tokens that one run takes. */
  readonly chunk: number;
  readonly tokenizer: object;
  readonly config: {
    readonly chat_template?: string | readonly NamedTemplate[];
    readonly eos_token?: string;
    readonly bos_token?: string;
  };
}

/** Reads an artifact's files through `read`, which gives undefined for a file that is not there. */
export async function readChatFiles(read: (file: string) => Promise<string | undefined>): Promise<ChatFiles> {
  const names = ["manifest.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
  const [manifest, tokenizer, config, template] = await Promise.all(names.map(read));
  if (tokenizer === undefined) throw new Error("The model has no tokenizer.json beside its weights");
  const separate = template === undefined ? {} : { chat_template: template };
  return {
    chunk: JSON.parse(manifest ?? "{}").symbols?.seq?.max ?? 1,
    tokenizer: JSON.parse(tokenizer),
    config: { ...separate, ...JSON.parse(config ?? "{}") },
  };
}

function mainTemplate(templates: ChatFiles["config"]["chat_template"]): string | undefined {
  if (templates === undefined || typeof templates === "string") return templates;
  return (templates.find(({ name }) => name === "default") ?? templates[0])?.template;
}

/** Keeps the model's cache in step with the conversation: what is already held is not fed again. */
export class ChatSession {
  readonly #model: LanguageModel;
  readonly #tokenizer: Tokenizer;
  /** Models without a template go on with the text that they are given. */
  readonly #template: Template | undefined;
  readonly #config: ChatFiles["config"];
  readonly #chunk: number;
  #held: number[] = [];

  constructor(model: LanguageModel, files: ChatFiles) {
    this.#model = model;
    this.#tokenizer = new Tokenizer(files.tokenizer, files.config);
    this.#config = files.config;
    this.#chunk = files.chunk;
    const template = mainTemplate(files.config.chat_template);
    this.#template = template === undefined ? undefined : new Template(template);
  }

  /** Whether the model was taught to answer; others go on with the text. */
  get answers(): boolean {
    return this.#template !== undefined;
  }

  /** Token ids of a conversation, ready for the assistant's answer. */
  encode(messages: readonly ChatMessage[]): number[] {
    if (this.#template === undefined) {
      const text = messages.map(({ content }) => content).join(" ");
      const begin = this.#config.bos_token === undefined
        ? undefined
        : this.#tokenizer.token_to_id(this.#config.bos_token);
      const { ids } = this.#tokenizer.encode(text, { add_special_tokens: false });
      return begin === undefined ? ids : [begin, ...ids];
    }
    const text = this.#template.render({
      messages,
      add_generation_prompt: true,
      bos_token: this.#config.bos_token ?? "",
      eos_token: this.#config.eos_token ?? "",
    });
    return this.#tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** Streams the assistant's answer to a conversation. Stops at the end token, at `maxTokens`, or when `signal` fires. */
  async *reply(
    messages: readonly ChatMessage[],
    options: SamplingOptions = greedy,
    signal?: AbortSignal,
  ): AsyncGenerator<ReplyPiece> {
    const end = this.#config.eos_token === undefined ? undefined : this.#tokenizer.token_to_id(this.#config.eos_token);
    const random = uniform(options.seed);
    let logits = await this.#feed(this.encode(messages));
    const answer: number[] = [];
    let shown = "";
    let started = 0;
    while (answer.length < options.maxTokens && !signal?.aborted) {
      const token = sample(logits, options, random);
      if (token === end) return;
      answer.push(token);
      const text = this.#tokenizer.decode(answer, { skip_special_tokens: true });
      const seconds = (performance.now() - started) / 1000;
      const tokensPerSecond = answer.length > 1 ? (answer.length - 1) / seconds : 0;
      if (answer.length === 1) started = performance.now();
      // A replacement character at the end is a code point whose bytes are not all there yet.
      if (!text.endsWith("\ufffd")) {
        yield { text: text.slice(shown.length), tokens: answer.length, tokensPerSecond };
        shown = text;
      }
      logits = await this.#run([token]);
    }
  }

  /** Brings the cache to exactly `ids` and returns the logits after the last of them. */
  #feed(ids: readonly number[]): Promise<ArrayLike<number>> {
    let common = 0;
    while (common < this.#held.length && common < ids.length - 1 && this.#held[common] === ids[common]) common++;
    this.#model.state.rewind(common);
    this.#held = this.#held.slice(0, common);
    return this.#run(ids.slice(common));
  }

  async #run(ids: readonly number[]): Promise<ArrayLike<number>> {
    let logits: ArrayLike<number> = [];
    for (let start = 0; start < ids.length; start += this.#chunk) {
      const chunk = ids.slice(start, start + this.#chunk);
      const outputs = await this.#model.run({ ids: { data: Int32Array.from(chunk), shape: [1, chunk.length] } });
      this.#held.push(...chunk);
      logits = lastRow(outputs.logits);
    }
    return logits;
  }
}

function lastRow(logits: { readonly data: ArrayLike<number>; readonly shape: readonly number[] }): ArrayLike<number> {
  const vocabulary = logits.shape[logits.shape.length - 1];
  return logits.data.length === vocabulary
    ? logits.data
    : Float32Array.from({ length: vocabulary }, (_, index) => logits.data[logits.data.length - vocabulary + index]);
}

function sample(logits: ArrayLike<number>, options: SamplingOptions, random: () => number): number {
  const candidates = likeliest(logits, options.temperature === 0 ? 1 : options.topK);
  if (candidates.length === 1) return candidates[0];
  const weights = candidates.map((token) => Math.exp((logits[token] - logits[candidates[0]]) / options.temperature));
  let rest = random() * weights.reduce((sum, weight) => sum + weight, 0);
  return candidates[weights.findIndex((weight) => (rest -= weight) <= 0)] ?? candidates[0];
}

/** Indices of the `count` largest entries, largest first. */
function likeliest(logits: ArrayLike<number>, count: number): number[] {
  const best: number[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (best.length === count && logits[token] <= logits[best[count - 1]]) continue;
    let place = best.length;
    while (place > 0 && logits[best[place - 1]] < logits[token]) place--;
    best.splice(place, 0, token);
    if (best.length > count) best.pop();
  }
  return best;
}

/** Mulberry32: uniform numbers in [0, 1) from a seed. */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
