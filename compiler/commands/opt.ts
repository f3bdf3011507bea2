/** `opt`: one pass, or several in order, on a .qir file. */

import { readFileSync } from "node:fs";
import process from "node:process";
import type { Command } from "commander";
import { passes } from "../../passes/mod.ts";
import { calibrationFrom } from "../data/calibration.ts";
import { type Diagnostic, DiagnosticError, errorDiagnostic, nearestName } from "../diagnostics.ts";
import type { Graph } from "../ir/graph.ts";
import { parseGraph } from "../ir/parse.ts";
import { printGraph } from "../ir/print.ts";
import { verify } from "../ir/verify.ts";
import { runChecked } from "../recipe/apply.ts";
import { type Json, readOptions } from "../rewrite/options.ts";
import type { CalibrationData, Pass, PassResult } from "../rewrite/pass.ts";
import { everyNode } from "../rewrite/selector.ts";
import type { Statistics } from "../rewrite/statistics.ts";
import { selfTestInputs } from "../../targets/artifact/selftest.ts";
import { collected, exitCodes, parseCount, printJson, reportFailure } from "./common.ts";

interface OptFlags {
  readonly pass: readonly string[];
  readonly set?: readonly string[];
  readonly seed: string;
  readonly calibration?: string;
  readonly samples: number;
  readonly constants: string;
  readonly json?: boolean;
}

export function addOpt(program: Command, finish: (code: number) => void): void {
  program.command("opt")
    .description("Apply passes to a .qir file and print the result")
    .argument("<file>", ".qir file, or - for stdin")
    .requiredOption("--pass <name>", "the pass (repeatable: applied in order)", collected)
    .option("--set <option=value>", "an option of every pass, or pass.option=value (repeatable)", collected)
    .option("--seed <number>", "seed of passes that draw", "0")
    .option("--calibration <path>", "samples for passes that measure: .npy, .npz, .pb or token ids (.u16)")
    .option("--samples <count>", "most samples to read; without --calibration, as many random ones", parseCount, 8)
    .option("--constants <form>", "literal or hash", "literal")
    .option("--json", "print one JSON object on stdout")
    .addHelpText(
      "after",
      `
Passes: ${passes.map(({ name }) => name).join(", ")}

Examples:
  deno task opt graph.qir --pass fold-batch-norm
  deno task opt graph.qir --pass fold-bias --pass fuse-maps --json
  deno task opt graph.qir --pass smooth --calibration samples.npy --set alpha=0.8
  deno task opt graph.qir --pass awq --pass quantize-weights --set quantize-weights.bits=4`,
    )
    .action(async (file: string, flags: OptFlags) => finish(await opt(file, flags)));
}

async function opt(file: string, flags: OptFlags): Promise<number> {
  const chosen = choosePasses(flags);
  const graph = readGraph(file);
  const faults = [...chosen.faults, ...("faults" in graph ? graph.faults : [])];
  if (faults.length > 0 || "faults" in graph) return reportFailure(faults, flags.json === true);
  try {
    const results: PassResult[] = [];
    let current: Graph = graph;
    const calibration = await samplesFor(graph, chosen.passes, flags);
    let statistics: Statistics | undefined;
    for (const [index, { pass, options }] of chosen.passes.entries()) {
      const result = await runChecked(pass, current, {
        options,
        selector: everyNode,
        seed: Number(flags.seed),
        later: chosen.passes.slice(index + 1).map((step) => ({ ...step, selector: everyNode })),
        calibration,
        ...(statistics === undefined ? {} : { statistics }),
      });
      results.push(result);
      current = result.graph;
      statistics = result.statistics ?? statistics;
    }
    tell(current, chosen.passes.map(({ pass }) => pass), results, flags);
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof DiagnosticError) return reportFailure(error.diagnostics, flags.json === true);
    throw error;
  }
}

/** What passes that measure run on: the set that is named, or seeded random inputs; none where no pass asks. */
async function samplesFor(graph: Graph, chosen: readonly ChosenPass[], flags: OptFlags): Promise<CalibrationData> {
  const read = calibrationFrom({
    ...(flags.calibration === undefined ? {} : { calibration: flags.calibration }),
    calibrationSamples: flags.samples,
  });
  if (read === undefined) {
    if (!chosen.some(({ pass }) => pass.needs.length > 0)) return [];
    return Array.from(
      { length: flags.samples },
      (_, index) => selfTestInputs(graph, Number(flags.seed) + index + 1)[0],
    );
  }
  const data = await read({ graph, assets: {} });
  if (!data.ok) throw new DiagnosticError(data.diagnostics);
  return data.value;
}

interface ChosenPass {
  readonly pass: Pass;
  readonly options: Readonly<Record<string, Json>>;
}

function choosePasses(
  flags: OptFlags,
): { readonly passes: readonly ChosenPass[]; readonly faults: readonly Diagnostic[] } {
  const faults: Diagnostic[] = [];
  const given = Object.fromEntries((flags.set ?? []).map((setting) => {
    const [key, ...rest] = setting.split("=");
    return [key, jsonOr(rest.join("="))];
  }));
  const known = passes.map(({ name }) => name);
  const found = flags.pass.flatMap((name): ChosenPass[] => {
    const pass = passes.find((candidate) => candidate.name === name);
    if (pass === undefined) {
      const near = nearestName(name, known);
      faults.push(errorDiagnostic("Q0304", `There is no pass "${name}"`, {
        help: near === undefined ? `Passes are ${known.join(", ")}` : `Did you mean "${near}"?`,
      }));
      return [];
    }
    const options = optionsFor(name, given);
    for (const { message, help } of readOptions(pass.options, options).faults) {
      faults.push(errorDiagnostic("Q0305", `Pass "${name}": ${message}`, help === undefined ? {} : { help }));
    }
    return [{ pass, options }];
  });
  return { passes: found, faults };
}

/** Settings of one pass: those that name it, `pass.option`, and those that name none. */
function optionsFor(pass: string, given: Readonly<Record<string, Json>>): Readonly<Record<string, Json>> {
  return Object.fromEntries(
    Object.entries(given).flatMap(([key, value]) => {
      const [first, option] = key.split(".");
      if (option === undefined) return [[key, value]];
      return first === pass ? [[option, value]] : [];
    }),
  );
}

function jsonOr(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function readGraph(file: string): Graph | { readonly faults: readonly Diagnostic[] } {
  let text: string;
  try {
    text = readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { faults: [errorDiagnostic("Q1000", `Cannot read ${file}: ${reason}`)] };
  }
  const parsed = parseGraph(text);
  if (!parsed.ok) return { faults: parsed.diagnostics };
  const faults = verify(parsed.value);
  return faults.length > 0 ? { faults } : parsed.value;
}

function tell(graph: Graph, applied: readonly Pass[], results: readonly PassResult[], flags: OptFlags): void {
  const text = printGraph(graph, { constants: flags.constants === "hash" ? "hash" : "literal" });
  if (flags.json === true) {
    printJson({
      ok: true,
      graph: text,
      passes: results.map(({ applied: patches, declined, metrics }, index) => ({
        pass: applied[index].name,
        applied: patches.map(({ rule, origin }) => ({ rule, origin })),
        declined,
        metrics,
      })),
    });
    return;
  }
  for (const { declined } of results) {
    for (const { rule, node, reason } of declined) process.stderr.write(`${rule} declined at ${node}: ${reason}\n`);
  }
  process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
}
