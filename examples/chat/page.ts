/** The chat page: loads the artifact under `model/`, then talks with it. */

import { element, loadPageModel } from "../page_model.ts";
import { type ChatMessage, ChatSession, greedy, type LanguageModel, readChatFiles } from "./chat_session.ts";

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

async function fetchText(file: string): Promise<string | undefined> {
  const response = await fetch(`model/${file}`);
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`The server answers ${response.status} for ${file}`);
  return await response.text();
}

async function openChat(): Promise<ChatSession> {
  const files = await readChatFiles(fetchText);
  const chat = new ChatSession(await loadPageModel<LanguageModel & { readonly target: string }>(), files);
  if (!chat.answers) question.placeholder = "Begin a text";
  return chat;
}

async function converse(chat: ChatSession, messages: ChatMessage[], text: string): Promise<void> {
  messages.push({ role: "user", content: text });
  say("user", text);
  const line = say("assistant", "");
  const control = new AbortController();
  stop.onclick = () => control.abort();
  let answer = "";
  try {
    for await (const piece of chat.reply(messages, { ...greedy, maxTokens: 512 }, control.signal)) {
      answer += piece.text;
      line.textContent = answer;
      line.scrollIntoView({ block: "end" });
      pace.textContent = `${piece.tokens} tokens, ${piece.tokensPerSecond.toFixed(1)} tokens/s`;
      // Lets the page paint and take clicks between tokens.
      await new Promise((resume) => setTimeout(resume));
    }
  } finally {
    messages.push({ role: "assistant", content: answer });
  }
}

/** The runtime throws a RangeError where the cache has no position left. */
function complain(error: unknown): void {
  const full = "The model holds no more text than this. Reload the page to begin another.";
  say("error", error instanceof RangeError ? full : String(error));
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
      .catch(complain)
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
  say("error", error instanceof Error ? error.message : String(error));
});
