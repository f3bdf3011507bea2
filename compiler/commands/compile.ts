/** `compile`: a model into a folder that runs. */

import { type Command, Option } from "commander";
import { compileModel, type CompileResult } from "../driver.ts";
import { formatBytes } from "../../targets/artifact/report_html.ts";
import { calibrationFrom } from "../data/calibration.ts";
import { addModelOptions, type ModelOptions, prepareOptions } from "./model_options.ts";
import { exitCodes, printDiagnostics, printJson, printLine, reportFailure } from "./common.ts";
import { progressView } from "./progress.ts";

interface CompileFlags extends ModelOptions {
  readonly out: string;
  readonly name?: string;
  readonly logits?: "all" | "last";
}

export function addCompile(program: Command, finish: (code: number) => void): void {
  const command = program.command("compile")
    .description("Turn a model into a folder that runs in browsers, Node and Deno")
    .argument("<model>", "ONNX, GGUF or .qir file, or folder (Hugging Face, TensorFlow.js)")
    .requiredOption("--out <folder>", "where the artifact goes; a folder that is not one is never overwritten")
    .option("--name <name>", "name of the artifact; the model's file or folder when absent")
    .addOption(
      new Option("--logits <which>", "language models: logits of the last position or of all").choices(["last", "all"]),
    );
  addModelOptions(command).addHelpText(
    "after",
    `
Examples:
  deno task compile model.onnx --recipe as-is --out out
  deno task compile model.onnx --recipe w8a8-static --calibration images/ --bind batch=1 --out out
  deno task compile smollm2.gguf --recipe w4a8 --bind seq=1..128,total=1024 --out out`,
  ).action(async (model: string, flags: CompileFlags) => finish(await compile(model, flags)));
}

async function compile(model: string, flags: CompileFlags): Promise<number> {
  const progress = progressView();
  const calibration = calibrationFrom(flags);
  const result = await compileModel({
    ...prepareOptions(model, flags),
    ...(calibration === undefined ? {} : { calibration }),
    out: flags.out,
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.logits === undefined ? {} : { logits: flags.logits }),
    onProgress: progress.show,
  });
  progress.stop();
  if (!result.ok) return reportFailure(result.diagnostics, flags.json === true);
  if (flags.json === true) printJson({ ok: true, out: flags.out, ...summary(result.value) });
  else {
    printDiagnostics(result.diagnostics);
    printSummary(result.value, flags.out);
  }
  return exitCodes.ok;
}

function summary({ artifact, diagnostics }: CompileResult): Readonly<Record<string, unknown>> {
  const { report } = artifact;
  return {
    name: report.name,
    recipe: report.recipe,
    target: report.targets.map(({ name }) => name).join(","),
    ...report.sizes,
    codeBytes: Math.max(0, ...Object.values(report.code.bytes)) + report.code.runtimeBytes,
    memoryBytes: report.targets[0].memory.totalBytes,
    peakBytes: report.targets[0].memory.peakBytes,
    kernels: report.targets[0].nodes.length,
    diagnostics,
  };
}

function printSummary({ artifact, emitted }: CompileResult, out: string): void {
  const { sizes, code, targets, recipe } = artifact.report;
  const kernels = Math.max(0, ...Object.values(code.bytes));
  printLine(`${out}: ${artifact.report.name}, recipe ${recipe}`);
  printLine(`  weights  ${formatBytes(sizes.weightBytes)}, ${sizes.bitsPerWeight.toFixed(2)} bits per weight`);
  printLine(`  code     ${formatBytes(kernels)} kernels, ${formatBytes(code.runtimeBytes)} runtime`);
  for (const { name, memory, nodes } of targets) {
    const [total, peak] = [memory.totalBytes, memory.peakBytes].map(formatBytes);
    printLine(
      `  ${name.padEnd(8)} ${total} of memory, ${peak} of values live at the peak, ${nodes.length} kernel calls`,
    );
  }
  const ports = (list: readonly { readonly name: string }[]) => list.map(({ name }) => name).join(", ");
  printLine(`  inputs   ${ports(emitted.targets[0].inputs)}; outputs ${ports(emitted.targets[0].outputs)}`);
}
