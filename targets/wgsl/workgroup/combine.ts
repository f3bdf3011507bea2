/** Combines one variable of every invocation of a workgroup into one value that all of them get. */

import { InvariantError } from "../../../compiler/diagnostics.ts";
import type { ElementType } from "../../../compiler/numeric/element.ts";
import type { Scalar, Statement } from "../../loops/program.ts";
import { binaryOf, largerOf, literalOf, smallerOf } from "../../loops/scalar.ts";
import { scalarText } from "../loops/scalar.ts";
import { heldAs, wgslType } from "../types.ts";

/** `larger` and `smaller` pass NaN over; `max` and `min` let it through. */
export type CombineOperator = "add" | "mul" | "min" | "max" | "and" | "or" | "larger" | "smaller";

export interface Combine {
  readonly operator: CombineOperator;
  readonly element: ElementType;
}

/** The accumulators that the iterations of a reduction meet in (see LoopOrder). */
export function accumulatorsOf(body: readonly Statement[]): ReadonlyMap<string, Combine> {
  const found = new Map<string, Combine>();
  const declared = new Set<string>();
  const visit = (statement: Statement): void => {
    switch (statement.kind) {
      case "let":
        declared.add(statement.variable);
        return;
      case "assign":
        if (declared.has(statement.variable)) return;
        found.set(statement.variable, { operator: operatorOf(statement.value), element: statement.value.element });
        return;
      case "for":
        return statement.body.forEach(visit);
      case "if":
        statement.then.forEach(visit);
        return statement.else.forEach(visit);
      case "store":
      case "array":
        return;
    }
  };
  body.forEach(visit);
  return found;
}

function operatorOf(value: Scalar): CombineOperator {
  if (value.kind === "select" && value.condition.kind === "compare") {
    return value.condition.operator === "lt" ? "larger" : "smaller";
  }
  if (value.kind === "binary") {
    switch (value.operator) {
      case "add":
      case "mul":
      case "min":
      case "max":
      case "and":
      case "or":
        return value.operator;
    }
  }
  throw new InvariantError("A reduction assigns with an operator that is none of its own");
}

/** What an accumulator of an invocation starts from; undefined where the value before the loop may count many times. */
export function identityOf({ operator, element }: Combine): Scalar | undefined {
  switch (operator) {
    case "add":
      return literalOf(element, 0);
    case "mul":
      return literalOf(element, 1);
    default:
      return undefined;
  }
}

function combined({ operator, element }: Combine, x: string, y: string): string {
  const [left, right]: [Scalar, Scalar] = [
    { kind: "variable", element, name: x },
    { kind: "variable", element, name: y },
  ];
  switch (operator) {
    case "larger":
      return scalarText(largerOf(left, right));
    case "smaller":
      return scalarText(smallerOf(left, right));
    default:
      return scalarText(binaryOf(operator, left, right));
  }
}

export function combineName({ operator, element }: Combine): string {
  return `combine_${operator}_${element}`;
}

function partialName(element: ElementType): string {
  return `partial_${heldAs(element)}`;
}

/** Bytes of workgroup memory that combining takes. */
export function combineBytes(combines: Iterable<Combine>, size: number): number {
  const types = new Set([...combines].map(({ element }) => wgslType(element)));
  return [...types].reduce((bytes, type) => bytes + size * (type === "vec2<u32>" ? 8 : 4), 0);
}

/** The function of a subgroup that does what the operator says; undefined where there is none, NaN included. */
function subgroupFunction({ operator, element }: Combine): string | undefined {
  const held = heldAs(element);
  if (held !== "f32" && held !== "i32" && held !== "u32" || element !== held) return undefined;
  switch (operator) {
    case "add":
      return "subgroupAdd";
    case "larger":
      return "subgroupMax";
    case "smaller":
      return "subgroupMin";
    case "max":
    case "min":
      return held === "f32" ? undefined : operator === "max" ? "subgroupMax" : "subgroupMin";
    default:
      return undefined;
  }
}

/** Whether any of these is faster with subgroups. */
export function hasSubgroupForm(combines: Iterable<Combine>): boolean {
  return [...combines].some((combine) => subgroupFunction(combine) !== undefined);
}

/**
 * Functions `combine_add_f32(value, lane, width)` and their memory. Every invocation of the workgroup calls them, in
 * uniform control flow; `width` is the size of a subgroup, whose invocations follow one another.
 */
export function combineFunctions(combines: readonly Combine[], size: number, subgroups: boolean): string[] {
  const memory = [...new Map(combines.map((combine) => [partialName(combine.element), wgslType(combine.element)]))];
  return [
    ...memory.map(([name, type]) => `var<workgroup> ${name}: array<${type}, ${size}>;`),
    ...(memory.length > 0 ? [""] : []),
    ...combines.flatMap((combine) => combineFunction(combine, size, subgroups)),
  ];
}

function combineFunction(combine: Combine, size: number, subgroups: boolean): string[] {
  const { element } = combine;
  const type = wgslType(element);
  const partial = partialName(element);
  const within = subgroups ? subgroupFunction(combine) : undefined;
  const head = `fn ${combineName(combine)}(value: ${type}, lane: i32${subgroups ? ", width: i32" : ""}) -> ${type} {`;
  const assign = (target: string, x: string, y: string) => [
    `let x = ${x};`,
    `let y = ${y};`,
    `${target} = ${combined(combine, "x", "y")};`,
  ];
  if (within !== undefined) {
    return [
      head,
      `  let part = ${within}(value);`,
      `  if (subgroupElect()) { ${partial}[lane / width] = part; }`,
      "  workgroupBarrier();",
      `  var result = ${partial}[0];`,
      `  for (var other = 1; other * width < ${size}; other++) {`,
      ...assign("result", "result", `${partial}[other]`).map((line) => `    ${line}`),
      "  }",
      "  workgroupBarrier();",
      "  return result;",
      "}",
      "",
    ];
  }
  return [
    head,
    `  ${partial}[lane] = value;`,
    "  workgroupBarrier();",
    `  for (var half = ${size / 2}; half > 0; half = half / 2) {`,
    "    if (lane < half) {",
    ...assign(`${partial}[lane]`, `${partial}[lane]`, `${partial}[lane + half]`).map((line) => `      ${line}`),
    "    }",
    "    workgroupBarrier();",
    "  }",
    `  let result = ${partial}[0];`,
    "  workgroupBarrier();",
    "  return result;",
    "}",
    "",
  ];
}
