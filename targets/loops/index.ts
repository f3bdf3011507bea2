/** Index arithmetic: constructors that fold constants, and the affine form that printers read strides from. */

import { type Extent, isStatic, type SymbolTable } from "../../compiler/ir/extent.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import type { Index, Scalar } from "./program.ts";

export function variable(name: string): Index {
  return { kind: "variable", name };
}

export function indexOfScalar(x: Scalar): Index {
  if (x.kind === "index") return x.index;
  if (x.kind === "literal") return Number(x.value);
  if (x.kind === "variable") return variable(x.name);
  return { kind: "scalar", x };
}

/** The run-time value of an extent. */
export function extentIndex(extent: Extent): Index {
  if (isStatic(extent)) return extent;
  return addIndex(mulIndex({ kind: "symbol", name: extent.symbol }, extent.factor), extent.offset);
}

export function addIndex(x: Index, y: Index): Index {
  if (typeof x === "number") {
    if (typeof y === "number") return x + y;
    return x === 0 ? y : addIndex(y, x);
  }
  if (y === 0) return x;
  if (typeof y === "number" && typeof x === "object" && x.kind === "add" && typeof x.y === "number") {
    return addIndex(x.x, x.y + y);
  }
  return { kind: "add", x, y };
}

export function mulIndex(x: Index, y: Index): Index {
  if (typeof x === "number") {
    if (typeof y === "number") return x * y;
    return mulIndex(y, x);
  }
  if (y === 0) return 0;
  if (y === 1) return x;
  if (typeof y === "number" && x.kind === "mul" && typeof x.y === "number") return mulIndex(x.x, x.y * y);
  if (typeof y === "number" && x.kind === "add" && typeof x.y === "number") {
    return addIndex(mulIndex(x.x, y), x.y * y);
  }
  return { kind: "mul", x, y };
}

export function subIndex(x: Index, y: Index): Index {
  return addIndex(x, mulIndex(y, -1));
}

export function divIndex(x: Index, y: Index): Index {
  if (y === 1 || x === 0) return x;
  if (typeof x === "number" && typeof y === "number") return Math.floor(x / y);
  return { kind: "div", x, y };
}

export function remIndex(x: Index, y: Index): Index {
  if (y === 1) return 0;
  if (typeof x === "number" && typeof y === "number") return x % y;
  return { kind: "rem", x, y };
}

export function minIndex(x: Index, y: Index): Index {
  if (typeof x === "number" && typeof y === "number") return Math.min(x, y);
  return { kind: "min", x, y };
}

export function maxIndex(x: Index, y: Index): Index {
  if (typeof x === "number" && typeof y === "number") return Math.max(x, y);
  return { kind: "max", x, y };
}

export function clampIndex(x: Index, low: Index, high: Index): Index {
  return maxIndex(minIndex(x, high), low);
}

/** Σ indices[axis] * strides[axis]. */
export function dotIndex(indices: readonly Index[], strides: readonly number[]): Index {
  return indices.reduce<Index>((sum, index, axis) => addIndex(sum, mulIndex(index, strides[axis])), 0);
}

/** The number that an index of symbols alone stands for. */
export function indexValue(index: Index, symbols: Readonly<Record<string, number>>): number {
  if (typeof index === "number") return index;
  switch (index.kind) {
    case "symbol":
      return symbols[index.name];
    case "variable":
    case "scalar":
      throw new InvariantError("The index depends on a variable");
    default: {
      const [x, y] = [indexValue(index.x, symbols), indexValue(index.y, symbols)];
      switch (index.kind) {
        case "add":
          return x + y;
        case "mul":
          return x * y;
        case "div":
          return Math.floor(x / y);
        case "rem":
          return x % y;
        case "min":
          return Math.min(x, y);
        case "max":
          return Math.max(x, y);
      }
    }
  }
}

/** Every symbol at its bound. */
export function largestSymbols(table: SymbolTable): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(table).map(([name, { max }]) => [name, max]));
}

/** constant + Σ coefficient * variable + Σ coefficient * opaque. */
export interface AffineIndex {
  readonly constant: number;
  readonly terms: readonly { readonly factor: Exclude<Index, number>; readonly coefficient: number }[];
}

/** Flattens sums and constant multiples; equal factors are merged. */
export function affineOf(index: Index): AffineIndex {
  const coefficients = new Map<string, { factor: Exclude<Index, number>; coefficient: number }>();
  let constant = 0;
  const visit = (part: Index, scale: number): void => {
    if (typeof part === "number") constant += scale * part;
    else if (part.kind === "add") {
      visit(part.x, scale);
      visit(part.y, scale);
    } else if (part.kind === "mul" && typeof part.y === "number") visit(part.x, scale * part.y);
    else {
      const key = JSON.stringify(part, exactText);
      const known = coefficients.get(key);
      if (known === undefined) coefficients.set(key, { factor: part, coefficient: scale });
      else known.coefficient += scale;
    }
  };
  visit(index, 1);
  return { constant, terms: [...coefficients.values()].filter((term) => term.coefficient !== 0) };
}

/** The index of an affine form. */
export function indexOfAffine(affine: AffineIndex): Index {
  return affine.terms.reduceRight<Index>(
    (sum, term) => addIndex(mulIndex(term.factor, term.coefficient), sum),
    affine.constant,
  );
}

/** JSON replacer that keeps apart what JSON does not: bigints, -0, infinities and NaN. */
export function exactText(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "number") return value;
  return Number.isFinite(value) && !Object.is(value, -0) ? value : `number ${Object.is(value, -0) ? "-0" : value}`;
}

/** Calls `visit` on every scalar and index part of a scalar, itself included. */
export function walkScalar(scalar: Scalar, visit: (part: Scalar | Exclude<Index, number>) => void): void {
  visit(scalar);
  switch (scalar.kind) {
    case "literal":
    case "variable":
      return;
    case "load":
    case "index":
      return walkIndex(scalar.index, visit);
    case "binary":
    case "compare":
      walkScalar(scalar.x, visit);
      return walkScalar(scalar.y, visit);
    case "select":
      walkScalar(scalar.condition, visit);
      walkScalar(scalar.x, visit);
      return walkScalar(scalar.y, visit);
    case "unary":
    case "cast":
    case "reinterpret":
    case "table":
      return walkScalar(scalar.x, visit);
  }
}

/** Calls `visit` on every part of an index, those of scalars inside it included. */
export function walkIndex(index: Index, visit: (part: Scalar | Exclude<Index, number>) => void): void {
  if (typeof index === "number") return;
  if (index.kind === "scalar") return walkScalar(index.x, visit);
  visit(index);
  if (index.kind === "variable" || index.kind === "symbol") return;
  walkIndex(index.x, visit);
  walkIndex(index.y, visit);
}

/** Names of variables that an index reads, those inside its scalars included. */
export function indexVariables(index: Index): ReadonlySet<string> {
  const names = new Set<string>();
  walkIndex(index, (part) => {
    if (part.kind === "variable") names.add(part.name);
  });
  return names;
}

/** Names of variables that a scalar reads. */
export function scalarVariables(scalar: Scalar): ReadonlySet<string> {
  const names = new Set<string>();
  walkScalar(scalar, (part) => {
    if (part.kind === "variable") names.add(part.name);
  });
  return names;
}

/** Buffers that a scalar loads from. */
export function scalarBuffers(scalar: Scalar): ReadonlySet<string> {
  const names = new Set<string>();
  walkScalar(scalar, (part) => {
    if (part.kind === "load") names.add(part.buffer);
  });
  return names;
}
