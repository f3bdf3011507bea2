/** `explain`: what a recipe would do to a model, where it declined, and which kernels would run. */

import type { Command } from "commander";
import { calibrationFrom } from "../data/calibration.ts";
import { type Prepared, prepareModel } from "../driver.ts";
import { type Graph, typeOf } from "../ir/graph.ts";
import { printExtent } from "../ir/extent.ts";
import { printType } from "../ir/types.ts";
import type { Regions } from "../rewrite/region/region.ts";
import type { KernelRow } from "../../targets/target.ts";
import { exitCodes, printDiagnostics, printJson, printLine, reportFailure } from "./common.ts";
import { addModelOptions, type ModelOptions, prepareOptions } from "./model_options.ts";
import { progressView } from "./progress.ts";

interface ExplainFlags extends ModelOptions {
  readonly kernels?: boolean;
}

export function addExplain(program: Command, finish: (code: number) => void): void {
  const command = program.command("explain")
    .description("Show which rules fired or declined where, and what is unsupported")
    .argument("<model>", "ONNX, GGUF or .qir file, or folder (Hugging Face, TensorFlow.js)")
    .option("--kernels", "list the kernel of every call too");
  addModelOptions(command).addHelpText(
    "after",
    `
Examples:
  deno task explain model.onnx --bind batch=1
  deno task explain model.onnx --recipe w8a8-static --calibration images/ --json
  deno task explain model.onnx --kernels`,
  ).action(async (model: string, flags: ExplainFlags) => finish(await explain(model, flags)));
}

async function explain(model: string, flags: ExplainFlags): Promise<number> {
  const progress = progressView(flags.json);
  const calibration = calibrationFrom(flags);
  const prepared = await prepareModel({
    ...prepareOptions(model, flags),
    ...(calibration === undefined ? {} : { calibration }),
    onProgress: progress.show,
  });
  if (!prepared.ok) {
    progress.stop();
    return reportFailure(prepared.diagnostics, flags.json === true);
  }
  const { regions } = prepared.value;
  const [{ target, graph }] = prepared.value.forms;
  const rows = (await target.emit(graph)).rows;
  progress.stop();
  if (flags.json === true) printJson({ ok: true, ...explanation(prepared.value, regions, rows) });
  else printExplanation(prepared.value, regions, rows, flags.kernels === true);
  return exitCodes.ok;
}

function explanation(
  prepared: Prepared,
  regions: Regions,
  rows: readonly KernelRow[],
): Readonly<Record<string, unknown>> {
  const { imported, graph, log, recipe, forms, diagnostics } = prepared;
  return {
    name: graph.name,
    format: imported.format,
    recipe: recipe.name,
    target: forms.map(({ target }) => target.name).join(","),
    inputs: graph.inputs.map(({ name, value }) => ({ name, type: printType(typeOf(graph, value)) })),
    outputs: graph.outputs.map(({ name, value }) => ({ name, type: printType(typeOf(graph, value)) })),
    symbols: graph.symbols,
    states: graph.states.map(({ name, type, axis }) => ({ name, type: printType(type), axis })),
    ops: opCounts(imported.graph),
    passes: log,
    regions: regions.regions.map(({ kind, name, channels }) => ({ kind, name, channels })),
    residual: regions.residual === undefined ? null : { channels: regions.residual.channels },
    declinedRegions: regions.declined,
    kernels: rows,
    diagnostics,
  };
}

function opCounts(graph: Graph): Readonly<Record<string, number>> {
  const counts = new Map<string, number>();
  for (const { op } of graph.nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)));
}

function printExplanation(prepared: Prepared, regions: Regions, rows: readonly KernelRow[], kernels: boolean): void {
  const { imported, graph, log, recipe } = prepared;
  printDiagnostics(prepared.diagnostics);
  printLine(`${graph.name}: ${imported.format}, ${imported.graph.nodes.length} nodes`);
  for (const [kind, ports] of [["input", graph.inputs], ["output", graph.outputs]] as const) {
    for (const { name, value } of ports) printLine(`  ${kind} ${name}: ${printType(typeOf(graph, value))}`);
  }
  for (const { name, type } of graph.states) printLine(`  state ${name}: ${printType(type)}`);
  for (const [name, { min, max }] of Object.entries(graph.symbols)) {
    printLine(`  ${printExtent({ symbol: name, factor: 1, offset: 0 })} is ${min} to ${max}`);
  }
  const ops = Object.entries(opCounts(imported.graph)).map(([op, count]) => `${op} ${count}`);
  printLine(`  ops: ${ops.join(", ")}`);
  printLine();
  printRegions(regions);
  printLine(`recipe ${recipe.name}`);
  for (const pass of log) printPass(pass);
  printLine();
  printKernels(rows, kernels);
}

function printRegions({ regions, declined, residual }: Regions): void {
  printLine(`regions: ${regions.length} found, ${declined.length} declined`);
  for (const { kind, name, channels } of regions) printLine(`  ${kind} at ${name}: ${channels} channels`);
  if (residual !== undefined) printLine(`  residual stream: ${residual.channels} channels`);
  for (const { kind, name, reason } of declined) printLine(`  no ${kind} at ${name}: ${reason}`);
  printLine();
}

function printPass({ pass, exactness, applied, declined, metrics }: Prepared["log"][number]): void {
  const numbers = Object.entries(metrics).filter(([name]) => name !== "applied").map(([name, value]) =>
    `${name} ${value}`
  );
  printLine(
    `  ${pass} (${exactness}): ${applied.length} applied, ${declined.length} declined${
      numbers.length === 0 ? "" : `; ${numbers.join(", ")}`
    }`,
  );
  for (const { rule, origin } of applied) printLine(`    + ${rule}: ${origin.join(", ")}`);
  for (const { rule, node, reason } of declined) printLine(`    - ${rule} at ${node}: ${reason}`);
}

function printKernels(rows: readonly KernelRow[], all: boolean): void {
  const families = new Map<string, number>();
  for (const { kernel } of rows) {
    const family = kernel.split(/[(:]/)[0].split(".").slice(0, 2).join(".");
    families.set(family, (families.get(family) ?? 0) + 1);
  }
  printLine(`kernels: ${rows.length} calls`);
  for (const [family, count] of [...families].sort(([, x], [, y]) => y - x)) printLine(`  ${count} x ${family}`);
  if (all) { for (const { origin, kernel } of rows) printLine(`  ${origin.join(", ")}: ${kernel}`); }
}
