/** The command line. */

import process from "node:process";
import { Command, CommanderError } from "commander";
import { DiagnosticError, InvariantError } from "./diagnostics.ts";
import { addCompile } from "./commands/compile.ts";
import { addDiff } from "./commands/diff.ts";
import { addEvaluate } from "./commands/evaluate.ts";
import { addExplain } from "./commands/explain.ts";
import { addOpt } from "./commands/opt.ts";
import { exitCodes, printDiagnostics } from "./commands/common.ts";
import { version } from "./version.ts";

/** Runs one command and gives the exit code: 0, 1 (diagnostics), 2 (usage) or 70 (a bug). */
export async function runCli(args: readonly string[]): Promise<number> {
  let code: number = exitCodes.ok;
  const program = new Command("quern")
    .description("Grinds float models into low-bit code that needs no framework")
    .version(version)
    .showHelpAfterError("Add --help to see all options.")
    .exitOverride();
  const finish = (result: number) => {
    code = result;
  };
  addCompile(program, finish);
  addExplain(program, finish);
  addOpt(program, finish);
  addEvaluate(program, finish);
  addDiff(program, finish);
  for (const command of program.commands) command.exitOverride().showHelpAfterError("Add --help to see all options.");
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    return failureCode(error);
  }
}

function failureCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (error instanceof DiagnosticError) {
    printDiagnostics(error.diagnostics);
    return exitCodes.diagnostics;
  }
  process.stderr.write(`${bugReport(error)}\n`);
  return exitCodes.bug;
}

/** What to send to the maintainers; the graph before the failing pass goes to a file. */
function bugReport(error: unknown): string {
  const lines = ["This is a bug of Quern's, not of your model. Please report it with the lines below."];
  if (error instanceof InvariantError) {
    if (error.passName !== undefined) lines.push(`pass: ${error.passName}`);
    if (error.graphText !== undefined) {
      const emitting = error.passName === "emit";
      const path = Deno.makeTempFileSync({ prefix: "quern-", suffix: emitting ? ".wat" : ".qir" });
      Deno.writeTextFileSync(path, error.graphText);
      lines.push(`${emitting ? "module text" : "graph before it"}: ${path}`);
    }
  }
  lines.push(error instanceof Error ? error.stack ?? error.message : String(error));
  return lines.join("\n");
}

if (import.meta.main) Deno.exit(await runCli(Deno.args));
