/** Prints loop programs as WebAssembly functions. */

import { elementBytes } from "../../../compiler/numeric/element.ts";
import type { LoopProgram, Statement } from "../../loops/program.ts";
import { Emitter } from "./emitter.ts";
import { scalarPrinter } from "./scalar.ts";
import { type LoopPrinter, printStatements } from "./statement.ts";
import { layOut } from "./text.ts";

/** A printed function, but for its name. */
export interface PrintedFunction {
  /** Names of the i32 parameters: the program's buffers, then its private arrays. */
  readonly parameters: readonly string[];
  /** Bytes of each private array, in the order of the parameters after the buffers. */
  readonly scratchBytes: readonly number[];
  readonly calls: readonly string[];
  readonly text: (name: string) => string;
}

/** Private arrays of a program. Loops run one iteration at a time here, so each needs its memory once. */
function arraysOf(statements: readonly Statement[]): readonly Extract<Statement, { kind: "array" }>[] {
  return statements.flatMap((statement) => {
    switch (statement.kind) {
      case "array":
        return [statement];
      case "for":
      case "while":
        return arraysOf(statement.body);
      case "if":
        return [...arraysOf(statement.then), ...arraysOf(statement.else)];
      default:
        return [];
    }
  });
}

export function printFunction(program: LoopProgram, vectorize: LoopPrinter): PrintedFunction {
  const arrays = arraysOf(program.body);
  const parameters = [...program.buffers.map((buffer) => buffer.name), ...arrays.map((array) => array.name)];
  const emitter = new Emitter([...parameters, ...programNames(program.body)], scalarPrinter);
  const body = printStatements(emitter, program.body, vectorize);
  const header = [...program.algebra, ...Object.entries(program.sizes).map(([name, text]) => `${name} = ${text}`)];
  const lines = [
    ...header.map((line) => `;; ${line.replace(/[\r\n]+/g, " ")}`),
    ...parameters.map((name) => `(param $${name} i32)`),
    ...localLines(emitter),
    ...layOut(body, 0),
  ];
  return {
    parameters,
    scratchBytes: arrays.map((array) => array.extent * elementBytes(array.element)),
    calls: emitter.calls,
    text: (name) => [`(func $${name}`, ...lines.map((line) => `  ${line}`), ")"].join("\n"),
  };
}

function localLines(emitter: Emitter): string[] {
  const byType = Map.groupBy(emitter.locals, ([, type]) => type);
  return [...byType].flatMap(([type, locals]) => {
    const names = locals.map(([name]) => `(local $${name} ${type})`);
    const lines: string[] = [];
    for (let start = 0; start < names.length; start += 5) lines.push(names.slice(start, start + 5).join(" "));
    return lines;
  });
}

/** Every variable name of a program; the printer's own locals avoid them. */
function programNames(statements: readonly Statement[]): string[] {
  return statements.flatMap((statement) => {
    switch (statement.kind) {
      case "let":
        return [statement.variable];
      case "for":
        return [statement.variable, ...programNames(statement.body)];
      case "while":
        return programNames(statement.body);
      case "if":
        return [...programNames(statement.then), ...programNames(statement.else)];
      default:
        return [];
    }
  });
}
