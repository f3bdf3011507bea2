/** `evaluate`: accuracy, size and speed of a recipe against the float model. */

import { type Command, InvalidArgumentError, Option } from "commander";
import { calibrationFrom } from "../data/calibration.ts";
import { type DataSet, readDataSet } from "../data/dataset.ts";
import { plainImages } from "../data/images.ts";
import { tokenInput } from "../data/tokens.ts";
import { type CompileResult, emitModel, importNamed, prepareImported } from "../driver.ts";
import { type Diagnostic, DiagnosticError, errorDiagnostic } from "../diagnostics.ts";
import type { ImportedModel } from "../import/mod.ts";
import { type Agreement, compareOnSamples } from "../evaluation/agreement.ts";
import { compareOnText, type LanguageQuality } from "../evaluation/language.ts";
import { artifactRunner, floatRunner, type Runner } from "../evaluation/runners.ts";
import { type Graph, typeOf } from "../ir/graph.ts";
import { wasmVariants } from "../../targets/wasm/kernel.ts";
import { selfTestInputs } from "../../targets/artifact/selftest.ts";
import { formatBytes } from "../../targets/artifact/report_html.ts";
import { exitCodes, parseCount, printDiagnostics, printJson, printLine, reportFailure } from "./common.ts";
import { addModelOptions, type ModelOptions, prepareOptions } from "./model_options.ts";
import { progressView } from "./progress.ts";

interface EvaluateFlags extends ModelOptions {
  readonly data?: string;
  readonly labels?: string;
  readonly labelColumn?: string;
  readonly window: number;
  readonly tokens?: { readonly from: number; readonly to: number };
  readonly limit: number;
  readonly reference: "tfjs" | "wasm";
  readonly variant: "auto" | "simd128" | "relaxed";
}

export function addEvaluate(program: Command, finish: (code: number) => void): void {
  const command = program.command("evaluate")
    .description("Measure accuracy, size and speed against the float model")
    .argument("<model>", "ONNX, GGUF or .qir file, or folder (Hugging Face, TensorFlow.js)")
    .option(
      "--data <path>",
      "folder of images or arrays, .npy, .npz, .pb, IDX, a .json description, or token ids or text",
    )
    .option("--labels <path>", "class numbers: .npy, .tsv, .csv, .txt, IDX or bytes")
    .option("--label-column <name>", "column of a table of labels")
    .option("--window <ids>", "language models: ids of one window", parseCount, 256)
    .option("--tokens <from..to>", "language models: which ids of the data", tokenRange)
    .option("--limit <count>", "most samples", parseCount, 1000)
    .addOption(
      new Option("--reference <kind>", "what runs the float model: tfjs, or WebAssembly of the recipe as-is")
        .choices(["tfjs", "wasm"]).default("tfjs"),
    )
    .addOption(new Option("--variant <name>", "kernels that run").choices(["auto", ...wasmVariants]).default("auto"));
  addModelOptions(command).addHelpText(
    "after",
    `
Without --data the model runs on seeded noise.

Examples:
  deno task evaluate model.onnx --recipe w8a8-static --calibration calib/ --data test/ --labels labels.tsv
  deno task evaluate stories260k --recipe w4a8 --data eval_ids.u16 --window 256 --json`,
  ).action(async (model: string, flags: EvaluateFlags) => finish(await evaluate(model, flags)));
}

function tokenRange(text: string): { readonly from: number; readonly to: number } {
  const match = /^(\d+)\.\.(\d+)$/.exec(text);
  if (match === null || Number(match[2]) <= Number(match[1])) throw new InvalidArgumentError("It must be FROM..TO.");
  return { from: Number(match[1]), to: Number(match[2]) };
}

