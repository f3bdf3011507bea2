/** The table of families and runners, the reasons, and the closing line. */

import { familyNames, familyOf } from "./families.ts";
import type { SuiteEntry } from "./suite.ts";

interface Counts {
  readonly passed: number;
  readonly ignored: number;
  readonly failed: number;
}

function countsOf(entries: readonly SuiteEntry[]): Counts {
  const count = (status: SuiteEntry["status"]) => entries.filter((entry) => entry.status === status).length;
  return { passed: count("passed"), ignored: count("ignored"), failed: count("failed") };
}

/** One row a family, one column a runner; a cell is passed / ignored / failed. */
export function resultTable(entries: readonly SuiteEntry[], runners: readonly string[]): string {
  const present = familyNames.filter((family) => entries.some((entry) => familyOf(entry.test) === family));
  const cell = (family: string | undefined, runner: string) => {
    const chosen = entries.filter((entry) =>
      entry.runner === runner && (family === undefined || familyOf(entry.test) === family)
    );
    const { passed, ignored, failed } = countsOf(chosen);
    return `${passed} / ${ignored} / ${failed}`;
  };
  const rows = [
    ["passed / ignored / failed", ...runners],
    ...present.map((family) => [family, ...runners.map((runner) => cell(family, runner))]),
    ["all", ...runners.map((runner) => cell(undefined, runner))],
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    row.map((text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column]))).join("  ");
  return rows.map(line).join("\n");
}

/** How many tests each reason leaves out. */
export function ignoredTable(entries: readonly SuiteEntry[]): string {
  const tests = new Map<string, Set<string>>();
  for (const { status, reason, test } of entries) {
    if (status !== "ignored" || reason === undefined) continue;
    tests.set(reason, (tests.get(reason) ?? new Set()).add(test));
  }
  return [...tests].map(([reason, names]) => `${String(names.size).padStart(5)}  ${reason}`).join("\n");
}

/** The failed tests with their reasons, one a line. */
export function failureList(entries: readonly SuiteEntry[]): string {
  return entries.filter(({ status }) => status === "failed")
    .map(({ test, runner, reason }) => `${test} (${runner}): ${(reason ?? "").replaceAll("\n", " | ")}`)
    .join("\n");
}

/** `N passed, N ignored, N failed of N`. */
export function closingLine(entries: readonly SuiteEntry[]): string {
  const { passed, ignored, failed } = countsOf(entries);
  return `${passed} passed, ${ignored} ignored, ${failed} failed of ${entries.length}`;
}
