/** Prints a stage of a loop program as a WGSL compute shader. */

import type { SymbolTable } from "../../../compiler/ir/extent.ts";
import { addIndex, divIndex, indexValue, largestSymbols, maxIndex, mulIndex, subIndex } from "../../loops/index.ts";
import type { Index, LoopBuffer, LoopProgram, Statement } from "../../loops/program.ts";
import { accessors, arenaArray, ownArray } from "../accessors.ts";
import type { WgslDispatch, WgslOperand } from "../kernel.ts";
import { libraryFor } from "../math/library.ts";
import { safeName } from "../names.ts";
import { elementWords } from "../storage.ts";
import { wgslType } from "../types.ts";
import { bare, indexText, scalarText } from "./scalar.ts";
import { accessOf, type Space, type Stage } from "./stages.ts";

/** Invocations of one workgroup. */
export const workgroupSize = 64;
/** Bytes of private arrays that an invocation may hold itself (WGSL allows 8192); larger ones lie in the arena. */
const privateBytes = 256;

/**
 * Inner loops of a lone invocation are written out this often: Mesa's software rasterizer leaves all loops of an
 * invocation after 65535 rounds in all.
 */
const mostWrittenOut = 16;

export type ArrayStatement = Extract<Statement, { kind: "array" }>;

/** The dispatch of a stage. */
export function stageDispatch(program: LoopProgram, stage: Stage, table: SymbolTable): WgslDispatch {
  const body = stage.spaces.flatMap((space) => space.body);
  const { reads, writes } = accessOf(body);
  const buffers = program.buffers.filter(({ name }) => reads.has(name) || writes.has(name));
  const arrays = arraysOf(body);
  const isPrivate =
    arrays.reduce((sum, { element, extent }) => sum + 4 * elementWords(element) * extent, 0) <= privateBytes;
  const threads = stage.spaces
    .map(({ loops }) => loops.reduce<Index>((product, { from, to }) => mulIndex(product, subIndex(to, from)), 1))
    .reduce(maxIndex);
  const most = indexValue(threads, largestSymbols(table));
  const scratch = isPrivate ? [] : arrays.map(({ name, element, extent }): WgslOperand => ({
    kind: "scratch",
    name,
    words: extent * elementWords(element) * most,
  }));
  const isAlone = stage.spaces.every(({ loops }) => loops.length === 0);
  const statements = printStatements(body, assignedVariables(body), isAlone);
  return {
    operands: [...buffers.map(bufferOperand), ...scratch],
    variants: [{
      needs: [],
      workgroups: [divIndex(addIndex(threads, workgroupSize - 1), workgroupSize)],
      code: ({ entry, memoryOf }) =>
        [
          ...sizeConstants(body, stage),
          "",
          ...buffers.flatMap((buffer) => accessors(buffer, memoryOf(buffer.name), reads, writes)),
          ...arrays.flatMap((array) =>
            isPrivate ? ownArray(array, "private", array.extent) : arenaArray(array, "lane", array.extent)
          ),
          ...entryLines(stage, entry, scratch.length > 0, statements),
        ].join("\n"),
    }],
  };
}

/** The operand of a kernel that a loop program's buffer is. */
export function bufferOperand({ name, source, part }: LoopBuffer): WgslOperand {
  return source.kind === "value"
    ? { kind: "value", name, value: source.value, part }
    : { kind: "state", name, state: source.state, part };
}

function entryLines(stage: Stage, entry: string, usesLane: boolean, body: readonly string[]): string[] {
  const single = stage.spaces.length === 1;
  const start = [
    ...(usesLane ? ["var<private> lane: u32;", ""] : []),
    `@compute @workgroup_size(${workgroupSize})`,
    `fn ${entry}(`,
    "  @builtin(workgroup_id) group: vec3<u32>,",
    "  @builtin(num_workgroups) groups: vec3<u32>,",
    "  @builtin(local_invocation_index) local: u32,",
    ") {",
    `  let id = i32((group.y * groups.x + group.x) * ${workgroupSize}u + local);`,
    ...(usesLane ? ["  lane = u32(id);"] : []),
  ];
  const spaces = stage.spaces.flatMap((space) => {
    const lines = single ? body : printStatements(space.body, assignedVariables(space.body));
    const inner = [...placeLines(space), ...lines];
    const total = totalText(space);
    return single
      ? [`  if (id >= ${total}) { return; }`, ...inner.map((line) => `  ${line}`)]
      : [`  if (id < ${total}) {`, ...inner.map((line) => `    ${line}`), "  }"];
  });
  return [...start, ...spaces, "}"];
}

export function totalText({ loops }: Space): string {
  return loops.length === 0 ? "1" : loops.map(sizeText).join(" * ");
}

export function sizeText({ variable, from, to }: Space["loops"][number]): string {
  if (typeof from === "number" && typeof to === "number") return sizeName(variable);
  return from === 0 ? indexText(to) : `(${indexText(to)} - ${indexText(from)})`;
}

function sizeName(variable: string): string {
  return `size_${variable}`;
}

