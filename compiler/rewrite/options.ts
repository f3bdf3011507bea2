/** Options of passes: a schema of typed fields with defaults, read strictly from JSON values. */

import { nearestName } from "../diagnostics.ts";

/** A JSON value as recipes hold it. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** One option: how it reads a JSON value, its default, and what it means. */
export interface OptionField<T extends Json = Json> {
  readonly summary: string;
  readonly fallback: T;
  /** What a value must be, for messages: `an integer from 1 to 8`. */
  readonly wanted: string;
  /** The members of a closed set, for nearest-name help. */
  readonly choices?: readonly string[];
  readonly accepts: (value: Json) => value is T;
}

export type OptionSchema = Readonly<Record<string, OptionField>>;

export type OptionValues<S extends OptionSchema> = {
  readonly [K in keyof S]: S[K] extends OptionField<infer T> ? T : never;
};

/** What is wrong with one option; `key` is its name. */
export interface OptionFault {
  readonly key: string;
  readonly message: string;
  readonly help?: string;
}

export function booleanOption(fallback: boolean, summary: string): OptionField<boolean> {
  return { summary, fallback, wanted: "true or false", accepts: (value) => typeof value === "boolean" };
}

export function integerOption(
  range: { readonly min: number; readonly max: number },
  fallback: number,
  summary: string,
): OptionField<number> {
  return {
    summary,
    fallback,
    wanted: `an integer from ${range.min} to ${range.max}`,
    accepts: (value): value is number => Number.isInteger(value) && inRange(value, range),
  };
}

export function numberOption(
  range: { readonly min: number; readonly max: number },
  fallback: number,
  summary: string,
): OptionField<number> {
  return {
    summary,
    fallback,
    wanted: `a number from ${range.min} to ${range.max}`,
    accepts: (value): value is number => typeof value === "number" && inRange(value, range),
  };
}

function inRange(value: Json, range: { readonly min: number; readonly max: number }): boolean {
  return typeof value === "number" && value >= range.min && value <= range.max;
}

export function choiceOption<const C extends string>(
  choices: readonly C[],
  fallback: NoInfer<C>,
  summary: string,
): OptionField<C> {
  const known: readonly string[] = choices;
  return {
    summary,
    fallback,
    choices,
    wanted: `one of ${choices.map((choice) => `"${choice}"`).join(", ")}`,
    accepts: (value): value is C => typeof value === "string" && known.includes(value),
  };
}

/** A string that `fits` accepts. */
export function textOption(
  wanted: string,
  fits: (text: string) => boolean,
  fallback: string,
  summary: string,
): OptionField<string> {
  return { summary, fallback, wanted, accepts: (value): value is string => typeof value === "string" && fits(value) };
}

/** The field's values, or null for none. */
export function nullable<T extends Json>(field: OptionField<T>): OptionField<T | null> {
  return {
    ...field,
    fallback: null,
    wanted: `${field.wanted}, or null`,
    accepts: (value): value is T | null => value === null || field.accepts(value),
  };
}

/** Reads options strictly: unknown keys and ill-typed values are faults, absent keys take their defaults. */
export function readOptions<S extends OptionSchema>(
  schema: S,
  given: Readonly<Record<string, Json>>,
): { readonly values: OptionValues<S>; readonly faults: readonly OptionFault[] } {
  const faults: OptionFault[] = [];
  for (const key of Object.keys(given)) {
    if (Object.hasOwn(schema, key)) continue;
    const near = nearestName(key, Object.keys(schema));
    faults.push({
      key,
      message: `there is no option "${key}"`,
      help: near === undefined ? `The options are ${listNames(Object.keys(schema))}` : `Did you mean "${near}"?`,
    });
  }
  const values: Record<string, Json> = {};
  for (const [key, field] of Object.entries(schema)) {
    const value = Object.hasOwn(given, key) ? given[key] : field.fallback;
    if (field.accepts(value)) values[key] = value;
    else faults.push(illTyped(key, field, value));
  }
  // Every field accepted its own value above, which is what OptionValues states.
  return { values: values as OptionValues<S>, faults };
}

function illTyped(key: string, field: OptionField, value: Json): OptionFault {
  const near = typeof value === "string" ? nearestName(value, field.choices ?? []) : undefined;
  return {
    key,
    message: `"${key}" is ${JSON.stringify(value)}, wants ${field.wanted}`,
    ...(near === undefined ? {} : { help: `Did you mean "${near}"?` }),
  };
}

function listNames(names: readonly string[]): string {
  return names.length === 0 ? "none" : names.map((name) => `"${name}"`).join(", ");
}
