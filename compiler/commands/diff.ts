/** `diff`: two graphs node by node, then value by value; or one graph, evaluated and compiled, code by code. */

import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { calibrationFrom } from "../data/calibration.ts";
import { readDataSet } from "../data/dataset.ts";
import { plainImages } from "../data/images.ts";
import type { Sample } from "../data/samples.ts";
import { DiagnosticError, errorDiagnostic } from "../diagnostics.ts";
import { prepareModel } from "../driver.ts";
import { type CodeCount, compareCodes } from "../evaluation/compare_codes.ts";
import { runVariant, variants } from "../evaluation/run_variant.ts";
import { compareNodes, compareValues, type NodeDifference, type ValueError } from "../evaluation/compare_graphs.ts";
import type { Graph } from "../ir/graph.ts";
import { parseGraph } from "../ir/parse.ts";
import { selfTestInputs } from "../../targets/artifact/selftest.ts";
import type { Variant } from "../../runtime/api.ts";
import { type Bindings, exitCodes, parseBindings, parseCount, printJson, printLine, reportFailure } from "./common.ts";
import { type ProgressView, progressView } from "./progress.ts";

interface DiffFlags {
  readonly recipe: string;
  readonly otherRecipe?: string;
  readonly compiled?: Variant;
  readonly bind?: Bindings;
  readonly calibration?: string;
  readonly calibrationSamples: number;
  readonly data?: string;
  readonly limit: number;
  readonly json?: boolean;
}

export function addDiff(program: Command, finish: (code: number) => void): void {
  program.command("diff")
    .description("Compare two graphs, then their values")
    .argument("<model>", "model or .qir file")
    .argument("[other]", "the other one; the same file again where only recipes differ")
    .option("--recipe <name|file>", "recipe of the first", "as-is")
    .option("--other-recipe <name|file>", "recipe of the other; the first's when absent")
    .addOption(
      new Option("--compiled <variant>", "compare the graph with its own kernels, code by code").choices(
        variants,
      ),
    )
    .option("--bind <symbols>", "extents of the models' symbols: batch=1,seq=1..256", parseBindings)
    .option("--calibration <path>", "samples for recipes that measure ranges")
    .option("--calibration-samples <count>", "most samples that calibration reads", parseCount, 128)
    .option("--data <path>", "inputs; seeded noise without it")
    .option("--limit <count>", "most samples", parseCount, 4)
    .option("--json", "print one JSON object on stdout")
    .addHelpText(
      "after",
      `
The exit code is 0 where nothing differs and 1 where something does.

Examples:
  deno task diff before.qir after.qir
  deno task diff model.onnx --other-recipe w8a8-dynamic
  deno task diff model.onnx --recipe w8a8-dynamic --compiled relaxed`,
    )
    .action(async (model: string, other: string | undefined, flags: DiffFlags) =>
      finish(await diff(model, other ?? model, flags))
    );
}

async function diff(model: string, other: string, flags: DiffFlags): Promise<number> {
  const progress = progressView();
  try {
    const first = await loadGraph(model, flags.recipe, flags, progress);
    const samples = await loadSamples(first.graph, first.assets, flags);
    if (flags.compiled !== undefined) {
      const counts = await compareCodes(first.graph, samples, runVariant(flags.compiled));
      progress.stop();
      return tellCodes(counts, flags.json === true);
    }
    const second = await loadGraph(other, flags.otherRecipe ?? flags.recipe, flags, progress);
    const nodes = compareNodes(first.graph, second.graph);
    const values = compareValues(first.graph, second.graph, samples);
    progress.stop();
    return tellDifference(nodes, values, flags.json === true);
  } catch (error) {
    if (error instanceof DiagnosticError) return reportFailure(error.diagnostics, flags.json === true);
    throw error;
  } finally {
    progress.stop();
  }
}

interface LoadedGraph {
  readonly graph: Graph;
  readonly assets: Readonly<Record<string, Uint8Array>>;
}

/** A .qir file is taken as it stands; other models get their recipe. */
async function loadGraph(path: string, recipe: string, flags: DiffFlags, progress: ProgressView): Promise<LoadedGraph> {
  if (path.endsWith(".qir")) return { graph: readQir(path), assets: {} };
  const calibration = calibrationFrom(flags);
  const prepared = await prepareModel({
    model: path,
    recipe,
    logits: "all",
    ...(flags.bind === undefined ? {} : { bind: flags.bind }),
    ...(calibration === undefined ? {} : { calibration }),
    onProgress: progress.show,
  });
  if (!prepared.ok) throw new DiagnosticError(prepared.diagnostics);
  return { graph: prepared.value.graph, assets: prepared.value.imported.assets };
}

function readQir(path: string): Graph {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DiagnosticError([errorDiagnostic("Q1000", `Cannot read ${path}: ${reason}`)]);
  }
  const parsed = parseGraph(text);
  if (!parsed.ok) throw new DiagnosticError(parsed.diagnostics);
  return parsed.value;
}

async function loadSamples(graph: Graph, assets: LoadedGraph["assets"], flags: DiffFlags): Promise<readonly Sample[]> {
  if (flags.data === undefined) {
    return Array.from({ length: Math.min(flags.limit, 2) }, (_, seed) => selfTestInputs(graph, seed + 1)[0]);
  }
  const data = await readDataSet(flags.data, graph, { images: plainImages, limit: flags.limit, assets });
  if (data.kind === "samples") return data.samples;
  throw new DiagnosticError([errorDiagnostic("Q0907", "diff takes arrays or images, not token ids")]);
}

function tellCodes(counts: readonly CodeCount[], json: boolean): number {
  const codes = counts.reduce((sum, count) => sum + count.codes, 0);
  const different = counts.reduce((sum, count) => sum + count.different, 0);
  if (json) printJson({ ok: true, equal: different === 0, codes, different, values: counts });
  else {
    for (const count of counts) {
      if (count.different === 0) continue;
      printLine(
        `${
          count.origin[0] ?? count.value
        }: ${count.different} of ${count.codes} codes differ, by ${count.largest} at most`,
      );
    }
    printLine(`${different} of ${codes} codes differ in ${counts.length} quantized values`);
  }
  return different === 0 ? exitCodes.ok : exitCodes.diagnostics;
}

function tellDifference(nodes: NodeDifference, values: readonly ValueError[], json: boolean): number {
  const equal = nodes.removed.length === 0 && nodes.added.length === 0 &&
    values.every(({ maxError }) => maxError === 0);
  if (json) printJson({ ok: true, equal, ...nodes, values });
  else {
    for (const line of nodes.removed) printLine(`- ${line}`);
    for (const line of nodes.added) printLine(`+ ${line}`);
    printLine(`${nodes.removed.length} nodes only in the first, ${nodes.added.length} only in the other`);
    printLine();
    for (const { value, other, origin, sqnr, maxError } of values) {
      const name = value === other ? value : `${value} / ${other}`;
      printLine(
        `${sqnr.toFixed(2).padStart(9)} dB  max ${maxError.toPrecision(3).padEnd(10)} %${name}  ${origin[0] ?? ""}`,
      );
    }
    printLine(`${values.length} values in both`);
  }
  return equal ? exitCodes.ok : exitCodes.diagnostics;
}
