/** Maps: one expression at every position. */

import type { Expression } from "../../../compiler/ir/expression.ts";
import type { OpAttributes } from "../../../compiler/ir/node.ts";
import type { Lowering } from "../context.ts";
import { expressionScalar } from "../expression.ts";
import { broadcastStrides, loadPart } from "../operand.ts";
import { axisRange, forAxes, joinAxes } from "../space.ts";

export function lowerMap(lowering: Lowering, { expression }: OpAttributes["map"]): readonly string[] {
  const { b } = lowering;
  const shape = lowering.resultShape();
  const count = lowering.inputCount;
  const inputs = axisRange(0, count).map((index) => lowering.input(index, count === 1 ? "x" : `x${index}`));
  const strides = inputs.map((operand) => broadcastStrides(operand, shape.length));
  const axes = joinAxes(shape, axisRange(0, shape.length), [...strides, ...lowering.storeStrides()]);
  forAxes(b, axes, "independent", (position) => {
    const values = inputs.map((operand, index) => loadPart(b, operand, "data", position(strides[index])));
    lowering.storeAt(position, expressionScalar(b, expression, values));
  });
  return [`y[i] = ${printExpression(expression, (index) => `${inputs[index].role}[i]`)}`];
}

const symbols: Readonly<Record<string, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  eq: "==",
  ne: "!=",
  lt: "<",
  le: "<=",
  gt: ">",
  ge: ">=",
};

/** An expression as text. After `room` operators an ellipsis stands for the rest: the code below a header says it all. */
export function printExpression(expression: Expression, input: (index: number) => string, room = 24): string {
  let left = room;
  const visit = (node: Expression): string => {
    if (left-- <= 0) return "…";
    switch (node.kind) {
      case "input":
        return input(node.index);
      case "literal":
        return String(node.value);
      case "cast":
        return `${node.element}(${visit(node.x)})`;
      case "unary":
        return `${node.operator}(${visit(node.x)})`;
      case "select":
        return `(${visit(node.condition)} ? ${visit(node.x)} : ${visit(node.y)})`;
      default: {
        const x = visit(node.x);
        const y = visit(node.y);
        const symbol = symbols[node.operator];
        return symbol === undefined ? `${node.operator}(${x}, ${y})` : `(${x} ${symbol} ${y})`;
      }
    }
  };
  return visit(expression);
}
