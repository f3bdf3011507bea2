/** `deno task conformance [ARCHIVE or FOLDER ...]`: the ONNX node tests on every runner. */

import process from "node:process";
import cliProgress from "cli-progress";
import { sharedFile } from "../support/models.ts";
import { type NodeCase, readCases } from "./node_case.ts";
import { closingLine, failureList, ignoredTable, resultTable } from "./report.ts";
import { allRunners, type Runner } from "./runner.ts";
import { runSuite, type SuiteEntry } from "./suite.ts";

/** What is run when nothing is named. */
const defaultArchives = ["onnx-conformance-1.12/node.tar.gz"];

/** The tests of an archive or folder; a line that says what is wrong when there are none. */
async function casesOf(path: string): Promise<readonly NodeCase[] | string> {
  try {
    const cases = await readCases(path);
    return cases.length > 0 ? cases : `${path} holds no node tests (test_NAME/model.onnx)`;
  } catch (error) {
    return `Cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function runCases(cases: readonly NodeCase[], runners: readonly Runner[]): Promise<readonly SuiteEntry[]> {
  const bar = new cliProgress.SingleBar(
    { format: "{bar} {value} of {total} tests", stream: process.stderr, clearOnComplete: true, noTTYOutput: false },
    cliProgress.Presets.shades_classic,
  );
  if (process.stderr.isTTY) bar.start(cases.length, 0);
  const entries = await runSuite(cases, runners, (done) => bar.update(done));
  bar.stop();
  return entries;
}

async function main(paths: readonly string[]): Promise<number> {
  if (paths.includes("--help") || paths.includes("-h")) {
    console.log(
      "deno task conformance [ARCHIVE or FOLDER ...]\n\nRuns ONNX node tests (test_NAME/model.onnx) on every runner.",
    );
    return 0;
  }
  const chosen = paths.length > 0 ? paths : defaultArchives.map(sharedFile).filter((path) => path !== undefined);
  if (chosen.length === 0) {
    console.error(
      `${
        defaultArchives.join(", ")
      } not found. Name an archive, put the shared folder beside the checkout or set QUERN_SHARED.`,
    );
    return 2;
  }
  const runners = await allRunners();
  const entries: SuiteEntry[] = [];
  for (const path of chosen) {
    const cases = await casesOf(path);
    if (typeof cases === "string") {
      console.error(cases);
      return 2;
    }
    entries.push(...await runCases(cases, runners));
  }
  const failures = failureList(entries);
  console.log(resultTable(entries, runners.map(({ name }) => name)));
  const reasons = ignoredTable(entries);
  if (reasons !== "") console.log(`\nIgnored:\n${reasons}`);
  if (failures !== "") console.log(`\nFailed:\n${failures}`);
  console.log(`\n${closingLine(entries)}`);
  return failures === "" ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(Deno.args);
