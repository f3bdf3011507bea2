/** Rewrites of statements: scalars and indices replaced wherever they stand. */

import { addIndex, divIndex, maxIndex, minIndex, mulIndex, remIndex } from "./index.ts";
import type { Index, Scalar, Statement } from "./program.ts";

/** What a rewrite replaces, from the leaves up: parts have been rewritten when their whole is asked about. */
export interface Replacements {
  readonly scalar?: (scalar: Scalar) => Scalar;
  readonly index?: (index: Index) => Index;
}

/** Replaces reads of an index variable (which the statements do not set). */
export function replaceVariable(
  statements: readonly Statement[],
  name: string,
  replacement: Index,
): readonly Statement[] {
  const isRead = (part: Index | Scalar): boolean =>
    typeof part !== "number" && part.kind === "variable" && part.name === name;
  return rewriteStatements(statements, {
    index: (index) => (isRead(index) ? replacement : index),
    scalar: (scalar) => (isRead(scalar) ? { kind: "index", element: "i32", index: replacement } : scalar),
  });
}

/** The statements with every scalar and index replaced. */
export function rewriteStatements(statements: readonly Statement[], replace: Replacements): readonly Statement[] {
  const inIndex = (index: Index): Index => {
    const rebuilt = rebuiltIndex(index);
    return replace.index?.(rebuilt) ?? rebuilt;
  };
  const rebuiltIndex = (index: Index): Index => {
    if (typeof index === "number" || index.kind === "symbol") return index;
    switch (index.kind) {
      case "variable":
        return index;
      case "scalar":
        return { kind: "scalar", x: inScalar(index.x) };
      case "add":
        return addIndex(inIndex(index.x), inIndex(index.y));
      case "mul":
        return mulIndex(inIndex(index.x), inIndex(index.y));
      case "div":
        return divIndex(inIndex(index.x), inIndex(index.y));
      case "rem":
        return remIndex(inIndex(index.x), inIndex(index.y));
      case "min":
        return minIndex(inIndex(index.x), inIndex(index.y));
      case "max":
        return maxIndex(inIndex(index.x), inIndex(index.y));
    }
  };
  const inScalar = (scalar: Scalar): Scalar => {
    const rebuilt = rebuiltScalar(scalar);
    return replace.scalar?.(rebuilt) ?? rebuilt;
  };
  const rebuiltScalar = (scalar: Scalar): Scalar => {
    switch (scalar.kind) {
      case "literal":
      case "variable":
        return scalar;
      case "load":
      case "index":
        return { ...scalar, index: inIndex(scalar.index) };
      case "binary":
      case "compare":
        return { ...scalar, x: inScalar(scalar.x), y: inScalar(scalar.y) };
      case "select":
        return { ...scalar, condition: inScalar(scalar.condition), x: inScalar(scalar.x), y: inScalar(scalar.y) };
      case "unary":
      case "cast":
      case "reinterpret":
      case "table":
        return { ...scalar, x: inScalar(scalar.x) };
    }
  };
  const inStatement = (statement: Statement): Statement => {
    switch (statement.kind) {
      case "let":
      case "assign":
        return { ...statement, value: inScalar(statement.value) };
      case "store":
        return { ...statement, index: inIndex(statement.index), value: inScalar(statement.value) };
      case "for":
        return {
          ...statement,
          from: inIndex(statement.from),
          to: inIndex(statement.to),
          body: statement.body.map(inStatement),
        };
      case "if":
        return {
          ...statement,
          condition: inScalar(statement.condition),
          then: statement.then.map(inStatement),
          else: statement.else.map(inStatement),
        };
      case "array":
        return statement;
    }
  };
  return statements.map(inStatement);
}
