/** Extents of axes: a number, or an affine function of one symbol (`seq`, `2*seq+1`). */

/** `factor * symbol + offset`, with factor > 0. */
export interface SymbolicExtent {
  readonly symbol: string;
  readonly factor: number;
  readonly offset: number;
}

export type Extent = number | SymbolicExtent;

/** Inclusive range of a symbol at run time. `max` sizes every buffer. */
export interface SymbolRange {
  readonly min: number;
  readonly max: number;
}

/**
 * Symbols of a graph. Two names are reserved: `past`, the positions already held by the states, and
 * `total` = past + the extent of the sequence symbol. The runtime sets them; `total.max` is the context length.
 */
export type SymbolTable = Readonly<Record<string, SymbolRange>>;

/** Values of the symbols in one run. */
export type SymbolValues = Readonly<Record<string, number>>;

export function symbolic(symbol: string, factor = 1, offset = 0): SymbolicExtent {
  return { symbol, factor, offset };
}

export function isStatic(extent: Extent): extent is number {
  return typeof extent === "number";
}

export function equalExtents(a: Extent, b: Extent): boolean {
  if (isStatic(a) || isStatic(b)) return a === b;
  return a.symbol === b.symbol && a.factor === b.factor && a.offset === b.offset;
}

export function equalShapes(a: readonly Extent[], b: readonly Extent[]): boolean {
  return a.length === b.length && a.every((extent, axis) => equalExtents(extent, b[axis]));
}

/** a + b, when it is still affine in one symbol. */
export function addExtents(a: Extent, b: Extent): Extent | undefined {
  if (isStatic(a) && isStatic(b)) return a + b;
  if (isStatic(a)) return isStatic(b) ? undefined : { ...b, offset: b.offset + a };
  if (isStatic(b)) return { ...a, offset: a.offset + b };
  if (a.symbol !== b.symbol) return undefined;
  return { symbol: a.symbol, factor: a.factor + b.factor, offset: a.offset + b.offset };
}

/** a * b, when it is still affine in one symbol. */
export function multiplyExtents(a: Extent, b: Extent): Extent | undefined {
  if (isStatic(a)) {
    if (isStatic(b)) return a * b;
    return a === 0 ? 0 : { symbol: b.symbol, factor: b.factor * a, offset: b.offset * a };
  }
  return isStatic(b) ? multiplyExtents(b, a) : undefined;
}

/** Product of extents; undefined when two of them are symbolic. */
export function shapeSize(shape: readonly Extent[]): Extent | undefined {
  return shape.reduce<Extent | undefined>(
    (size, extent) => (size === undefined ? undefined : multiplyExtents(size, extent)),
    1,
  );
}

export function evaluateExtent(extent: Extent, values: SymbolValues): number {
  if (isStatic(extent)) return extent;
  const value = values[extent.symbol];
  if (value === undefined) throw new RangeError(`Symbol "${extent.symbol}" has no value`);
  return extent.factor * value + extent.offset;
}

export function evaluateShape(shape: readonly Extent[], values: SymbolValues): number[] {
  return shape.map((extent) => evaluateExtent(extent, values));
}

/** Largest value of an extent over the ranges of the symbols. */
export function extentBound(extent: Extent, symbols: SymbolTable): number {
  if (isStatic(extent)) return extent;
  const range = symbols[extent.symbol];
  if (range === undefined) throw new RangeError(`Symbol "${extent.symbol}" is not declared`);
  return extent.factor * range.max + extent.offset;
}

export function shapeBound(shape: readonly Extent[], symbols: SymbolTable): number[] {
  return shape.map((extent) => extentBound(extent, symbols));
}

export function printExtent(extent: Extent): string {
  if (isStatic(extent)) return String(extent);
  const factor = extent.factor === 1 ? "" : `${extent.factor}*`;
  const offset = extent.offset === 0 ? "" : extent.offset > 0 ? `+${extent.offset}` : String(extent.offset);
  return `${factor}${extent.symbol}${offset}`;
}

export function parseExtent(text: string): Extent | undefined {
  const trimmed = text.trim();
  if (/^\d+$/.test(trimmed)) return Number(trimmed);
  const match = /^(?:(\d+)\*)?([A-Za-z_]\w*)([+-]\d+)?$/.exec(trimmed);
  if (match === null) return undefined;
  return { symbol: match[2], factor: Number(match[1] ?? 1), offset: Number(match[3] ?? 0) };
}
