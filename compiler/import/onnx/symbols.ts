/** Binds the symbolic axes of a model's inputs to numbers or to ranges that stay symbolic. */

import { type Diagnostic, errorDiagnostic, nearestName } from "../../diagnostics.ts";
import { type Extent, isStatic, symbolic, type SymbolRange } from "../../ir/extent.ts";
import type { Binding } from "../model.ts";
import { evaluateDimension, namesIn } from "./dimension_text.ts";
import type { DimensionProto, ValueInfoProto } from "./proto.ts";

/** Shapes of the inputs with every symbol bound. */
export interface BoundInputs {
  readonly shapes: ReadonlyMap<string, readonly Extent[]>;
  /** Ranges of the graph's symbols. */
  readonly symbols: Readonly<Record<string, SymbolRange>>;
  /** The graph's symbol -> the model's own name. */
  readonly sources: Readonly<Record<string, string>>;
  /** Extents of the model's own names, for declared shapes elsewhere in it. */
  readonly extents: ReadonlyMap<string, Extent>;
  readonly diagnostics: readonly Diagnostic[];
}

/** One free axis of the model: its own name, or `input.axis` where it has none. */
interface FreeName {
  readonly name: string;
  /** Where it occurs alone, as input and axis. */
  readonly places: { readonly input: string; readonly axis: number; readonly rank: number }[];
}

/** The graph's name of the one dynamic axis that the runtime knows. */
const dynamicSymbol = "seq";

const batchName = /^(n|b|bs|bsz|none|unk.*|.*batch.*)$/i;
const sequenceName = /(seq|time|token|length|len$|^t$|^s$|^l$)/i;

/** Binds by `bind`: the model's own names, `input.axis`, or the aliases batch, seq, height and width where they are clear. */
export function bindInputs(inputs: readonly ValueInfoProto[], bind: Readonly<Record<string, Binding>>): BoundInputs {
  const diagnostics: Diagnostic[] = [];
  const free = freeNames(inputs, bind);
  const bindings = new Map<string, Binding>();
  const used = new Set<string>();
  for (const key of Object.keys(bind)) {
    if (!isBinding(bind[key])) {
      diagnostics.push(
        errorDiagnostic(
          "Q1041",
          `"${key}" is bound to ${describe(bind[key])}, wanted a whole number or a range of them`,
        ),
      );
      used.add(key);
    } else if (free.has(key)) {
      bindings.set(key, bind[key]);
      used.add(key);
    }
  }
  for (const key of Object.keys(bind)) {
    if (used.has(key) || overridesAxis(inputs, key)) continue;
    const meant = aliasTargets(key, [...free.values()].filter((entry) => !bindings.has(entry.name)));
    meant.forEach((entry) => bindings.set(entry.name, bind[key]));
    if (meant.length > 0 || isUsedName(inputs, key)) continue;
    diagnostics.push(unknownKey(key, free, inputs));
  }
  defaultBatch(free, bindings, diagnostics);
  reportUnbound(free, bindings, diagnostics);
  return assemble(inputs, bind, bindings, diagnostics);
}

function isBinding(value: Binding): boolean {
  const whole = (number: number) => Number.isInteger(number) && number >= 0 && number <= 2 ** 31 - 1;
  return typeof value === "number" ? whole(value) : whole(value.min) && whole(value.max) && value.min <= value.max;
}

function describe(value: Binding): string {
  return typeof value === "number" ? String(value) : `${value.min}..${value.max}`;
}

/** A dimension that says nothing: no name and no number, or the -1 of old exporters. */
function isUnnamed(dimension: DimensionProto): boolean {
  return dimension === undefined || ("value" in dimension && dimension.value < 0n);
}

function freeNames(
  inputs: readonly ValueInfoProto[],
  bind: Readonly<Record<string, Binding>>,
): ReadonlyMap<string, FreeName> {
  const free = new Map<string, FreeName>();
  const note = (name: string, place?: FreeName["places"][number]) => {
    const entry = free.get(name) ?? { name, places: [] };
    free.set(name, entry);
    if (place !== undefined) entry.places.push(place);
  };
  for (const { name: input, shape } of inputs) {
    shape?.forEach((dimension, axis) => {
      const place = { input, axis, rank: shape.length };
      const own = `${input}.${axis}`;
      if (isUnnamed(dimension)) note(own, place);
      else if (dimension !== undefined && "name" in dimension && bind[own] === undefined) {
        const names = namesIn(dimension.name);
        names.forEach((name) => note(name, name === dimension.name ? place : undefined));
      }
    });
  }
  return free;
}

