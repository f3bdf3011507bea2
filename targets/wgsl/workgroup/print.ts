/** Prints a shared program as a compute shader, one workgroup an iteration of its outer loops. */

import type { SymbolTable } from "../../../compiler/ir/extent.ts";
import { indexValue, largestSymbols, mulIndex, subIndex } from "../../loops/index.ts";
import type { Index, LoopProgram, Statement } from "../../loops/program.ts";
import { accessors, arenaArray, ownArray } from "../accessors.ts";
import type { Frame, WgslDispatch, WgslOperand, WgslVariant } from "../kernel.ts";
import {
  assignedVariables,
  bufferOperand,
  placeLines,
  printStatements,
  sizeConstants,
  sizeText,
  totalText,
} from "../loops/print.ts";
import { bare, indexText, scalarText } from "../loops/scalar.ts";
import { accessOf } from "../loops/stages.ts";
import { safeName } from "../names.ts";
import { elementWords } from "../storage.ts";
import {
  accumulatorsOf,
  type Combine,
  combineBytes,
  combineFunctions,
  combineName,
  hasSubgroupForm,
  identityOf,
} from "./combine.ts";
import type { SharedProgram, SharedStatement } from "./share.ts";

/** Bytes of workgroup memory that every device has. */
const workgroupBytes = 16384;

export function workgroupDispatch(
  program: LoopProgram,
  shared: SharedProgram,
  size: number,
  symbols: SymbolTable,
): WgslDispatch {
  const { space, arrays } = shared;
  const { reads, writes } = accessOf(space.body);
  const buffers = program.buffers.filter(({ name }) => reads.has(name) || writes.has(name));
  const combines = combinesOf(shared.body);
  const groups = space.loops.reduce<Index>((product, { from, to }) => mulIndex(product, subIndex(to, from)), 1);
  const arrayBytes = arrays.reduce((sum, { element, extent }) => sum + 4 * elementWords(element) * extent, 0);
  const isShared = arrayBytes + combineBytes(combines, size) <= workgroupBytes;
  const scratch = isShared ? [] : arrays.map(({ name, element, extent }): WgslOperand => ({
    kind: "scratch",
    name,
    words: extent * elementWords(element) * indexValue(groups, largestSymbols(symbols)),
  }));
  const variant = (subgroups: boolean): WgslVariant => ({
    needs: subgroups ? ["subgroups"] : [],
    workgroups: [groups],
    code: ({ entry, memoryOf }: Frame) =>
      [
        `const invocations = ${size};`,
        ...sizeConstants(space.body, { spaces: [space] }),
        "",
        ...buffers.flatMap((buffer) => accessors(buffer, memoryOf(buffer.name), reads, writes)),
        ...(isShared || arrays.length === 0 ? [] : ["var<private> row: u32;"]),
        ...arrays.flatMap((array) =>
          isShared ? ownArray(array, "workgroup", array.extent) : arenaArray(array, "row", array.extent)
        ),
        ...combineFunctions(combines, size, subgroups),
        ...entryLines(shared, entry, subgroups, !isShared && arrays.length > 0),
      ].join("\n"),
  });
  return {
    operands: [...buffers.map(bufferOperand), ...scratch],
    variants: hasSubgroupForm(combines) ? [variant(true), variant(false)] : [variant(false)],
  };
}

function entryLines(
  { space, body }: SharedProgram,
  entry: string,
  subgroups: boolean,
  usesRow: boolean,
): string[] {
  const assigned = assignedVariables(space.body);
  const calls = combinesOf(body).length > 0;
  return [
    "@compute @workgroup_size(invocations)",
    `fn ${entry}(`,
    "  @builtin(workgroup_id) group: vec3<u32>,",
    "  @builtin(num_workgroups) groups: vec3<u32>,",
    "  @builtin(local_invocation_index) local: u32,",
    ...(subgroups && calls ? ["  @builtin(subgroup_size) subgroup: u32,"] : []),
    ") {",
    "  let id = i32(group.y * groups.x + group.x);",
    `  if (id >= ${totalText(space)}) { return; }`,
    "  let lane = i32(local);",
    ...(usesRow ? ["  row = u32(id);"] : []),
    ...[...placeLines(space), ...printShared(body, { assigned, subgroups, starts: startsOf(body) })]
      .map((line) => `  ${line}`),
    "}",
  ];
}

interface Printing {
  readonly assigned: ReadonlySet<string>;
  readonly subgroups: boolean;
  /** Accumulators that are their operator's identity when their only reduction begins. */
  readonly starts: ReadonlySet<string>;
}

