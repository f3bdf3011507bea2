/** Limits with one entry per channel, seen through a grid of codes: those that all channels share are one limit. */

import { binary, type Expression, literal } from "../../compiler/ir/expression.ts";
import type { NodeOf, ValueName } from "../../compiler/ir/node.ts";
import { isPlain } from "../../compiler/ir/tensor.ts";
import { compactMap } from "../../compiler/rewrite/expressions.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { type CodeGrid, codeOf } from "./grid.ts";

/**
 * A map whose result is encoded on `grid`, with literals for the outer limits that are one code in every channel:
 *
 *   code(min(x, b[c])) = min(code(x), code(b[c])),   since encoding is monotone
 *
 * Limits past the last code are of this kind: an equalized ReLU6 whose channels all reach beyond the range has none left.
 */
export function sharedLimits(map: NodeOf<"map">, grid: CodeGrid, view: GraphView): NodeOf<"map"> {
  const visit = (expression: Expression): Expression => {
    if (expression.kind !== "binary" || (expression.operator !== "min" && expression.operator !== "max")) {
      return expression;
    }
    const { operator, x, y } = expression;
    const [left, right] = [sharedLimit(x, map, grid, view), sharedLimit(y, map, grid, view)];
    if (right !== undefined) return binary(operator, visit(x), right);
    return left === undefined ? expression : binary(operator, left, visit(y));
  };
  const open = compactMap({ expression: visit(map.attributes.expression), inputs: map.inputs });
  return { ...map, inputs: open.inputs, attributes: { ...map.attributes, expression: open.expression } };
}

/** The literal that stands for a limit; undefined for what varies, or is no limit. */
function sharedLimit(
  expression: Expression,
  map: NodeOf<"map">,
  grid: CodeGrid,
  view: GraphView,
): Expression | undefined {
  if (expression.kind === "literal") return expression;
  const value: ValueName | undefined = expression.kind === "input" ? map.inputs[expression.index] : undefined;
  const tensor = value === undefined ? undefined : view.constantOf(value);
  if (tensor === undefined || !isPlain(tensor, "f32") || tensor.data.length === 0) return undefined;
  const [first, ...others] = new Set(Array.from(tensor.data, (entry) => codeOf(entry, grid)));
  return others.length === 0 ? literal((first - grid.zero) * grid.step) : undefined;
}