/** Whether a key is `input.axis` of an axis that has a name or a number of its own. */
function overridesAxis(inputs: readonly ValueInfoProto[], key: string): boolean {
  return inputs.some(({ name, shape }) => shape?.some((_, axis) => `${name}.${axis}` === key));
}

/** A name that occurs, though every axis that has it is bound as `input.axis`. */
function isUsedName(inputs: readonly ValueInfoProto[], key: string): boolean {
  return inputs.some(({ shape }) =>
    shape?.some((dimension) => dimension !== undefined && "name" in dimension && dimension.name === key)
  );
}

function aliasTargets(alias: string, unbound: readonly FreeName[]): readonly FreeName[] {
  switch (alias) {
    case "batch":
      return unbound.filter(isBatchLike);
    case dynamicSymbol: {
      const rest = unbound.filter((entry) => !isBatchLike(entry));
      const named = rest.filter((entry) => sequenceName.test(entry.name));
      return named.length === 1 ? named : rest.length === 1 ? rest : [];
    }
    case "height":
      return imageAxis(unbound, 2);
    case "width":
      return imageAxis(unbound, 3);
    default:
      return [];
  }
}

/** Axes of the one image input (N, C, H, W). */
function imageAxis(unbound: readonly FreeName[], axis: number): readonly FreeName[] {
  const found = unbound.filter(({ places }) => places.some((place) => place.rank === 4 && place.axis === axis));
  return found.length === 1 ? found : [];
}

function isBatchLike({ name, places }: FreeName): boolean {
  if (!places.some((place) => place.axis === 0)) return false;
  if (batchName.test(name)) return true;
  const isUnnamedAxis = places.some((place) => name === `${place.input}.${place.axis}`);
  return places.every((place) => place.axis === 0) && (isUnnamedAxis ? places[0].rank > 1 : isOpaque(name));
}

/** Names that exporters make up: `dynamic_axes_1`, `DynamicDimension.0`, `p2o.DynamicDimension.0`, torch's `s0`. */
function isOpaque(name: string): boolean {
  return /dynamic|^s\d+$/i.test(name);
}

function unknownKey(key: string, free: ReadonlyMap<string, FreeName>, inputs: readonly ValueInfoProto[]): Diagnostic {
  const known = [
    ...free.keys(),
    ...inputs.flatMap(({ name, shape }) => shape?.map((_, axis) => `${name}.${axis}`) ?? []),
  ];
  const nearest = nearestName(key, known);
  return errorDiagnostic("Q1042", `The model has no symbolic axis "${key}"`, {
    notes: [
      free.size === 0 ? "It has no symbolic axes" : `It has ${[...free.keys()].map((name) => `"${name}"`).join(", ")}`,
    ],
    help: nearest === undefined ? undefined : `Did you mean "${nearest}"?`,
  });
}

function defaultBatch(
  free: ReadonlyMap<string, FreeName>,
  bindings: Map<string, Binding>,
  diagnostics: Diagnostic[],
): void {
  for (const entry of free.values()) {
    if (bindings.has(entry.name) || !isBatchLike(entry)) continue;
    bindings.set(entry.name, 1);
    diagnostics.push({
      code: "Q1043",
      severity: "note",
      message: `The leading axis "${entry.name}" is taken as a batch of 1`,
      help: `Bind it with --bind ${entry.name}=N`,
    });
  }
}

function reportUnbound(
  free: ReadonlyMap<string, FreeName>,
  bindings: Map<string, Binding>,
  diagnostics: Diagnostic[],
): void {
  const unbound = [...free.values()].filter((entry) => !bindings.has(entry.name));
  if (unbound.length === 0) return;
  const names = unbound.map((entry) => `"${entry.name}"`).join(", ");
  diagnostics.push(errorDiagnostic("Q1040", `Symbolic axes without a value: ${names}`, {
    notes: unbound.map(({ name, places }) => `"${name}" is ${placesText(places)}`),
    help: `Give each a number or a range: --bind ${unbound.map((entry) => `${entry.name}=N`).join(",")}`,
  }));
}

