/** The chat page: loads the artifact under `model/`, then talks with it. */

import { element, loadPageModel } from "../page_model.ts";
import { type ChatMessage, ChatSession, greedy, type LanguageModel } from "./chat_session.ts";

const log = element("log", HTMLElement);
const form = element("form", HTMLFormElement);
const question = element("question", HTMLTextAreaElement);
const send = element("send", HTMLButtonElement);
const stop = element("stop", HTMLButtonElement);
const pace = element("pace", HTMLElement);
const loading = element("loading", HTMLElement);

function say(role: "user" | "assistant" | "error", text: string): HTMLElement {
  const message = document.createElement("p");
  message.className = `message ${role}`;
  message.textContent = text;
  log.append(message);
  message.scrollIntoView({ block: "end" });
  return message;
}

/** A JSON file of the artifact; undefined where it has none of that name. */
async function fetchAsset(file: string) {
  const response = await fetch(`model/${file}`);
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`${file} answers ${response.status}`);
  return await response.json();
}

async function openChat(): Promise<ChatSession> {
  const [tokenizer, config] = await Promise.all(["tokenizer.json", "tokenizer_config.json"].map(fetchAsset));
  if (tokenizer === undefined) throw new Error("it has no tokenizer.json beside its weights");
  const model = await loadPageModel<LanguageModel & { readonly target: string }>();
  return new ChatSession(model, { tokenizer, config: config ?? {} });
}

async function converse(chat: ChatSession, messages: ChatMessage[], text: string): Promise<void> {
  messages.push({ role: "user", content: text });
  say("user", text);
  const line = say("assistant", "");
  const control = new AbortController();
  stop.onclick = () => control.abort();
  let answer = "";
  for await (const piece of chat.reply(messages, { ...greedy, maxTokens: 512 }, control.signal)) {
    answer += piece.text;
    line.textContent = answer;
    line.scrollIntoView({ block: "end" });
    pace.textContent = `${piece.tokens} tokens, ${piece.tokensPerSecond.toFixed(1)} tokens/s`;
    // Lets the page paint and take clicks between tokens.
    await new Promise((resume) => setTimeout(resume));
  }
  messages.push({ role: "assistant", content: answer });
}

function setBusy(busy: boolean): void {
  send.hidden = busy;
  stop.hidden = !busy;
  question.disabled = busy;
  document.body.dataset.state = busy ? "busy" : "ready";
  if (!busy) question.focus();
}

async function main(): Promise<void> {
  const chat = await openChat();
  const messages: ChatMessage[] = [];
  form.hidden = false;
  setBusy(false);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = question.value.trim();
    if (text === "" || document.body.dataset.state === "busy") return;
    question.value = "";
    setBusy(true);
    converse(chat, messages, text)
      .catch((error: unknown) => say("error", String(error)))
      .finally(() => setBusy(false));
  });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

main().catch((error: unknown) => {
  loading.hidden = true;
  document.body.dataset.state = "failed";
  say("error", `Cannot load the model: ${error instanceof Error ? error.message : String(error)}`);
});
