import { equalShapes } from "../../compiler/ir/extent.ts";
import type { Node } from "../../compiler/ir/node.ts";
import { expressionSize, inlineMap, inputUses, type OpenMap } from "../../compiler/rewrite/expressions.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { integerOption } from "../../compiler/rewrite/options.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

interface Limits {
  readonly operands: number;
  readonly operators: number;
}

/**
 * map g (map f (x), y) = map (g ∘ f) (x, y), where g alone reads f's result.
 *
 * Only producers of the reader's whole shape are taken in: one that is broadcast would be computed once per entry.
 */
function fuseProducers(limits: Limits): Rule {
  return {
    name: "fuse-maps",
    rewrite: (node, view) => {
      if (node.op !== "map") return undefined;
      let open: OpenMap = { expression: node.attributes.expression, inputs: [...node.inputs] };
      const taken: Node[] = [];
      let refusal: string | undefined;
      for (let index = 0; index < open.inputs.length;) {
        const producer = fusible(node, taken, open, index, view);
        const fused = producer === undefined
          ? undefined
          : inlineMap(open, index, { expression: producer.attributes.expression, inputs: producer.inputs });
        if (producer === undefined || fused === undefined) index++;
        else if (fused.inputs.length > limits.operands || expressionSize(fused.expression) > limits.operators) {
          refusal = `fusing would give ${fused.inputs.length} operands and ${
            expressionSize(fused.expression)
          } operators`;
          index++;
        } else {
          taken.push(producer);
          open = fused;
          index = 0;
        }
      }
      if (taken.length === 0) return refusal === undefined ? undefined : declined(refusal);
      const patch = new PatchBuilder("fuse-maps", view);
      patch.remove(...taken.reverse(), node);
      patch.addAs(node.outputs, "map", open.inputs, { expression: open.expression });
      return patched(patch.finish());
    },
  };
}

type MapNode = Extract<Node, { readonly op: "map" }>;

/** The map that makes input `index`, when its result is read by the fused nodes alone and has the result's shape. */
function fusible(
  node: Node,
  taken: readonly Node[],
  open: OpenMap,
  index: number,
  view: GraphView,
): MapNode | undefined {
  const value = open.inputs[index];
  const producer = view.producer(value);
  if (producer?.op !== "map" || producer.inputs.length === 0 || view.isOutput(value)) return undefined;
  if (!equalShapes(view.typeOf(value).shape, view.typeOf(node.outputs[0]).shape)) return undefined;
  if (!inputUses(open.expression).has(index)) return undefined;
  const outsider = view.readers(value).find((reader) =>
    reader.outputs[0] !== node.outputs[0] && !taken.includes(reader)
  );
  return outsider === undefined ? producer : undefined;
}

/** Fuses chains of elementwise nodes into one, whose kernel reads and writes memory once. */
export const fuseMaps = definePass({
  name: "fuse-maps",
  summary: "Fuse chains of elementwise nodes into one",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {
    operands: integerOption({ min: 1, max: 32 }, 8, "Most operands of a fused node"),
    operators: integerOption({ min: 1, max: 1000 }, 96, "Most operators of a fused node"),
  },
  run: (graph, scope) => sweep(graph, [fuseProducers(scope.options)], { selects: scope.selects }),
});