async function evaluate(model: string, flags: EvaluateFlags): Promise<number> {
  const json = flags.json === true;
  const progress = progressView();
  const calibration = calibrationFrom(flags);
  const options = {
    ...prepareOptions(model, flags),
    logits: "all" as const,
    ...(calibration === undefined ? {} : { calibration }),
    onProgress: progress.show,
  };
  const failed = (diagnostics: readonly Diagnostic[]) => {
    progress.stop();
    return reportFailure(diagnostics, json);
  };
  try {
    const imported = await importNamed(options);
    if (!imported.ok) return failed(imported.diagnostics);
    // Before any long work: what is wrong with the data can be told at once.
    const data = await readData(imported.value, flags);
    const prepared = await prepareImported(imported.value, options, imported.diagnostics);
    const result = prepared.ok ? await emitModel(prepared.value, progress.show) : prepared;
    if (!result.ok) return failed(result.diagnostics);
    const tell = (fraction: number) => progress.show({ stage: "evaluate", fraction });
    const measured = await measure(result.value, data, flags, tell);
    progress.stop();
    if (json) printJson({ ok: true, ...jsonResult(result.value, measured) });
    else printResult(result.value, measured);
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof DiagnosticError) return failed(error.diagnostics);
    throw error;
  } finally {
    progress.stop();
  }
}

type Measured =
  | { readonly kind: "samples"; readonly agreement: Agreement; readonly variant: string }
  | { readonly kind: "text"; readonly quality: LanguageQuality; readonly variant: string };

function readData({ graph, assets }: ImportedModel, flags: EvaluateFlags): Promise<DataSet> | DataSet {
  if (flags.data === undefined) return { kind: "samples", samples: noise(graph) };
  return readDataSet(flags.data, graph, {
    images: flags.image ?? plainImages,
    limit: flags.limit,
    assets,
    ...(flags.labels === undefined ? {} : { labels: flags.labels }),
    ...(flags.labelColumn === undefined ? {} : { labelColumn: flags.labelColumn }),
  });
}

async function measure(
  result: CompileResult,
  data: DataSet,
  flags: EvaluateFlags,
  onProgress: (fraction: number) => void,
): Promise<Measured> {
  const { graph } = result.imported;
  const compiled = await artifactRunner("compiled", result.artifact.files, { variant: flags.variant });
  const float = flags.reference === "wasm" ? await asIsRunner(result) : await floatRunner(graph);
  try {
    const { variant } = compiled.model;
    if (data.kind === "samples") {
      const { samples, labels } = data;
      const agreement = await compareOnSamples(float, compiled, samples, {
        ...(labels === undefined ? {} : { labels }),
        onProgress,
      });
      return { kind: "samples", agreement, variant };
    }
    return { kind: "text", quality: await compareText(float, compiled, data.ids, graph, flags, onProgress), variant };
  } finally {
    await compiled.dispose();
    await float.dispose();
  }
}

/** The same model by the recipe as-is. */
async function asIsRunner(result: CompileResult): Promise<Runner> {
  const prepared = await prepareImported(result.imported, { recipe: "as-is", target: result.forms[0].target.name });
  const emitted = prepared.ok ? await emitModel(prepared.value) : prepared;
  if (!emitted.ok) throw new DiagnosticError(emitted.diagnostics);
  return await artifactRunner("float (wasm)", emitted.value.artifact.files, {});
}

function compareText(
  float: Runner,
  compiled: Runner,
  ids: Int32Array,
  graph: Graph,
  flags: EvaluateFlags,
  onProgress: (fraction: number) => void,
): Promise<LanguageQuality> {
  const port = tokenInput(graph);
  if (port === undefined) throw new DiagnosticError([errorDiagnostic("Q0907", "The model does not take token ids")]);
  const type = typeOf(graph, graph.inputs[0].value);
  const window = graph.states.length > 0 ? flags.window : Math.min(flags.window, port.longest);
  return compareOnText(
    float,
    compiled,
    flags.tokens === undefined ? ids : ids.subarray(flags.tokens.from, flags.tokens.to),
    {
      window,
      chunk: Math.min(window, port.longest),
      dynamic: typeof type.shape[1] !== "number",
      input: port.name,
      output: graph.outputs[0].name,
      element: type.element === "i64" ? "i64" : "i32",
      onProgress,
    },
  );
}

function noise(graph: Graph): readonly ReturnType<typeof selfTestInputs>[number][] {
  return Array.from({ length: 4 }, (_, seed) => selfTestInputs(graph, seed + 1)[0]);
}

