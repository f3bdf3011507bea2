import { isFloat, isWide } from "../../compiler/numeric/element.ts";
import { type Expression, literal } from "../../compiler/ir/expression.ts";
import { equalShapes } from "../../compiler/ir/extent.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import { broadcastShapes } from "../../compiler/ir/type_rules.ts";
import { substitute } from "../../compiler/ir/expression.ts";
import { compactMap } from "../../compiler/rewrite/expressions.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { decodeBf16 } from "../../compiler/numeric/element.ts";

/**
 * A constant of one entry that a map reads becomes a literal of its expression. Not where the constant alone gives the
 * result its shape.
 */
const inlineScalar: Rule = {
  name: "inline-scalars",
  rewrite: (node, view) => {
    if (node.op !== "map") return undefined;
    const literals = new Map<number, Expression>();
    node.inputs.forEach((value, index) => {
      const found = scalarLiteral(view.constantOf(value));
      if (found !== undefined) literals.set(index, found);
    });
    const kept = node.inputs.filter((_, index) => !literals.has(index));
    if (literals.size === 0 || kept.length === 0 || !sameShape(view, kept, node.outputs[0])) return undefined;
    const expression = substitute(
      node.attributes.expression,
      (index) => literals.get(index) ?? { kind: "input", index },
    );
    const map = compactMap({ expression: withoutOnes(expression), inputs: node.inputs });
    if (map.inputs.length === 0 || !sameShape(view, map.inputs, node.outputs[0])) return undefined;
    const patch = new PatchBuilder("inline-scalars", view);
    patch.remove(node);
    patch.addAs(node.outputs, "map", map.inputs, { expression: map.expression });
    return patched(patch.finish());
  },
};

/** x * 1, 1 * x and x / 1 are x, bit for bit. */
function withoutOnes(expression: Expression): Expression {
  switch (expression.kind) {
    case "input":
    case "literal":
      return expression;
    case "unary":
    case "cast":
      return { ...expression, x: withoutOnes(expression.x) };
    case "compare":
      return { ...expression, x: withoutOnes(expression.x), y: withoutOnes(expression.y) };
    case "select":
      return {
        ...expression,
        condition: withoutOnes(expression.condition),
        x: withoutOnes(expression.x),
        y: withoutOnes(expression.y),
      };
    case "binary": {
      const [x, y] = [withoutOnes(expression.x), withoutOnes(expression.y)];
      if ((expression.operator === "mul" || expression.operator === "div") && isOne(y)) return x;
      return expression.operator === "mul" && isOne(x) ? y : { ...expression, x, y };
    }
  }
}

function isOne(expression: Expression): boolean {
  return expression.kind === "literal" && Number(expression.value) === 1;
}

function sameShape(view: GraphView, inputs: readonly ValueName[], output: ValueName): boolean {
  const shapes = inputs.map((value) => view.typeOf(value).shape);
  return equalShapes(shapes.reduce((sum, shape) => broadcastShapes(sum, shape)), view.typeOf(output).shape);
}

/** The literal that stands for a plain tensor of one entry. */
function scalarLiteral(tensor: Tensor | undefined): Expression | undefined {
  if (tensor === undefined || tensor.kind !== "plain" || sizeOf(tensor.shape) !== 1) return undefined;
  const value = tensor.data[0];
  if (tensor.element === "bf16") return literal(decodeBf16(Number(value)), "bf16");
  if (isFloat(tensor.element) || !isWide(tensor.element)) return literal(value, tensor.element);
  return literal(BigInt(value), tensor.element);
}

export const inlineScalars = definePass({
  name: "inline-scalars",
  summary: "Turn one-entry constants that elementwise nodes read into literals",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {},
  run: rules(inlineScalar),
});
