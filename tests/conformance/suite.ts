/** Runs node tests on runners and keeps what came out. */

import { familyOf } from "./families.ts";
import { ignoredReason } from "./ignored.ts";
import type { NodeCase } from "./node_case.ts";
import { runCase } from "./run_case.ts";
import type { Runner } from "./runner.ts";

export interface SuiteEntry {
  readonly test: string;
  readonly runner: string;
  readonly status: "passed" | "ignored" | "failed";
  /** Why it was ignored or failed. */
  readonly reason?: string;
}

/** Runs every test on every runner; `onDone` is told after each test. */
export async function runSuite(
  cases: readonly NodeCase[],
  runners: readonly Runner[],
  onDone: (done: number) => void = () => undefined,
): Promise<readonly SuiteEntry[]> {
  const entries: SuiteEntry[] = [];
  for (const [index, nodeCase] of cases.entries()) {
    for (const runner of runners) entries.push(await runEntry(nodeCase, runner));
    onDone(index + 1);
  }
  return entries;
}

async function runEntry(nodeCase: NodeCase, runner: Runner): Promise<SuiteEntry> {
  const place = { test: nodeCase.name, runner: runner.name };
  const reason = ignoredReason(nodeCase.name);
  if (reason !== undefined) return { ...place, status: "ignored", reason };
  const result = await runCase(nodeCase, runner);
  return result.ok ? { ...place, status: "passed" } : { ...place, status: "failed", reason: result.reason };
}

/** At most `most` tests of every family, evenly spaced; those that are ignored are left out. */
export function sampleOf(cases: readonly NodeCase[], most: number): readonly NodeCase[] {
  const families = Map.groupBy(
    cases.filter(({ name }) => ignoredReason(name) === undefined),
    ({ name }) => familyOf(name),
  );
  return [...families.values()].flatMap((family) => {
    const stride = Math.max(1, family.length / most);
    return Array.from({ length: Math.min(most, family.length) }, (_, index) => family[Math.floor(index * stride)]);
  });
}
