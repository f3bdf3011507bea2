import { elementBytes } from "../../compiler/numeric/element.ts";
import { evaluateNode } from "../../compiler/ir/evaluate/mod.ts";
import { constantEnvironment } from "../../compiler/ir/evaluate/environment.ts";
import { isStatic } from "../../compiler/ir/extent.ts";
import type { Node, OpName } from "../../compiler/ir/node.ts";
import { sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { integerOption } from "../../compiler/rewrite/options.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/**
 * Ops that stay although their operands are constants: states change from run to run, and decoding would give up the
 * integers that the model holds.
 */
const kept: ReadonlySet<OpName> = new Set(["constant", "append", "readState", "writeState", "dequantize", "toSteps"]);

function foldConstant(limitBytes: number): Rule {
  return {
    name: "fold-constants",
    rewrite: (node, view) => {
      if (kept.has(node.op)) return undefined;
      const operands: Tensor[] = [];
      for (const value of node.inputs) {
        const tensor = view.constantOf(value);
        if (tensor === undefined) return undefined;
        operands.push(tensor);
      }
      const sizes = node.outputs.map((output) => byteSize(output, view));
      if (sizes.some((size) => size === undefined)) return undefined;
      const bytes = sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
      const given = operands.reduce((sum, tensor) => sum + sizeOf(tensor.shape) * elementBytes(tensor.element), 0);
      if (bytes > limitBytes && bytes > given) {
        return declined(`the result takes ${bytes} bytes, its operands ${given}`);
      }
      return patched(foldNode(node, operands, view));
    },
  };
}

function byteSize(value: string, view: GraphView): number | undefined {
  const { shape, element } = view.typeOf(value);
  return shape.every(isStatic) ? sizeOf(shape) * elementBytes(element) : undefined;
}

function foldNode(node: Node, operands: readonly Tensor[], view: GraphView) {
  const results = evaluateNode(node, operands, constantEnvironment(view.graph.constants));
  const patch = new PatchBuilder("fold-constants", view);
  patch.remove(node);
  node.outputs.forEach((output, index) => patch.replace(output, patch.constant(results[index])));
  return patch.finish();
}

/** Computes at compile time what depends on constants alone, with the evaluator that defines every op. */
export const foldConstants = definePass({
  name: "fold-constants",
  summary: "Compute at compile time what depends on constants alone",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {
    "limit-bytes": integerOption(
      { min: 0, max: 2 ** 31 },
      65536,
      "Results larger than this fold only when they are no larger than their operands",
    ),
  },
  run: (graph, scope) => sweep(graph, [foldConstant(scope.options["limit-bytes"])], { selects: scope.selects }),
});
