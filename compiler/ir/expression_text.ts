/** Expressions as text: `max(add($0, mul($1, 0.5)), 0)`, casts as `i64($0)`, literals of other elements as `2:f64`, `3n:i64`. */

import { isElementType } from "../numeric/element.ts";
import { binaryOperators, comparisonOperators, type Expression, unaryOperators } from "./expression.ts";
import { nearestName } from "../diagnostics.ts";
import { printNumber, type TextCursor } from "./text_cursor.ts";

export function printExpression(expression: Expression): string {
  switch (expression.kind) {
    case "input":
      return `$${expression.index}`;
    case "literal": {
      const { element, value } = expression;
      const digits = typeof value === "bigint" ? `${value}n` : printNumber(value);
      return element === "f32" ? digits : `${digits}:${element}`;
    }
    case "unary":
      return `${expression.operator}(${printExpression(expression.x)})`;
    case "binary":
    case "compare":
      return `${expression.operator}(${printExpression(expression.x)}, ${printExpression(expression.y)})`;
    case "select": {
      const { condition, x, y } = expression;
      return `select(${printExpression(condition)}, ${printExpression(x)}, ${printExpression(y)})`;
    }
    case "cast":
      return `${expression.element}(${printExpression(expression.x)})`;
  }
}

/** Deeper expressions than any that a pass makes would overflow the stack of every walk over them. */
const greatestDepth = 400;

export function parseExpression(cursor: TextCursor, depth = 0): Expression {
  if (depth > greatestDepth) cursor.fault(`expression is nested more than ${greatestDepth} deep`);
  const input = cursor.take(/\$(\d+)/y);
  if (input !== null) return { kind: "input", index: Number(input[1]) };
  const start = cursor.skipSpace();
  const word = cursor.take(/(?!inf\b|nan\b)[A-Za-z_]\w*/y)?.[0];
  return word === undefined ? parseLiteral(cursor) : parseCall(cursor, word, start, depth);
}

function parseLiteral(cursor: TextCursor): Expression {
  const wide = cursor.take(/(-?\d+)n/y);
  const value = wide === null ? cursor.number("an expression") : BigInt(wide[1]);
  if (!cursor.accept(":")) return { kind: "literal", element: "f32", value };
  const start = cursor.skipSpace();
  const element = cursor.word("an element");
  return isElementType(element)
    ? { kind: "literal", element, value }
    : cursor.fault(`"${element}" is not an element`, start);
}

function parseCall(cursor: TextCursor, word: string, start: number, depth: number): Expression {
  const operands = cursor.list("(", ")", () => parseExpression(cursor, depth + 1));
  const [x, y, z] = operands;
  const wants = (count: number) => {
    if (operands.length !== count) cursor.fault(`${word} takes ${count} operands, got ${operands.length}`, start);
  };
  if (isElementType(word)) {
    wants(1);
    return { kind: "cast", element: word, x };
  }
  const unary = unaryOperators.find((operator) => operator === word);
  if (unary !== undefined) {
    wants(1);
    return { kind: "unary", operator: unary, x };
  }
  const binary = binaryOperators.find((operator) => operator === word);
  if (binary !== undefined) {
    wants(2);
    return { kind: "binary", operator: binary, x, y };
  }
  const comparison = comparisonOperators.find((operator) => operator === word);
  if (comparison !== undefined) {
    wants(2);
    return { kind: "compare", operator: comparison, x, y };
  }
  if (word === "select") {
    wants(3);
    return { kind: "select", condition: x, x: y, y: z };
  }
  const near = nearestName(word, [...unaryOperators, ...binaryOperators, ...comparisonOperators, "select"]);
  return cursor.fault(`"${word}" is not an operator${near === undefined ? "" : `; did you mean "${near}"?`}`, start);
}