function placesText(places: FreeName["places"]): string {
  if (places.length === 0) return "part of an expression";
  const shown = places.slice(0, 4).map((place) => `axis ${place.axis} of "${place.input}"`).join(", ");
  return places.length > 4 ? `${shown} and of ${places.length - 4} more` : shown;
}

/** Names the graph's symbols: the dynamic axis is `seq`, further ones keep their own names. */
function graphSymbols(
  keys: readonly (readonly [string, Binding])[],
): {
  readonly extents: Map<string, Extent>;
  readonly symbols: Record<string, SymbolRange>;
  readonly sources: Record<string, string>;
} {
  const extents = new Map<string, Extent>();
  const symbols: Record<string, SymbolRange> = {};
  const sources: Record<string, string> = {};
  const ranged = keys.filter(([, binding]) => typeof binding !== "number" && binding.min < binding.max);
  const main = ranged.find(([name]) => name === dynamicSymbol) ?? ranged.find(([name]) => sequenceName.test(name)) ??
    ranged[0];
  for (const [name, binding] of keys) {
    if (typeof binding === "number") extents.set(name, binding);
    else if (binding.min === binding.max) extents.set(name, binding.min);
    else {
      const symbol = name === main?.[0] ? dynamicSymbol : ownSymbol(name, symbols);
      extents.set(name, symbolic(symbol));
      symbols[symbol] = { min: binding.min, max: binding.max };
      sources[symbol] = name;
    }
  }
  return { extents, symbols, sources };
}

function ownSymbol(name: string, taken: Readonly<Record<string, SymbolRange>>): string {
  const clean = name.replace(/\W+/g, "_").replace(/^(?=\d)/, "_");
  const isReserved = ["past", "total", dynamicSymbol].includes(clean);
  const stem = isReserved ? `${clean}_axis` : clean;
  for (let suffix = 1;; suffix++) {
    const symbol = suffix === 1 ? stem : `${stem}_${suffix}`;
    if (taken[symbol] === undefined) return symbol;
  }
}

function assemble(
  inputs: readonly ValueInfoProto[],
  bind: Readonly<Record<string, Binding>>,
  bindings: ReadonlyMap<string, Binding>,
  diagnostics: Diagnostic[],
): BoundInputs {
  const overrides = Object.entries(bind).filter(([key, value]) =>
    !bindings.has(key) && overridesAxis(inputs, key) && isBinding(value)
  );
  const { extents, symbols, sources } = graphSymbols([...bindings, ...overrides]);
  const shapes = new Map<string, readonly Extent[]>();
  for (const { name, shape } of inputs) {
    const bound = shape?.map((dimension, axis) => boundExtent(dimension, `${name}.${axis}`, extents, diagnostics));
    if (bound !== undefined && bound.every((extent) => extent !== undefined)) shapes.set(name, bound);
  }
  return { shapes, symbols, sources, extents, diagnostics };
}

function boundExtent(
  dimension: DimensionProto,
  own: string,
  extents: ReadonlyMap<string, Extent>,
  diagnostics: Diagnostic[],
): Extent | undefined {
  const override = extents.get(own);
  if (dimension === undefined || isUnnamed(dimension)) return override;
  if ("value" in dimension) {
    const value = Number(dimension.value);
    if (override === undefined || override === value) return value;
    diagnostics.push(
      errorDiagnostic("Q1041", `Axis ${own} is ${value} in the model and cannot be bound to another value`),
    );
    return undefined;
  }
  if (override !== undefined) return override;
  const extent = evaluateDimension(dimension.name, extents);
  const isMissing = namesIn(dimension.name).some((name) => !extents.has(name));
  if (extent === undefined && !isMissing) {
    diagnostics.push(
      errorDiagnostic("Q1041", `Axis ${own} is "${dimension.name}", which is no whole multiple of one symbol`, {
        help: `Bind it by itself: --bind ${own}=N`,
      }),
    );
  }
  if (extent !== undefined && isStatic(extent) && extent < 0) {
    diagnostics.push(errorDiagnostic("Q1041", `Axis ${own} is "${dimension.name}", which comes to ${extent}`));
    return undefined;
  }
  return extent;
}
