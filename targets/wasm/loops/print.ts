/** Prints loop programs as WebAssembly functions. */

import { elementBytes } from "../../../compiler/numeric/element.ts";
import type { Index, LoopProgram, Statement } from "../../loops/program.ts";
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
  const lines = [
    ...[...program.algebra, ...loopLines(program.body)].map((line) => `;; ${line.replace(/[\r\n]+/g, " ")}`),
    ...program.buffers.map(({ name, element, access }) => `(param $${name} i32) ;; ${element}, ${accessText[access]}`),
    ...arrays.map(({ name, element, extent }) => `(param $${name} i32) ;; ${element}[${extent}], private`),
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

const accessText = { read: "read", write: "written", readWrite: "read and written" } as const;

/** Extents of the loops by the name of their variable, outermost first: the sizes that the code is for. */
function loopLines(statements: readonly Statement[]): string[] {
  const extents: string[] = [];
  const visit = (statement: Statement): void => {
    if (statement.kind === "for") {
      const to = printIndex(statement.to);
      if (to !== undefined) extents.push(`${statement.variable} < ${to}`);
      statement.body.forEach(visit);
    } else if (statement.kind === "if") [...statement.then, ...statement.else].forEach(visit);
  };
  statements.forEach(visit);
  return extents.length === 0 ? [] : [`loops: ${extents.slice(0, 16).join(", ")}`];
}

/** An extent as readers write it; undefined where it is computed. */
function printIndex(index: Index): string | undefined {
  if (typeof index === "number") return String(index);
  if (index.kind === "symbol") return index.name;
  if ((index.kind !== "add" && index.kind !== "mul") || typeof index.y !== "number") return undefined;
  const x = printIndex(index.x);
  if (x === undefined) return undefined;
  return index.kind === "mul" ? `${index.y}*${x}` : `${x}${index.y < 0 ? "-" : "+"}${Math.abs(index.y)}`;
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
      case "if":
        return [...programNames(statement.then), ...programNames(statement.else)];
      default:
        return [];
    }
  });
}
