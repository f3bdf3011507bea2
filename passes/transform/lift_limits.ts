/** Turns the literal limits of clipped activations into constants with one entry per channel, so that they can scale with their channel. */

import { binary, type Expression, input } from "../../compiler/ir/expression.ts";
import { isStatic } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { NodeOf, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor } from "../../compiler/ir/tensor.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { isLinear, linearNode, outputAxis } from "../../compiler/rewrite/region/linear.ts";
import { patched, type Rule } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/**
 * min(max(x, 0), 6) over a convolution's output becomes min(max(x, 0), b) with b[c] = 6 for every channel c, in the maps
 * whose results are `chosen`. Limits at zero stay: zero scales with anything.
 */
export function liftLimits(graph: Graph, chosen: (value: ValueName) => boolean): Graph {
  const rule: Rule = {
    name: "lift-limits",
    rewrite: (node, view) => {
      if (node.op !== "map" || node.inputs.length !== 1 || !chosen(node.outputs[0])) return undefined;
      const channels = channelShape(node, view);
      const { expression, limits } = lifted(node.attributes.expression);
      if (channels === undefined || limits.length === 0) return undefined;
      const patch = new PatchBuilder("lift-limits", view);
      patch.remove(node);
      const constants = limits.map((limit) =>
        patch.constant(floatTensor(channels, new Array<number>(channels[0]).fill(limit)), { name: "limit" })
      );
      patch.addAs(node.outputs, "map", [node.inputs[0], ...constants], { expression });
      return patched(patch.finish());
    },
  };
  return sweep(graph, [rule]).graph;
}

/** The shape of a constant that broadcasts over the channels of the linear that makes the map's operand. */
function channelShape(node: NodeOf<"map">, view: GraphView): number[] | undefined {
  const producer = view.producer(node.inputs[0]);
  const linear = producer === undefined ? undefined : linearNode(view, producer);
  const { element, shape } = view.typeOf(node.inputs[0]);
  if (linear === undefined || !isLinear(linear) || element !== "f32") return undefined;
  const axis = outputAxis(view, linear);
  const extent = shape[axis];
  return isStatic(extent) ? [extent, ...new Array<number>(shape.length - 1 - axis).fill(1)] : undefined;
}

/** Takes the literals off the limits on the outside of an expression; they become inputs 1, 2, ... */
function lifted(expression: Expression): { readonly expression: Expression; readonly limits: readonly number[] } {
  if (expression.kind !== "binary" || (expression.operator !== "min" && expression.operator !== "max")) {
    return { expression, limits: [] };
  }
  const [inner, limit] = expression.y.kind === "literal" ? [expression.x, expression.y] : [expression.y, expression.x];
  if (limit.kind !== "literal") return { expression, limits: [] };
  const rest = lifted(inner);
  const value = Number(limit.value);
  const stays = value === 0 || !Number.isFinite(value);
  return {
    expression: binary(expression.operator, rest.expression, stays ? limit : input(rest.limits.length + 1)),
    limits: stays ? rest.limits : [...rest.limits, value],
  };
}
