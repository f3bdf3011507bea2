/**
 * Reads a line of text with the PaddleOCR v4 recognizer twice: as float32, and as the int8 WebAssembly that Quern makes
 * of it.
 *
 *   deno task demo
 *   deno task demo "any line of text"
 */

import { Command } from "commander";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { compileModel, type CompileResult } from "../../compiler/driver.ts";
import { formatDiagnostic, success } from "../../compiler/diagnostics.ts";
import { progressView } from "../../compiler/commands/progress.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import type { Model } from "../../runtime/api.ts";
import { calibrationLines } from "./calibration_lines.ts";
import { lineHeight, readAlphabet, readBestPath } from "../ocr/recognizer.ts";
import { drawLine, textWidth } from "./text_line.ts";

const defaultText = "Quern grinds float models into low-bit code";
const assets = join(
  dirname(fileURLToPath(import.meta.url)),
  "..",
  "..",
  "node_modules",
  "@gutenye",
  "ocr-models",
  "assets",
);
const modelPath = join(assets, "ch_PP-OCRv4_rec_infer.onnx");
const outRoot = join("out", "demo");

/** Counted runs of each artifact; the median is shown. */
const timedRuns = 9;

interface Reading {
  readonly text: string;
  readonly path: readonly number[];
  readonly scores: Float32Array;
  readonly milliseconds: number;
}

async function compile(recipe: string, width: number): Promise<CompileResult> {
  const progress = progressView();
  const result = await compileModel({
    model: modelPath,
    recipe,
    bind: { "x.0": 1, "x.3": width },
    calibration: () =>
      Promise.resolve(success(
        calibrationLines(width).map((pixels) => ({ x: floatTensor([1, 3, lineHeight, width], pixels) })),
      )),
    out: join(outRoot, recipe),
    onProgress: ({ stage, fraction }) => progress.show({ stage: `${recipe}: ${stage}`, fraction }),
  });
  progress.stop();
  if (!result.ok) throw new Error(result.diagnostics.map(formatDiagnostic).join("\n"));
  return result.value;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

async function openModel(recipe: string): Promise<Model> {
  const module: { load(): Promise<Model> } = await import(
    pathToFileURL(join(Deno.cwd(), outRoot, recipe, "mod.js")).href
  );
  return await module.load();
}

/** Reads the line with every model in turn, so that drift of the machine's speed hits all alike. */
async function readAll(models: readonly Model[], pixels: Float32Array<ArrayBuffer>): Promise<Reading[]> {
  const alphabet = readAlphabet(Deno.readTextFileSync(join(assets, "ppocr_keys_v1.txt")));
  const times: number[][] = models.map(() => []);
  const scores: Float32Array[] = [];
  for (let round = 0; round <= timedRuns; round++) {
    for (const [index, model] of models.entries()) {
      const start = performance.now();
      const outputs = await model.run({ x: pixels });
      if (round > 0) times[index].push(performance.now() - start);
      scores[index] = Float32Array.from(Object.values(outputs)[0].data, Number);
    }
  }
  return models.map((_, index) => ({
    ...readBestPath(scores[index], alphabet),
    scores: scores[index],
    milliseconds: median(times[index]),
  }));
}

/** Cosine of the two score tensors, and the share of time steps that read the same class. */
function agreement(a: Reading, b: Reading): { readonly cosine: number; readonly steps: number } {
  let [dot, squareA, squareB] = [0, 0, 0];
  for (let index = 0; index < a.scores.length; index++) {
    dot += a.scores[index] * b.scores[index];
    squareA += a.scores[index] ** 2;
    squareB += b.scores[index] ** 2;
  }
  const same = a.path.filter((label, step) => label === b.path[step]).length;
  return { cosine: dot / Math.sqrt(squareA * squareB), steps: same / a.path.length };
}

function kilobytes(bytes: number): string {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(2)} MB` : `${(bytes / 1e3).toFixed(1)} kB`;
}

function codeBytes({ artifact }: CompileResult): number {
  const { code } = artifact.report;
  return Math.max(...Object.values(code.bytes)) + code.runtimeBytes;
}

function printTable(rows: readonly (readonly string[])[]): void {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    console.log(`  ${row.map((cell, column) => cell.padEnd(widths[column])).join("  ").trimEnd()}`);
  }
}

async function main(text: string): Promise<void> {
  const width = Math.max(320, Math.ceil(textWidth(text) / 32) * 32);
  const line = drawLine(text, width);
  await Deno.mkdir(outRoot, { recursive: true });
  await Deno.writeFile(join(outRoot, "line.png"), line.png);
  console.log(`Line of text, ${width} x ${lineHeight} pixels: ${join(outRoot, "line.png")}`);

  const float = await compile("as-is", width);
  const int8 = await compile("w8a8-static", width);
  const [floatReading, int8Reading] = await readAll(
    [await openModel("as-is"), await openModel("w8a8-static")],
    line.pixels,
  );
  const { cosine, steps } = agreement(floatReading, int8Reading);

  console.log("\nPaddleOCR v4 recognizer, compiled by Quern to WebAssembly, one thread:");
  printTable([
    ["", "float32", "int8"],
    ["reads", floatReading.text.trim(), int8Reading.text.trim()],
    ["weights", kilobytes(float.artifact.report.sizes.weightBytes), kilobytes(int8.artifact.report.sizes.weightBytes)],
    ["code", kilobytes(codeBytes(float)), kilobytes(codeBytes(int8))],
    ["latency", `${floatReading.milliseconds.toFixed(1)} ms`, `${int8Reading.milliseconds.toFixed(1)} ms`],
    ["folder", join(outRoot, "as-is"), join(outRoot, "w8a8-static")],
  ]);
  console.log(
    `\nScores agree to a cosine of ${cosine.toFixed(5)}; ${(100 * steps).toFixed(1)} % of time steps read the same.`,
  );
  console.log(`Open ${join(outRoot, "w8a8-static", "report.html")} for what became of every layer.`);
}

if (import.meta.main) {
  const program = new Command("demo")
    .description("Compile a text recognizer to int8 WebAssembly and read a line of text with it")
    .argument("[text]", "the line to draw and read", defaultText)
    .action(main);
  await program.parseAsync(Deno.args, { from: "user" });
}
