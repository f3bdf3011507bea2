/** Index arithmetic: constructors that fold constants, and the affine form that printers read strides from. */

import { type Extent, isStatic } from "../../compiler/ir/extent.ts";
import type { Index, IndexOperator, Scalar } from "./program.ts";

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
      const key = JSON.stringify(part, bigintText);
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

/** JSON replacer for trees that hold bigint literals. */
export function bigintText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}n` : value;
}

/** Names of variables that an index reads, those inside its scalars included. */
export function indexVariables(index: Index, into: Set<string> = new Set()): Set<string> {
  if (typeof index === "number" || index.kind === "symbol") return into;
  if (index.kind === "variable") into.add(index.name);
  else if (index.kind === "scalar") scalarVariables(index.x, into);
  else {
    indexVariables(index.x, into);
    indexVariables(index.y, into);
  }
  return into;
}

/** Names of variables that a scalar reads. */
export function scalarVariables(scalar: Scalar, into: Set<string> = new Set()): Set<string> {
  switch (scalar.kind) {
    case "literal":
      break;
    case "variable":
      into.add(scalar.name);
      break;
    case "load":
    case "index":
      indexVariables(scalar.index, into);
      break;
    case "binary":
    case "compare":
      scalarVariables(scalar.x, into);
      scalarVariables(scalar.y, into);
      break;
    case "select":
      scalarVariables(scalar.condition, into);
      scalarVariables(scalar.x, into);
      scalarVariables(scalar.y, into);
      break;
    case "unary":
    case "cast":
    case "reinterpret":
    case "table":
      scalarVariables(scalar.x, into);
      break;
  }
  return into;
}

export function isIndexOperator(kind: string): kind is IndexOperator {
  return ["add", "mul", "div", "rem", "min", "max"].includes(kind);
}