function printShared(body: readonly SharedStatement[], printing: Printing): string[] {
  return body.flatMap((shared): string[] => {
    switch (shared.kind) {
      case "each":
        return printStatements([shared.statement], printing.assigned);
      case "first": {
        const lines = printStatements([shared.statement], printing.assigned);
        return ["if (lane == 0) {", ...lines.map((line) => `  ${line}`), "}"];
      }
      case "dealt":
        return dealtLoop(shared.nest, shared.body, printing);
      case "together": {
        const { variable, from, to } = shared.loop;
        const name = safeName(variable);
        const end = bare(indexText(to));
        return [
          `for (var ${name} = ${bare(indexText(from))}; ${name} < ${end}; ${name}++) {`,
          ...printShared(shared.body, printing).map((line) => `  ${line}`),
          "}",
        ];
      }
      case "barrier":
        return [...(shared.buffers ? ["storageBarrier();"] : []), ...(shared.arrays ? ["workgroupBarrier();"] : [])];
    }
  });
}

type Loop = Extract<Statement, { kind: "for" }>;

function dealtLoop(nest: readonly Loop[], body: readonly Statement[], printing: Printing): string[] {
  const [outer] = nest;
  const accumulators = outer.order === "reduction" ? [...accumulatorsOf(nest)] : [];
  const held = accumulators.flatMap(([name, combine]): string[] => {
    const identity = identityOf(combine);
    if (identity === undefined || printing.starts.has(name)) return [];
    return [`let before_${name} = ${safeName(name)};`, `${safeName(name)} = ${scalarText(identity)};`];
  });
  const combined = accumulators.flatMap(([name, combine]): string[] => {
    const own = safeName(name);
    const call = `${combineName(combine)}(${own}, lane${printing.subgroups ? ", i32(subgroup)" : ""})`;
    if (identityOf(combine) === undefined || printing.starts.has(name)) return [`${own} = ${call};`];
    const operator = combine.operator === "mul" ? "mul" : "add";
    const [x, y] = [{ kind: "variable" as const, element: combine.element, name: `before_${name}` }, {
      kind: "variable" as const,
      element: combine.element,
      name,
    }];
    return [
      `${own} = ${call};`,
      `${own} = ${bare(scalarText({ kind: "binary", element: combine.element, operator, x, y }))};`,
    ];
  });
  const lines = printStatements(body, printing.assigned).map((line) => `  ${line}`);
  if (nest.length === 1) {
    const { variable, from, to } = outer;
    const name = safeName(variable);
    const first = from === 0 ? "lane" : `${indexText(from)} + lane`;
    const end = from === 0 ? sizeText(outer) : `end_${variable}`;
    return [
      ...held,
      ...(from === 0 ? [] : [`let ${end} = ${bare(indexText(to))};`]),
      `for (var ${name} = ${first}; ${name} < ${end}; ${name} += invocations) {`,
      ...lines,
      "}",
      ...combined,
    ];
  }
  const at = `at_${outer.variable}`;
  const total = nest.map(sizeText).join(" * ");
  return [
    ...held,
    `for (var ${at} = lane; ${at} < ${total}; ${at} += invocations) {`,
    ...placeNest(nest, at).map((line) => `  ${line}`),
    ...lines,
    "}",
    ...combined,
  ];
}

/** Sets the variables of a nest from the number of its iteration, the innermost running fastest. */
function placeNest(nest: readonly Loop[], at: string): string[] {
  const lines: string[] = [];
  let rest = at;
  for (let depth = nest.length - 1; depth > 0; depth--) {
    const { variable } = nest[depth];
    const size = sizeText(nest[depth]);
    const next = `rest_${variable}`;
    lines.push(`let ${safeName(variable)} = ${rest} % ${size};`);
    lines.push(`let ${next} = ${rest} / ${size};`);
    rest = next;
  }
  lines.push(`let ${safeName(nest[0].variable)} = ${rest};`);
  return lines;
}

/** Accumulators set to their operator's identity by the `let` before, and not touched in between. */
function startsOf(body: readonly SharedStatement[]): ReadonlySet<string> {
  const starts = new Set<string>();
  const fresh = new Map<string, number | bigint>();
  for (const shared of body) {
    if (shared.kind === "each" && shared.statement.kind === "let") {
      const { variable, value } = shared.statement;
      if (value.kind === "literal") fresh.set(variable, value.value);
    } else if (shared.kind === "dealt" && shared.nest[0].order === "reduction") {
      for (const [name, combine] of accumulatorsOf(shared.nest)) {
        const identity = identityOf(combine);
        if (identity?.kind === "literal" && Number(fresh.get(name)) === Number(identity.value)) starts.add(name);
        fresh.delete(name);
      }
    }
  }
  return starts;
}

function combinesOf(body: readonly SharedStatement[]): readonly Combine[] {
  const found = new Map<string, Combine>();
  const visit = (shared: SharedStatement): void => {
    if (shared.kind === "together") shared.body.forEach(visit);
    if (shared.kind !== "dealt" || shared.nest[0].order !== "reduction") return;
    for (const combine of accumulatorsOf(shared.nest).values()) found.set(combineName(combine), combine);
  };
  body.forEach(visit);
  return [...found.values()];
}
