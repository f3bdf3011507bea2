/** Expressions as one-line formulas. */

import type { Expression } from "../../../compiler/ir/expression.ts";

/** The expression as text, for headers and ids: `x` is the sum, `e0`, `e1`... the operands. Literals are exact. */
export function formula(expression: Expression): string {
  switch (expression.kind) {
    case "input":
      return expression.index === 0 ? "x" : `e${expression.index - 1}`;
    case "literal":
      return Object.is(expression.value, -0) ? "-0" : String(expression.value);
    case "unary":
      return `${expression.operator}(${formula(expression.x)})`;
    case "cast":
      return `${expression.element}(${formula(expression.x)})`;
    case "select":
      return `(${formula(expression.condition)} ? ${formula(expression.x)} : ${formula(expression.y)})`;
    case "binary":
    case "compare": {
      const sign = { add: "+", sub: "-", mul: "*", div: "/", lt: "<", le: "<=", gt: ">", ge: ">=", eq: "==", ne: "!=" };
      const infix = expression.operator in sign ? sign[expression.operator as keyof typeof sign] : undefined;
      const [x, y] = [formula(expression.x), formula(expression.y)];
      return infix === undefined ? `${expression.operator}(${x}, ${y})` : `(${x} ${infix} ${y})`;
    }
  }
}
