/** The text recognition page: draws a line, and the model under `model/` reads it. */

import { element, loadPageModel } from "../page_model.ts";
import { lineHeight, lineTensor, readAlphabet, readBestPath } from "./recognizer.ts";

interface Recognizer {
  readonly target: string;
  run(inputs: { readonly x: Float32Array }): Promise<Record<string, { readonly data: Float32Array }>>;
}

const canvas = element("line", HTMLCanvasElement);
const form = element("form", HTMLFormElement);
const text = element("text", HTMLInputElement);
const readButton = element("read", HTMLButtonElement);
const reading = element("reading", HTMLElement);
const pace = element("pace", HTMLElement);

/** Draws the text in letters as large as the line takes, and gives its pixels. */
function draw(line: string): Float32Array {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("This browser draws no images");
  const margin = 8;
  context.fillStyle = "#fcfcfc";
  context.fillRect(0, 0, canvas.width, lineHeight);
  context.fillStyle = "#101010";
  context.textBaseline = "middle";
  context.font = "30px sans-serif";
  const size = Math.min(30, 30 * (canvas.width - 2 * margin) / context.measureText(line).width);
  context.font = `${size}px sans-serif`;
  context.fillText(line, margin, lineHeight / 2 + 1);
  const extent = Math.ceil(context.measureText(line).width) + 2 * margin;
  return lineTensor(context.getImageData(0, 0, canvas.width, lineHeight).data, canvas.width, extent);
}

async function read(model: Recognizer, alphabet: readonly string[]): Promise<void> {
  document.body.dataset.state = "busy";
  readButton.disabled = true;
  reading.textContent = "";
  const pixels = draw(text.value);
  // Lets the page show the line before the model takes the thread.
  await new Promise((resume) => setTimeout(resume));
  const start = performance.now();
  const [scores] = Object.values(await model.run({ x: pixels }));
  const milliseconds = performance.now() - start;
  reading.textContent = readBestPath(scores.data, alphabet).text.trim();
  pace.textContent = `${milliseconds.toFixed(0)} ms`;
  readButton.disabled = false;
  document.body.dataset.state = "ready";
}

function fail(error: unknown): void {
  document.body.dataset.state = "failed";
  reading.className = "error";
  reading.textContent = error instanceof Error ? error.message : String(error);
}

async function main(): Promise<void> {
  draw(text.value);
  const alphabet = readAlphabet(await (await fetch("keys.txt")).text());
  const model = await loadPageModel<Recognizer>();
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read(model, alphabet).catch(fail);
  });
  await read(model, alphabet);
}

main().catch((error) => {
  element("loading", HTMLElement).hidden = true;
  fail(error);
});
