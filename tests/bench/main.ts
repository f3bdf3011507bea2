/**
 * Measures speed against peers and against the engine's own peak: one thread, everything interleaved in one run.
 *
 *   deno task bench
 *   deno task bench --only linear,recognizer --rounds 15
 */

import { Command } from "commander";
import { cpus } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { progressView } from "../../compiler/commands/progress.ts";
import { benchLanguageModel } from "./language_model.ts";
import { benchLinear } from "./linear.ts";
import { benchPeaks } from "./peaks.ts";
import { benchRecognizer } from "./recognizer.ts";
import { benchWebgpu } from "./webgpu.ts";
import { benchRows } from "./rows.ts";
import { type PartResult, printPart, replaceBlock } from "./report.ts";

type Part = (rounds: number, show: (stage: string) => void) => Promise<PartResult>;

const parts: Readonly<Record<string, Part>> = {
  peaks: benchPeaks,
  linear: benchLinear,
  rows: benchRows,
  recognizer: benchRecognizer,
  "language-model": benchLanguageModel,
  webgpu: benchWebgpu,
};

const documentPath = join(import.meta.dirname ?? ".", "..", "..", "docs", "performance.md");

/** Puts a part's results into docs/performance.md, whose prose is written by hand. */
async function record(part: string, text: string): Promise<void> {
  const document = await Deno.readTextFile(documentPath);
  const machine = `${cpus()[0].model.trim()}, Deno ${Deno.version.deno}, V8 ${Deno.version.v8}, one thread.`;
  const replaced = replaceBlock(document, part, `${machine}\n\n${text}`);
  if (replaced === undefined) throw new Error(`docs/performance.md has no markers of "${part}"`);
  await Deno.writeTextFile(documentPath, replaced);
}

async function main(options: { only?: string; rounds: string; record: boolean }): Promise<void> {
  const wanted = options.only?.split(",") ?? Object.keys(parts);
  const unknown = wanted.filter((name) => !(name in parts));
  if (unknown.length > 0) throw new Error(`No part ${unknown.join(", ")}; parts are ${Object.keys(parts).join(", ")}`);
  for (const name of wanted) {
    const progress = progressView();
    const result = await parts[name](Number(options.rounds), (stage) => progress.show({ stage, fraction: 0 }));
    progress.stop();
    const text = printPart(result);
    console.log(`\n## ${name}\n\n${text}`);
    if (options.record && !("skipped" in result)) await record(name, text);
  }
}

if (import.meta.main) {
  const program = new Command("bench")
    .description("Measure speed against peers and against the engine's peak, one thread")
    .option("--only <parts>", `of ${Object.keys(parts).join(", ")}; all when absent`)
    .option("--rounds <count>", "interleaved rounds; medians are shown", "11")
    .option("--no-record", "leave docs/performance.md as it is")
    .action(main);
  await program.parseAsync(Deno.args, { from: "user" });
  // onnxruntime-web keeps handles open.
  process.exit(0);
}
