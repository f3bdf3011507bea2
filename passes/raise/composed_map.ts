/** Reads chains of elementwise nodes as one expression, in one of few normal forms, so that patterns match all spellings. */

import { binary, type Expression, literal, substitute, unary } from "../../compiler/ir/expression.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { expressionSize, inlineMap, type OpenMap } from "../../compiler/rewrite/expressions.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/** No pattern is larger than this; larger chains are not read. */
const sizeLimit = 64;

export interface ComposedMap extends OpenMap {
  /** The producers put in place, from the last one back. */
  readonly producers: readonly Node[];
}

/** The expression of a map over leaves: its elementwise producers are put in place, down to values where `stops` holds. */
export function composedMap(
  node: Node,
  view: GraphView,
  stops: (value: ValueName) => boolean,
): ComposedMap | undefined {
  if (node.op !== "map") return undefined;
  const producers: Node[] = [];
  let open: OpenMap = { expression: node.attributes.expression, inputs: node.inputs };
  for (let index = 0; index < open.inputs.length;) {
    const producer = stops(open.inputs[index]) ? undefined : view.producer(open.inputs[index]);
    if (producer?.op !== "map") {
      index++;
      continue;
    }
    open = inlineMap(open, index, { expression: producer.attributes.expression, inputs: producer.inputs });
    if (expressionSize(open.expression) > sizeLimit) return undefined;
    producers.push(producer);
    index = 0;
  }
  return { ...open, producers };
}

/**
 * Literals to the right of sums and products; powers 2, 1/2 and -1/2 as products, roots and quotients; x * (1 / y) as
 * x / y; x * 1 and x / 1 as x.
 */
export function normalized(expression: Expression): Expression {
  switch (expression.kind) {
    case "binary":
      return normalizedBinary(expression.operator, normalized(expression.x), normalized(expression.y));
    case "unary":
    case "cast":
      return { ...expression, x: normalized(expression.x) };
    case "compare":
      return { ...expression, x: normalized(expression.x), y: normalized(expression.y) };
    case "select":
      return {
        ...expression,
        condition: normalized(expression.condition),
        x: normalized(expression.x),
        y: normalized(expression.y),
      };
    default:
      return expression;
  }
}

function normalizedBinary(
  operator: Extract<Expression, { readonly kind: "binary" }>["operator"],
  x: Expression,
  y: Expression,
): Expression {
  const commutes = operator === "add" || operator === "mul";
  if (commutes && x.kind === "literal" && y.kind !== "literal") return normalizedBinary(operator, y, x);
  const number = literalValue(y);
  if (operator === "pow" && number === 2) return binary("mul", x, x);
  if (operator === "pow" && number === 0.5) return unary("sqrt", x);
  if (operator === "pow" && number === -0.5) return binary("div", literal(1), unary("sqrt", x));
  if ((operator === "mul" || operator === "div") && number === 1) return x;
  if (operator === "mul" && isReciprocal(y)) return binary("div", x, y.y);
  if (operator === "mul" && isReciprocal(x)) return binary("div", y, x.y);
  return binary(operator, x, y);
}

function isReciprocal(expression: Expression): expression is Extract<Expression, { readonly kind: "binary" }> {
  return expression.kind === "binary" && expression.operator === "div" && literalValue(expression.x) === 1;
}

export function literalValue(expression: Expression): number | undefined {
  return expression.kind === "literal" ? Number(expression.value) : undefined;
}

export function isLeaf(expression: Expression, index: number): boolean {
  return expression.kind === "input" && expression.index === index;
}

/** Whether an expression reads input `index`. */
export function readsInput(expression: Expression, index: number): boolean {
  let found = false;
  substitute(expression, (input) => {
    found ||= input === index;
    return { kind: "input", index: input };
  });
  return found;
}
