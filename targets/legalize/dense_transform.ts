/**
 * Rewrites transforms with no butterflies over whole vectors as products with their dense matrix: a core alone (172, or a
 * factor of a Kronecker product), or one with a single doubling. Neighbours must be mixed (stride 1); the product runs
 * over n² entries either way, and the tuned matmul takes it.
 *
 *   y = x · (core ⊗ Sylvester)
 *
 * Declines cores that are not constant or not f32. Exact but for the order of the sums.
 */

import { hadamardMatrix, kronecker, type SquareMatrix } from "../../compiler/numeric/hadamard.ts";
import { isStatic } from "../../compiler/ir/extent.ts";
import type { NodeOf } from "../../compiler/ir/node.ts";
import { floatTensor, isPlain } from "../../compiler/ir/tensor.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule, type RuleResult } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/** Butterflies of this many doublings fill whole vectors: the transform kernel takes them. */
const fewestDoublings = 2;

const name = "dense-transform";

const multiplyDense: Rule = {
  name,
  rewrite: (node, view) => (node.op === "transform" ? rewrite(node, view) : undefined),
};

function rewrite(node: NodeOf<"transform">, view: GraphView): RuleResult | undefined {
  const { doublings, stride } = node.attributes;
  if (stride !== 1 || doublings >= fewestDoublings) return undefined;
  const core = view.constantOf(node.inputs[1]);
  if (core === undefined || !isPlain(core, "f32")) return declined("the core is not a constant of f32");
  const dense = kronecker(
    { order: core.shape[0], entries: Float64Array.from(core.data) },
    sylvester(doublings),
  );
  const { shape } = view.typeOf(node.outputs[0]);
  const width = shape[shape.length - 1];
  if (!isStatic(width)) return declined("the channel extent is symbolic");
  const patch = new PatchBuilder(name, view);
  patch.remove(node);
  const matrix = patch.constant(floatTensor([dense.order, dense.order], dense.entries));
  const product = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;
  if (width === dense.order) {
    patch.addAs(node.outputs, "matmul", [node.inputs[0], matrix], product);
    return patched(patch.finish());
  }
  const split = [...shape.slice(0, -1), width / dense.order, dense.order];
  const runs = patch.add("reshape", [node.inputs[0]], { shape: split });
  patch.addAs(node.outputs, "reshape", [patch.add("matmul", [runs, matrix], product)], { shape });
  return patched(patch.finish());
}

function sylvester(doublings: number): SquareMatrix {
  return hadamardMatrix(2 ** doublings) ?? { order: 1, entries: Float64Array.of(1) };
}

export const denseTransform = definePass({
  name,
  summary: "Compute transforms without butterflies as products with their dense matrix",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: rules(multiplyDense),
});
