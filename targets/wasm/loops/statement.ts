/** Prints statements of the loop form as WAT lines, one value at a time. */

import type { Index, Statement } from "../../loops/program.ts";
import { addText, type Changes, type Emitter } from "./emitter.ts";
import { printScalar, storeText } from "./scalar.ts";
import type { Lines } from "./text.ts";
import { wasmType } from "./types.ts";

/** Prints a loop in another way than one iteration at a time, or returns undefined. */
export type LoopPrinter = (
  emitter: Emitter,
  loop: Extract<Statement, { kind: "for" }>,
  body: (statements: readonly Statement[]) => Lines,
) => Lines | undefined;

export function printStatements(emitter: Emitter, statements: readonly Statement[], vectorize: LoopPrinter): Lines {
  return statements.flatMap((statement) => printStatement(emitter, statement, vectorize));
}

function printStatement(emitter: Emitter, statement: Statement, vectorize: LoopPrinter): Lines {
  const body = (statements: readonly Statement[]) => printStatements(emitter, statements, vectorize);
  switch (statement.kind) {
    case "let":
    case "assign": {
      const value = printScalar(emitter, statement.value);
      emitter.declare(statement.variable, wasmType(statement.value.element));
      return [`(local.set $${statement.variable} ${value})`];
    }
    case "store":
      return [
        storeText(
          emitter,
          statement.value.element,
          statement.buffer,
          statement.index,
          printScalar(emitter, statement.value),
        ),
      ];
    case "if": {
      const test = `(if ${printScalar(emitter, statement.condition)}`;
      const guarded = (statements: readonly Statement[]) => emitter.guarded(() => body(statements));
      const otherwise: Lines = statement.else.length === 0 ? [] : ["(else", guarded(statement.else), ")"];
      return [test, ["(then", guarded(statement.then), ")", ...otherwise], ")"];
    }
    case "array":
      return [];
    case "for":
      return vectorize(emitter, statement, body) ?? printLoop(emitter, statement, body);
  }
}

/** What the statements change. */
export function changesOf(statements: readonly Statement[]): Changes {
  const variables = new Set<string>();
  const buffers = new Set<string>();
  const visit = (statement: Statement): void => {
    switch (statement.kind) {
      case "let":
      case "assign":
        variables.add(statement.variable);
        break;
      case "for":
        variables.add(statement.variable);
        statement.body.forEach(visit);
        break;
      case "if":
        statement.then.forEach(visit);
        statement.else.forEach(visit);
        break;
      case "store":
        buffers.add(statement.buffer);
        break;
      case "array":
        break;
    }
  };
  statements.forEach(visit);
  return { variables, buffers };
}

/** The end of a loop: a constant as it is, anything else in a local. */
export function loopEnd(emitter: Emitter, variable: string, to: Index): { setup: readonly string[]; text: string } {
  if (typeof to === "number") return { setup: [], text: `(i32.const ${to})` };
  const local = emitter.local(`${variable}_end`, "i32");
  return { setup: [`(local.set $${local} ${emitter.index(to)})`], text: `(local.get $${local})` };
}

export function printLoop(
  emitter: Emitter,
  loop: Extract<Statement, { kind: "for" }>,
  body: (statements: readonly Statement[]) => Lines,
): Lines {
  const { variable, from, to } = loop;
  if (typeof from === "number" && typeof to === "number" && to <= from) return [];
  emitter.declareCounter(variable);
  const end = loopEnd(emitter, variable, to);
  const { result, setup } = emitter.inside(
    changesOf([loop]),
    () => body(loop.body),
  );
  return [
    ...end.setup,
    `(local.set $${variable} ${emitter.index(from)})`,
    ...countedLoop(emitter, loop, end.text, 1, [...result], setup),
  ];
}

/**
 * Runs `body` for variable, variable + step, ... while variable + step - 1 is below `end`, from the value that the variable has.
 * The test before the first round is left out where both bounds are known.
 */
export function countedLoop(
  emitter: Emitter,
  { variable, from, to }: { readonly variable: string; readonly from: Index; readonly to: Index },
  end: string,
  step: number,
  body: Lines,
  setup: readonly string[],
): Lines {
  const label = emitter.label(`each_${variable}`);
  const value = `(local.get $${variable})`;
  const again = `(br_if $${label} (i32.lt_s (local.tee $${variable} ${addText(value, step)}) ${end}))`;
  const loop: Lines = [...setup, `(loop $${label}`, [...body, again], ")"];
  const isSure = typeof from === "number" && typeof to === "number" && from < to;
  return isSure ? loop : [`(if (i32.lt_s ${value} ${end})`, ["(then", loop, ")"], ")"];
}
