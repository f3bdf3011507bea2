/** Rewrites of statements: an index variable replaced by an index. */

import { addIndex, divIndex, maxIndex, minIndex, mulIndex, remIndex } from "./index.ts";
import type { Index, Scalar, Statement } from "./program.ts";

/** Replaces reads of an index variable (which the statements do not set). */
export function replaceVariable(
  statements: readonly Statement[],
  name: string,
  replacement: Index,
): readonly Statement[] {
  const inIndex = (index: Index): Index => {
    if (typeof index === "number" || index.kind === "symbol") return index;
    switch (index.kind) {
      case "variable":
        return index.name === name ? replacement : index;
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
    switch (scalar.kind) {
      case "literal":
        return scalar;
      case "variable":
        return scalar.name === name ? { kind: "index", element: "i32", index: replacement } : scalar;
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
