/** Typed reads of untrusted JSON objects. Wrong kinds become diagnostics with the key's place; nothing is assumed. */

import { type Diagnostic, errorDiagnostic, fail, nearestName } from "../diagnostics.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses UTF-8 JSON whose root is an object. Throws a DiagnosticError (Q0401). */
export function parseJsonObject(bytes: Uint8Array, place: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    // Parser and decoder errors, and a RangeError for nesting deeper than the parser's stack.
    const reason = error instanceof Error ? error.message : String(error);
    return fail("Q0401", `"${place}" is not valid JSON: ${reason}`, { node: place });
  }
  if (!isObject(value)) return fail("Q0401", `"${place}" holds no JSON object`, { node: place });
  return value;
}

/**
 * Reads the fields of one object, remembers which were read, and collects faults in `diagnostics`.
 * A read of a missing or wrong field yields the fallback (or a harmless value) so that one pass lists every fault.
 */
export class Fields {
  readonly #read = new Set<string>();

  constructor(
    readonly object: JsonObject,
    readonly place: string,
    readonly diagnostics: Diagnostic[],
    readonly code: string = "Q0402",
  ) {}

  /** Whether the field is there and not null. Counts as a read. */
  has(name: string): boolean {
    this.#read.add(name);
    return Object.hasOwn(this.object, name) && this.object[name] !== null;
  }

  fault(name: string, message: string): void {
    this.diagnostics.push(errorDiagnostic(this.code, message, { node: `${this.place}: ${name}` }));
  }

  int(name: string, fallback?: number, least = 0): number {
    const value = this.number(name, fallback ?? least, fallback === undefined);
    if (Number.isSafeInteger(value) && value >= least) return value;
    this.fault(name, `"${name}" is ${value}, wants an integer of at least ${least}`);
    return fallback ?? least;
  }

  /** Absent fields give `fallback`; with `required` that is a fault. */
  number(name: string, fallback: number, required = false): number {
    if (!this.has(name)) {
      if (required) this.fault(name, `"${name}" is missing`);
      return fallback;
    }
    const value = this.object[name];
    if (typeof value === "number" && Number.isFinite(value)) return value;
    this.fault(name, `"${name}" is ${shown(value)}, wants a number`);
    return fallback;
  }

  boolean(name: string, fallback: boolean): boolean {
    return this.#optional(name, fallback, "true or false", (value) => typeof value === "boolean");
  }

  string(name: string, fallback: string): string {
    return this.#optional(name, fallback, "a string", (value) => typeof value === "string");
  }

  strings(name: string): readonly string[] | undefined {
    if (!this.has(name)) return undefined;
    const value = this.object[name];
    if (Array.isArray(value) && value.every((entry): entry is string => typeof entry === "string")) return value;
    this.fault(name, `"${name}" is ${shown(value)}, wants a list of strings`);
    return undefined;
  }

  numbers(name: string): readonly number[] | undefined {
    if (!this.has(name)) return undefined;
    const value = this.object[name];
    if (Array.isArray(value) && value.every((entry): entry is number => typeof entry === "number")) return value;
    this.fault(name, `"${name}" is ${shown(value)}, wants a list of numbers`);
    return undefined;
  }

  child(name: string): Fields | undefined {
    if (!this.has(name)) return undefined;
    const value = this.object[name];
    if (isObject(value)) return new Fields(value, `${this.place}: ${name}`, this.diagnostics, this.code);
    this.fault(name, `"${name}" is ${shown(value)}, wants an object`);
    return undefined;
  }

  /** Names of the fields that nothing has asked for. */
  unread(): readonly string[] {
    return Object.keys(this.object).filter((name) => !this.#read.has(name));
  }

  #optional<T>(name: string, fallback: T, wanted: string, fits: (value: unknown) => boolean): T {
    if (!this.has(name)) return fallback;
    const value = this.object[name];
    // `fits` has just established that the value has the fallback's type.
    if (fits(value)) return value as T;
    this.fault(name, `"${name}" is ${shown(value)}, wants ${wanted}`);
    return fallback;
  }
}

/** A value as a message shows it, cut short. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** "did you mean" for a name outside a known set; undefined when nothing is near. */
export function suggestion(name: string, known: Iterable<string>): string | undefined {
  const nearest = nearestName(name, known);
  return nearest === undefined ? undefined : `Did you mean "${nearest}"?`;
}
