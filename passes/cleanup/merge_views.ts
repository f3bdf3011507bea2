import { equalExtents, equalShapes, type Extent } from "../../compiler/ir/extent.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import { isPlain } from "../../compiler/ir/tensor.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { patched, type Rule } from "../../compiler/rewrite/rule.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { sliceBeforeTranspose, squeezeBeforeTranspose, transposeBeforeMap } from "./reorder_views.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/** Removes a node that yields its first operand unchanged. */
const dropIdentity: Rule = {
  name: "drop-identity",
  rewrite: (node, view) => {
    if (!yieldsOperand(node, view)) return undefined;
    if (mustKeepNode(node, node.inputs[0], view)) return undefined;
    const patch = new PatchBuilder("drop-identity", view);
    patch.remove(node);
    patch.replace(node.outputs[0], node.inputs[0]);
    return patched(patch.finish());
  },
};

/** A graph output needs a node of its own that makes it: a graph input does not serve. */
function mustKeepNode(node: Node, value: ValueName, view: GraphView): boolean {
  return view.isOutput(node.outputs[0]) && view.producer(value) === undefined;
}

function yieldsOperand(node: Node, view: GraphView): boolean {
  if (node.inputs.length === 0) return false;
  const from = view.typeOf(node.inputs[0]).shape;
  const to = view.typeOf(node.outputs[0]).shape;
  switch (node.op) {
    case "reshape":
    case "expand":
      return equalShapes(from, to);
    case "transpose":
      return node.attributes.permutation.every((axis, index) => axis === index);
    case "slice":
      return equalShapes(from, to) && node.attributes.starts.every((start) => start === 0) &&
        node.attributes.steps.every((step) => step === 1);
    case "pad":
      return [...node.attributes.before, ...node.attributes.after].every((amount) => amount === 0);
    case "concat":
      return node.inputs.length === 1;
    case "reduce":
      return node.attributes.axes.length === 0;
    case "map":
      return node.inputs.length === 1 && node.attributes.expression.kind === "input";
    default:
      return false;
  }
}

/** transpose(transpose(x, p), q) = transpose(x, p[q]). */
const mergeTransposes: Rule = {
  name: "merge-transposes",
  rewrite: (node, view) => {
    if (node.op !== "transpose") return undefined;
    const inner = view.producer(node.inputs[0]);
    if (inner?.op !== "transpose") return undefined;
    const permutation = node.attributes.permutation.map((axis) => inner.attributes.permutation[axis]);
    const patch = new PatchBuilder("merge-transposes", view);
    removeWith(patch, node, inner);
    const isIdentity = permutation.every((axis, index) => axis === index);
    if (isIdentity && !mustKeepNode(node, inner.inputs[0], view)) patch.replace(node.outputs[0], inner.inputs[0]);
    else patch.addAs(node.outputs, "transpose", [inner.inputs[0]], { permutation });
    return patched(patch.finish());
  },
};

/** A transpose that keeps the order of all axes longer than 1 moves nothing: it is a reshape. */
const transposeToReshape: Rule = {
  name: "transpose-to-reshape",
  rewrite: (node, view) => {
    if (node.op !== "transpose") return undefined;
    const { shape } = view.typeOf(node.inputs[0]);
    const long = node.attributes.permutation.filter((axis) => !equalExtents(shape[axis], 1));
    if (long.some((axis, index) => index > 0 && long[index - 1] > axis)) return undefined;
    return patched(
      reshapeTo(view, "transpose-to-reshape", node, node.inputs[0], [], view.typeOf(node.outputs[0]).shape),
    );
  },
};

/** reshape(reshape(x, s), t) = reshape(x, t), and nothing at all where x has shape t. */
const mergeReshapes: Rule = {
  name: "merge-reshapes",
  rewrite: (node, view) => {
    if (node.op !== "reshape") return undefined;
    const inner = view.producer(node.inputs[0]);
    if (inner?.op !== "reshape") return undefined;
    return patched(reshapeTo(view, "merge-reshapes", node, inner.inputs[0], [inner], node.attributes.shape));
  },
};

function reshapeTo(
  view: GraphView,
  rule: string,
  node: Node,
  from: ValueName,
  through: readonly Node[],
  shape: readonly Extent[],
) {
  const patch = new PatchBuilder(rule, view);
  removeWith(patch, node, ...through);
  const same = equalShapes(view.typeOf(from).shape, shape) && !mustKeepNode(node, from, view);
  if (same) patch.replace(node.outputs[0], from);
  else patch.addAs(node.outputs, "reshape", [from], { shape });
  return patch.finish();
}

/** Removes `node`, and those of `inner` that only the removed nodes read. */
function removeWith(patch: PatchBuilder, node: Node, ...inner: readonly Node[]): void {
  patch.remove(node);
  let reader = node;
  for (const producer of inner) {
    if (patch.view.onlyReader(producer.outputs[0]) !== reader) return;
    patch.remove(producer);
    reader = producer;
  }
}

/** A resize that takes one entry for each place is a gather. */
const resampleToGather: Rule = {
  name: "resample-to-gather",
  rewrite: (node, view) => {
    if (node.op !== "resample") return undefined;
    const [x, indices, weights] = node.inputs;
    const [places, factors] = [view.constantOf(indices), view.constantOf(weights)];
    if (places === undefined || !isPlain(places, "i32") || places.shape[1] !== 1) return undefined;
    if (factors === undefined || !isPlain(factors, "f32") || factors.data.some((factor) => factor !== 1)) {
      return undefined;
    }
    const patch = new PatchBuilder("resample-to-gather", view);
    patch.remove(node);
    const list = patch.constant({ ...places, shape: [places.shape[0]] });
    patch.addAs(node.outputs, "gather", [x, list], { axis: node.attributes.axis });
    return patched(patch.finish());
  },
};

const viewRules: readonly Rule[] = [
  resampleToGather,
  dropIdentity,
  mergeTransposes,
  transposeBeforeMap,
  transposeToReshape,
  mergeReshapes,
  sliceBeforeTranspose,
  squeezeBeforeTranspose,
];

/**
 * A resize to the nearest entry is a gather. Two reshapes or transposes in a row are one, and one that moves nothing is none. Transposes are carried past slices,
 * dropped axes and elementwise nodes where they then meet another.
 */
export const mergeViews = definePass({
  name: "merge-views",
  summary: "Merge chains of reshapes and transposes, drop those that do nothing",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {},
  run: (graph, scope) => sweep(graph, viewRules, { selects: scope.selects, generations: 4 }),
});
