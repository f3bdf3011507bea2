/** What the commands share: option parsing, how results and diagnostics are told, exit codes. */

import process from "node:process";
import { InvalidArgumentError } from "commander";
import { type Diagnostic, formatDiagnostic } from "../diagnostics.ts";
import type { Binding } from "../import/mod.ts";

/** 0: done. 1: diagnostics. 2: wrong usage. 70: a bug of Quern's (EX_SOFTWARE of sysexits.h). */
export const exitCodes = { ok: 0, diagnostics: 1, usage: 2, bug: 70 } as const;

export type Bindings = Readonly<Record<string, Binding>>;

/** Parses `batch=1,seq=1..256`; later settings win over `previous`. */
export function parseBindings(text: string, previous: Bindings = {}): Bindings {
  const entries = text.split(",").filter((part) => part.trim() !== "").map((part): [string, Binding] => {
    const match = /^\s*([^=]+?)\s*=\s*(\d+)(?:\.\.(\d+))?\s*$/.exec(part);
    if (match === null) throw new InvalidArgumentError(`"${part}" is not NAME=N or NAME=MIN..MAX.`);
    const [, name, first, last] = match;
    if (last === undefined) return [name, Number(first)];
    if (Number(last) < Number(first)) throw new InvalidArgumentError(`"${part}" ends before it begins.`);
    return [name, { min: Number(first), max: Number(last) }];
  });
  return { ...previous, ...Object.fromEntries(entries) };
}

/** Collects a repeatable option. */
export function collected(text: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, text];
}

export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("It must be a whole number above 0.");
  return value;
}

/** Prints one JSON value on stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, jsonNumber, 2)}\n`);
}

/** JSON has no infinities: they are told as strings. */
function jsonNumber(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

export function printLine(text = ""): void {
  process.stdout.write(`${text}\n`);
}

export function printDiagnostics(diagnostics: readonly Diagnostic[]): void {
  for (const diagnostic of diagnostics) process.stderr.write(`${formatDiagnostic(diagnostic)}\n`);
}

/** Tells a failure as text on stderr, or as JSON on stdout. */
export function reportFailure(diagnostics: readonly Diagnostic[], json: boolean): number {
  if (json) printJson({ ok: false, diagnostics });
  else printDiagnostics(diagnostics);
  return exitCodes.diagnostics;
}