/** Keys are stable; those that do not apply are null. */
function jsonResult(result: CompileResult, measured: Measured): Readonly<Record<string, unknown>> {
  const { sizes, code } = result.artifact.report;
  const agreement = measured.kind === "samples" ? measured.agreement : undefined;
  const quality = measured.kind === "text" ? measured.quality : undefined;
  const main = quality?.logits ?? Object.values(agreement?.outputs ?? {})[0];
  return {
    name: result.artifact.report.name,
    recipe: result.recipe.name,
    variant: measured.variant,
    sqnr: main?.sqnr ?? null,
    cosine: main?.cosine ?? null,
    maxError: main?.maxError ?? null,
    top1: agreement?.top1 ?? null,
    floatTop1: agreement?.floatTop1 ?? null,
    agreement: quality?.agreement ?? agreement?.agreement ?? null,
    perplexity: quality?.perplexity ?? null,
    floatPerplexity: quality?.floatPerplexity ?? null,
    kl: quality?.kl ?? null,
    weightBytes: sizes.weightBytes,
    codeBytes: Math.max(0, ...Object.values(code.bytes)) + code.runtimeBytes,
    bitsPerWeight: sizes.bitsPerWeight,
    formats: sizes.formats,
    latencyMs: quality?.latencyMs ?? agreement?.latencyMs ?? null,
    floatLatencyMs: quality?.floatLatencyMs ?? agreement?.floatLatencyMs ?? null,
    samples: quality?.positions ?? agreement?.samples ?? 0,
    outputs: agreement?.outputs ?? { [result.graph.outputs[0].name]: quality?.logits },
    diagnostics: result.diagnostics,
  };
}

function printResult(result: CompileResult, measured: Measured): void {
  const { report } = result.artifact;
  printDiagnostics(result.diagnostics);
  printLine(`${report.name}, recipe ${report.recipe}, ${measured.variant}`);
  if (measured.kind === "samples") printAgreement(measured.agreement);
  else printQuality(measured.quality);
  for (const { format, parameters, bytes } of report.sizes.formats) {
    printLine(`  ${format.padEnd(10)} ${formatBytes(bytes)} for ${parameters.toLocaleString("en")} numbers`);
  }
  const kernels = Math.max(0, ...Object.values(report.code.bytes));
  printLine(
    `  weights    ${formatBytes(report.sizes.weightBytes)}, ${report.sizes.bitsPerWeight.toFixed(2)} bits per weight`,
  );
  printLine(`  code       ${formatBytes(kernels + report.code.runtimeBytes)}`);
}

function printAgreement(agreement: Agreement): void {
  for (const [name, { sqnr, cosine, maxError }] of Object.entries(agreement.outputs)) {
    printLine(
      `  ${name}: SQNR ${sqnr.toFixed(2)} dB, cosine ${cosine.toFixed(7)}, largest error ${maxError.toPrecision(3)}`,
    );
  }
  printLine(`  top-1 agreement with float ${percent(agreement.agreement)} (${agreement.samples} samples)`);
  if (agreement.top1 !== undefined && agreement.floatTop1 !== undefined) {
    printLine(`  top-1 accuracy ${percent(agreement.top1)}, float ${percent(agreement.floatTop1)}`);
  }
  printLine(`  latency    ${agreement.latencyMs.toFixed(2)} ms, float ${agreement.floatLatencyMs.toFixed(2)} ms`);
}

function printQuality(quality: LanguageQuality): void {
  printLine(`  perplexity ${quality.perplexity.toFixed(4)}, float ${quality.floatPerplexity.toFixed(4)}`);
  printLine(`  KL to float ${quality.kl.toFixed(5)} nats, top-1 agreement ${percent(quality.agreement)}`);
  printLine(`  logits SQNR ${quality.logits.sqnr.toFixed(2)} dB over ${quality.positions} positions`);
  printLine(`  latency    ${quality.latencyMs.toFixed(2)} ms per id, float ${quality.floatLatencyMs.toFixed(2)} ms`);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)}%`;
}
