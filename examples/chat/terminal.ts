/**
 * Chats with a compiled language model in a terminal.
 *
 *   deno task compile SmolLM2-135M-Instruct.Q4_1.gguf --out out/smollm2
 *   deno run -A examples/chat/terminal.ts out/smollm2
 *   deno run -A examples/chat/terminal.ts out/smollm2 --prompt "What is the capital of France?"
 */

import { existsSync } from "node:fs";
import process from "node:process";
import cliProgress from "cli-progress";
import { Command } from "commander";
import { pathToFileURL } from "node:url";
import { join, resolve } from "node:path";
import { type ChatMessage, ChatSession, greedy, type LanguageModel, readChatFiles } from "./chat_session.ts";

interface Artifact {
  load(
    options: { readonly onProgress: (progress: { readonly loaded: number; readonly total: number }) => void },
  ): Promise<LanguageModel>;
}

/** Loads an artifact folder and its tokenizer. */
async function openChat(folder: string): Promise<ChatSession> {
  const module: Artifact = await import(pathToFileURL(join(resolve(folder), "mod.js")).href);
  const bar = new cliProgress.SingleBar({
    format: "weights {bar} {percentage}%",
    clearOnComplete: true,
    noTTYOutput: false,
    stream: process.stderr,
  });
  bar.start(1, 0);
  const model = await module.load({
    onProgress: ({ loaded, total }) => bar.update(total === 0 ? 1 : loaded / total),
  });
  bar.stop();
  const files = await readChatFiles(async (file) => {
    const path = join(folder, file);
    return existsSync(path) ? await Deno.readTextFile(path) : undefined;
  });
  return new ChatSession(model, files);
}

/** Prints the answer as it comes and returns it whole. */
async function answer(chat: ChatSession, messages: readonly ChatMessage[], maxTokens: number): Promise<string> {
  let text = "";
  let pace = "";
  for await (const piece of chat.reply(messages, { ...greedy, maxTokens })) {
    text += piece.text;
    pace = `${piece.tokens} tokens, ${piece.tokensPerSecond.toFixed(1)} tokens/s`;
    await Deno.stdout.write(new TextEncoder().encode(piece.text));
  }
  console.log();
  console.error(`[${pace}]`);
  return text;
}

async function main(folder: string, options: { prompt?: string; maxTokens: string }): Promise<void> {
  const chat = await openChat(folder);
  const maxTokens = Number(options.maxTokens);
  if (options.prompt !== undefined) {
    await answer(chat, [{ role: "user", content: options.prompt }], maxTokens);
    return;
  }
  const messages: ChatMessage[] = [];
  for (let line = prompt("you:"); line !== null && line !== ""; line = prompt("you:")) {
    messages.push({ role: "user", content: line });
    messages.push({ role: "assistant", content: await answer(chat, messages, maxTokens) });
  }
}

if (import.meta.main) {
  const program = new Command("chat")
    .description("Chat with a language model that Quern compiled")
    .argument("<folder>", "the artifact: a folder written by `deno task compile`")
    .option("--prompt <text>", "ask once and end")
    .option("--max-tokens <count>", "longest answer", "256")
    .action(main);
  await program.parseAsync(Deno.args, { from: "user" });
}
