/** Solves the symbols of a run from the concrete inputs, and checks every shape against them. */

import type { Extent } from "./api.ts";
import type { BaseSpec, BorderSpec } from "./spec.ts";

/** What shapes are solved by, on every target. */
export type ShapeSpec = Pick<BaseSpec, "symbols" | "advance" | "capacity">;
export type ShapePort = Pick<BorderSpec, "name" | "element" | "shape">;

export type SymbolValues = Record<string, number>;

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, extent) => size * extent, 1);
}

export function extentAt(extent: Extent, values: SymbolValues): number {
  return typeof extent === "number" ? extent : extent.factor * values[extent.symbol] + extent.offset;
}

export function shapeText(shape: readonly Extent[]): string {
  return `[${shape.map(extentText).join(", ")}]`;
}

function extentText(extent: Extent): string {
  if (typeof extent === "number") return String(extent);
  const factor = extent.factor === 1 ? "" : `${extent.factor}*`;
  return factor + extent.symbol + (extent.offset === 0 ? "" : extent.offset > 0 ? `+${extent.offset}` : extent.offset);
}

/** What was given for one input. */
export interface GivenShape {
  readonly port: ShapePort;
  readonly length: number;
  readonly shape: readonly number[] | undefined;
}

/**
 * Values of all symbols: those that inputs show, then `past` and `total`. Throws an Error that names the input whose
 * shape does not fit, with what is and what is wanted.
 */
export function solveSymbols(spec: ShapeSpec, given: readonly GivenShape[], past: number): SymbolValues {
  const values: SymbolValues = {};
  for (const input of given) if (input.shape !== undefined) solveByShape(spec, values, input, input.shape);
  for (const input of given) if (input.shape === undefined) solveByLength(spec, values, input);
  for (const [name, { max }] of Object.entries(spec.symbols)) values[name] ??= max;
  const added = extentAt(spec.advance, values);
  values.past = past;
  values.total = past + added;
  if (spec.capacity !== null && values.total > spec.capacity) {
    throw new RangeError(
      `The states hold ${past} of ${spec.capacity} positions, this run adds ${added}: ` +
        `use state.reset() or state.rewind()`,
    );
  }
  for (const input of given) checkShape(values, input);
  return values;
}

function solveByShape(spec: ShapeSpec, values: SymbolValues, input: GivenShape, shape: readonly number[]): void {
  if (shape.length !== input.port.shape.length) misfit(input);
  input.port.shape.forEach((extent, axis) => bind(spec, values, input, extent, shape[axis]));
}

/** Without a shape, the one axis that is still open takes what the count of numbers leaves. */
function solveByLength(spec: ShapeSpec, values: SymbolValues, input: GivenShape): void {
  const isOpen = (extent: Extent) => typeof extent !== "number" && !isOwn(extent.symbol) && !(extent.symbol in values);
  const open = input.port.shape.filter(isOpen);
  if (open.length === 0) return;
  if (open.length > 1) {
    refuse(input.port, "has more than one dynamic axis: pass { data, shape }");
  }
  const rest = sizeOf(input.port.shape.filter((extent) => !isOpen(extent)).map((extent) => extentAt(extent, values)));
  if (input.length % rest !== 0) misfit(input);
  bind(spec, values, input, open[0], input.length / rest);
}

/** The runtime sets these from the states. */
function isOwn(symbol: string): boolean {
  return symbol === "past" || symbol === "total";
}

function bind(spec: ShapeSpec, values: SymbolValues, input: GivenShape, extent: Extent, actual: number): void {
  if (typeof extent === "number" || isOwn(extent.symbol)) return;
  const value = (actual - extent.offset) / extent.factor;
  const { min, max } = spec.symbols[extent.symbol];
  if (!Number.isInteger(value)) misfit(input);
  if (value < min || value > max) {
    refuse(input.port, `has ${extent.symbol} = ${value}, this artifact was compiled for ${min} to ${max}`);
  }
  const known = values[extent.symbol];
  if (known !== undefined && known !== value) {
    refuse(input.port, `has ${extent.symbol} = ${value}, another input has ${known}`);
  }
  values[extent.symbol] = value;
}

function checkShape(values: SymbolValues, input: GivenShape): void {
  const wanted = input.port.shape.map((extent) => extentAt(extent, values));
  const fits = input.shape === undefined || input.shape.every((extent, axis) => extent === wanted[axis]);
  if (!fits || sizeOf(wanted) !== input.length) misfit(input);
}

function misfit({ port, length, shape }: GivenShape): never {
  const got = shape === undefined ? "" : ` in the shape ${shapeText(shape)}`;
  refuse(port, `is ${length} numbers${got}, wants ${shapeText(port.shape)}`);
}

/** Throws a TypeError that names the input. */
export function refuse({ name }: { readonly name: string }, what: string): never {
  throw new TypeError(`Input "${name}" ${what}`);
}
