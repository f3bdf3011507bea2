/** Turns the IR's expressions into scalars; parts that are used twice become variables, so that nothing runs twice. */

import type { Expression } from "../../compiler/ir/expression.ts";
import type { LoopBuilder } from "./build.ts";
import type { Scalar } from "./program.ts";
import { isFloat } from "../../compiler/numeric/element.ts";
import { add, binaryOf, compareOf, literalOf, mul, selectOf, unaryOf } from "./scalar.ts";

interface Entry {
  readonly expression: Expression;
  readonly parts: readonly Entry[];
  readonly id: number;
  uses: number;
}

/** The value of `expression` over `inputs`. Statements that compute shared parts go to the builder's present body. */
export function expressionScalar(b: LoopBuilder, expression: Expression, inputs: readonly Scalar[]): Scalar {
  const root = internExpression(expression);
  const values = new Map<Entry, Scalar>();
  const emit = (entry: Entry): Scalar => {
    const known = values.get(entry);
    if (known !== undefined) return known;
    const plainValue = build(b, entry, entry.parts.map(emit), inputs);
    const value = entry.uses > 1 && worthNaming(plainValue) ? b.let(nameOf(entry.expression), plainValue) : plainValue;
    values.set(entry, value);
    return value;
  };
  return emit(root);
}

function worthNaming(value: Scalar): boolean {
  return value.kind !== "literal" && value.kind !== "variable";
}

function nameOf(expression: Expression): string {
  switch (expression.kind) {
    case "input":
      return `value${expression.index}`;
    case "unary":
    case "binary":
    case "compare":
      return expression.operator;
    default:
      return expression.kind;
  }
}

/** Equal subexpressions, by identity or by structure, become one entry with a count of its readers. */
function internExpression(expression: Expression): Entry {
  const byKey = new Map<string, Entry>();
  const byNode = new Map<Expression, Entry>();
  const visit = (node: Expression): Entry => {
    const seen = byNode.get(node);
    if (seen !== undefined) return seen;
    const parts = partsOf(node).map(visit);
    const key = `${headOf(node)}(${parts.map((part) => part.id).join(",")})`;
    let entry = byKey.get(key);
    if (entry === undefined) {
      entry = { expression: node, parts, id: byKey.size, uses: 0 };
      byKey.set(key, entry);
      for (const part of parts) part.uses++;
    }
    byNode.set(node, entry);
    return entry;
  };
  const root = visit(expression);
  root.uses++;
  return root;
}

function partsOf(node: Expression): readonly Expression[] {
  switch (node.kind) {
    case "input":
    case "literal":
      return [];
    case "unary":
    case "cast":
      return [node.x];
    case "binary":
    case "compare":
      return [node.x, node.y];
    case "select":
      return [node.condition, node.x, node.y];
  }
}

function headOf(node: Expression): string {
  switch (node.kind) {
    case "input":
      return `input ${node.index}`;
    case "literal":
      return `literal ${node.element} ${Object.is(node.value, -0) ? "-0" : node.value}`;
    case "cast":
      return `cast ${node.element}`;
    case "select":
      return "select";
    default:
      return `${node.kind} ${node.operator}`;
  }
}

/**
 * Powers that need no power function. x² is exact before its one rounding, √x and x likewise; x³ rounds twice, which keeps
 * it within an ulp and a half: elements of 16 bits, where that shows, take the function.
 */
function knownPower(b: LoopBuilder, x: Scalar, exponent: Scalar): Scalar | undefined {
  if (exponent.kind !== "literal" || !isFloat(x.element)) return undefined;
  const number = (value: number) => literalOf(x.element, value);
  switch (Number(exponent.value)) {
    case 1:
      return x;
    case 2: {
      const base = b.let("base", x);
      return mul(base, base);
    }
    case 3: {
      if (x.element !== "f32" && x.element !== "f64") return undefined;
      const base = b.let("base", x);
      return mul(mul(base, base), base);
    }
    case 0.5: {
      // IEEE 754 pow gives +0 for -0 and infinity for -infinity, which the root does not.
      const base = b.let("base", x);
      return selectOf(
        compareOf("eq", base, number(-Infinity)),
        number(Infinity),
        unaryOf("sqrt", add(base, number(0))),
      );
    }
    default:
      return undefined;
  }
}

function build(b: LoopBuilder, entry: Entry, parts: readonly Scalar[], inputs: readonly Scalar[]): Scalar {
  const { expression } = entry;
  switch (expression.kind) {
    case "input":
      return inputs[expression.index];
    case "literal":
      return literalOf(expression.element, expression.value);
    case "unary":
      return unaryOf(expression.operator, parts[0]);
    case "binary":
      return (expression.operator === "pow" ? knownPower(b, parts[0], parts[1]) : undefined) ??
        binaryOf(expression.operator, parts[0], parts[1]);
    case "compare":
      return compareOf(expression.operator, parts[0], parts[1]);
    case "select":
      return selectOf(parts[0], parts[1], parts[2]);
    case "cast":
      return parts[0].element === expression.element
        ? parts[0]
        : { kind: "cast", element: expression.element, x: parts[0] };
  }
}
