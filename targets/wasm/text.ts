/** Small builders of WebAssembly text: instructions as folded expressions, bodies as nested lines. */

import { InvariantError } from "../../compiler/diagnostics.ts";

/** Lines of a body; a nested list is one level deeper. */
export type Lines = readonly (string | Lines)[];

export type LocalType = "i32" | "i64" | "f32" | "f64" | "v128";

export interface FunctionText {
  readonly name: string;
  /** Lines of the `;;` header: the algebra first, then the sizes by name. */
  readonly header: readonly string[];
  /** Names of the i32 parameters, in order, without `$`. */
  readonly parameters: readonly string[];
  readonly body: Lines;
}

export function get(name: string): string {
  return `(local.get $${name})`;
}

export function set(name: string, value: string): string {
  return `(local.set $${name} ${value})`;
}

export function constant(value: number): string {
  return `(i32.const ${value})`;
}

/** Address arithmetic: `x + amount`, without an instruction when the amount is 0. */
export function plus(x: string, amount: number): string {
  return amount === 0 ? x : `(i32.add ${x} ${constant(amount)})`;
}

/** `x * factor`, without an instruction when the factor is 1. */
export function times(x: string, factor: number): string {
  return factor === 1 ? x : `(i32.mul ${x} ${constant(factor)})`;
}

export function sum(x: string, y: string): string {
  return `(i32.add ${x} ${y})`;
}

/** `name += amount`. */
export function advance(name: string, amount: number): string {
  return set(name, plus(get(name), amount));
}

/** A load, or any instruction that takes a memory operand and an address. */
export function load(instruction: string, address: string, offset = 0): string {
  return offset === 0 ? `(${instruction} ${address})` : `(${instruction} offset=${offset} ${address})`;
}

export function store(instruction: string, address: string, value: string, offset = 0): string {
  return offset === 0
    ? `(${instruction} ${address} ${value})`
    : `(${instruction} offset=${offset} ${address} ${value})`;
}

/** Stores one lane of a vector, of 8 to 64 bits. */
export function storeLane(bits: 8 | 16 | 32 | 64, lane: number, address: string, value: string, offset = 0): string {
  return `(v128.store${bits}_lane${offset === 0 ? "" : ` offset=${offset}`} ${lane} ${address} ${value})`;
}

/** Stores the first `lanes` of a vector of 4-byte entries. */
export function storeWords(lanes: number, address: string, value: string, offset = 0): string[] {
  switch (lanes) {
    case 4:
      return [store("v128.store", address, value, offset)];
    case 3:
      return [storeLane(64, 0, address, value, offset), storeLane(32, 2, address, value, offset + 8)];
    case 2:
      return [storeLane(64, 0, address, value, offset)];
    default:
      return [storeLane(32, 0, address, value, offset)];
  }
}

/** `i32x4.dot_i16x8_s` and the like: an instruction over operands. */
export function op(instruction: string, ...operands: readonly string[]): string {
  return `(${[instruction, ...operands].join(" ")})`;
}

/** The smaller of two unsigned i32 that may be evaluated twice. */
export function minimum(x: string, y: string): string {
  return `(select ${x} ${y} (i32.lt_u ${x} ${y}))`;
}

/** Runs the body at least once, again while `condition` holds after it. */
export function repeatWhile(label: string, condition: string, body: Lines): Lines {
  return [`(loop $${label}`, [...body, `(br_if $${label} ${condition})`], ")"];
}

/** Runs the body while `condition` holds before it. */
export function whileLoop(label: string, condition: string, body: Lines): Lines {
  return [
    `(block $${label}_done`,
    [`(loop $${label}`, [`(br_if $${label}_done (i32.eqz ${condition}))`, ...body, `(br $${label})`], ")"],
    ")",
  ];
}

/** `for (name = 0; name < count; name++)` with a count of one or more. */
export function countedLoop(label: string, name: string, count: number, body: Lines): Lines {
  if (count === 1) return [set(name, constant(0)), ...body];
  return [
    set(name, constant(0)),
    ...repeatWhile(label, `(i32.lt_u ${get(name)} ${constant(count)})`, [...body, advance(name, 1)]),
  ];
}

export function ifThen(condition: string, then: Lines, otherwise: Lines = []): Lines {
  const tail = otherwise.length === 0 ? [] : ["(else", otherwise, ")"];
  return [`(if ${condition}`, ["(then", then, ")", ...tail], ")"];
}

function printLines(lines: Lines, depth: number, out: string[]): void {
  for (const line of lines) {
    if (typeof line === "string") out.push("  ".repeat(depth) + line);
    else printLines(line, depth + 1, out);
  }
}

function flatten(lines: Lines, out: string[] = []): string[] {
  for (const line of lines) {
    if (typeof line === "string") out.push(line);
    else flatten(line, out);
  }
  return out;
}

const vectorPrefix = /^v_/;
const floatPrefix = /^f_/;

/** Type of a local by its name: `v_` is v128, `f_` is f32, everything else i32. */
export function localType(name: string): LocalType {
  return vectorPrefix.test(name) ? "v128" : floatPrefix.test(name) ? "f32" : "i32";
}

/** The whole function: header, parameters, the locals that the body names (typed by prefix), body. */
export function printFunction(text: FunctionText): string {
  const used = new Set<string>();
  for (const line of flatten(text.body)) {
    for (const match of line.matchAll(/\(local\.(?:get|set|tee) \$([A-Za-z0-9_]+)/g)) used.add(match[1]);
  }
  for (const parameter of text.parameters) used.delete(parameter);
  for (const line of flatten(text.body)) {
    const assigned = /\(local\.(?:set|tee) \$([A-Za-z0-9_]+)/.exec(line)?.[1];
    if (assigned !== undefined && text.parameters.includes(assigned)) {
      throw new InvariantError(`${text.name} assigns its parameter ${assigned}`);
    }
  }
  const out: string[] = [`(func $${text.name}`];
  for (const line of text.header) out.push(`  ;; ${line}`);
  for (const parameter of text.parameters) out.push(`  (param $${parameter} i32)`);
  for (const type of ["i32", "f32", "v128"] as const) {
    const names = [...used].filter((name) => localType(name) === type).sort();
    for (let start = 0; start < names.length; start += 8) {
      out.push("  " + names.slice(start, start + 8).map((name) => `(local $${name} ${type})`).join(" "));
    }
  }
  printLines(text.body, 1, out);
  out.push(")");
  return out.join("\n");
}