/** Sets the loop variables from the invocation's number, the innermost running fastest. */
export function placeLines({ loops }: Space): string[] {
  const lines: string[] = [];
  const offset = (from: Index, text: string) => (from === 0 ? text : `${text} + ${indexText(from)}`);
  if (loops.length > 1) lines.push("var rest = id;");
  for (let at = loops.length - 1; at > 0; at--) {
    const { variable, from } = loops[at];
    lines.push(`let ${safeName(variable)} = ${offset(from, `rest % ${sizeText(loops[at])}`)};`);
    lines.push(`rest = rest / ${sizeText(loops[at])};`);
  }
  const [outer] = loops;
  if (outer !== undefined) {
    lines.push(`let ${safeName(outer.variable)} = ${offset(outer.from, loops.length > 1 ? "rest" : "id")};`);
  }
  return lines;
}

/** Names for the constant extents of all loops. */
export function sizeConstants(body: readonly Statement[], stage: Stage): string[] {
  const sizes = new Map<string, number>();
  const add = (loop: Extract<Statement, { kind: "for" }>) => {
    if (typeof loop.from === "number" && typeof loop.to === "number") sizes.set(loop.variable, loop.to - loop.from);
  };
  const visit = (statement: Statement): void => {
    if (statement.kind === "for") add(statement);
    if (statement.kind === "for") statement.body.forEach(visit);
    if (statement.kind === "if") [...statement.then, ...statement.else].forEach(visit);
  };
  stage.spaces.forEach(({ loops }) => loops.forEach(add));
  body.forEach(visit);
  return [...sizes].map(([variable, size]) => `const ${sizeName(variable)} = ${Math.max(0, size)};`);
}

/** Lines of statements; loops of a lone invocation are written out. */
export function printStatements(
  statements: readonly Statement[],
  assigned: ReadonlySet<string>,
  isAlone = false,
): string[] {
  const inner = (body: readonly Statement[]) => printStatements(body, assigned, isAlone).map((line) => `  ${line}`);
  return statements.flatMap((statement): string[] => {
    switch (statement.kind) {
      case "let": {
        const value = bare(scalarText(statement.value));
        const name = safeName(statement.variable);
        return assigned.has(statement.variable)
          ? [`var ${name}: ${wgslType(statement.value.element)} = ${value};`]
          : [`let ${name}: ${wgslType(statement.value.element)} = ${value};`];
      }
      case "assign":
        return [`${safeName(statement.variable)} = ${bare(scalarText(statement.value))};`];
      case "store":
        return [
          `store_${statement.buffer}(${bare(indexText(statement.index))}, ${bare(scalarText(statement.value))});`,
        ];
      case "for":
        return printLoop(statement, inner(statement.body), isAlone);
      case "if": {
        const tail = statement.else.length === 0 ? [] : ["} else {", ...inner(statement.else)];
        return [`if (${bare(scalarText(statement.condition))}) {`, ...inner(statement.then), ...tail, "}"];
      }
      case "array":
        return [];
    }
  });
}

function printLoop(
  { variable, from, to, body: statements }: Extract<Statement, { kind: "for" }>,
  body: readonly string[],
  isAlone: boolean,
): string[] {
  const name = safeName(variable);
  const isInner = !statements.some((statement) => statement.kind === "for");
  // Drivers inline what a body calls: sixteen copies of an exponential take them minutes.
  const isShort = libraryFor(body.join("\n")) === "";
  if (isAlone && isInner && isShort && from === 0 && typeof to === "number") {
    const rounds = largestFactor(to);
    const round = (
      index: number,
    ) => ["  {", `    let ${name} = first_${variable} + ${index};`, ...body.map((line) => `  ${line}`), "  }"];
    if (rounds > 1) {
      return [
        `for (var first_${variable} = 0; first_${variable} < ${sizeName(variable)}; first_${variable} += ${rounds}) {`,
        ...Array.from({ length: rounds }, (_, index) => round(index)).flat(),
        "}",
      ];
    }
  }
  const start = `var ${name} = ${bare(indexText(from))}`;
  if (typeof to === "number") {
    const end = from === 0 ? sizeName(variable) : indexText(to);
    return [`for (${start}; ${name} < ${end}; ${name}++) {`, ...body, "}"];
  }
  return [
    `let end_${variable} = ${bare(indexText(to))};`,
    `for (${start}; ${name} < end_${variable}; ${name}++) {`,
    ...body,
    "}",
  ];
}

/** The most iterations that are written out as one: a divisor of the extent. */
function largestFactor(extent: number): number {
  for (let factor = mostWrittenOut; factor > 1; factor--) if (extent % factor === 0) return factor;
  return 1;
}

export function arraysOf(statements: readonly Statement[]): readonly ArrayStatement[] {
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

/** Variables that statements assign again: they are `var`. */
export function assignedVariables(statements: readonly Statement[]): ReadonlySet<string> {
  const names = new Set<string>();
  const visit = (statement: Statement): void => {
    if (statement.kind === "assign") names.add(statement.variable);
    if (statement.kind === "for") statement.body.forEach(visit);
    if (statement.kind === "if") [...statement.then, ...statement.else].forEach(visit);
  };
  statements.forEach(visit);
  return names;
}
