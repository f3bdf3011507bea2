/** Rules that carry transposes past other nodes, so that they meet and cancel. */

import { constantEnvironment, evaluateNode } from "../../compiler/ir/evaluate/mod.ts";
import { makeNode } from "../../compiler/ir/build.ts";
import { equalExtents, type Extent } from "../../compiler/ir/extent.ts";
import type { Node, ValueName } from "../../compiler/ir/node.ts";
import type { PlainTensor, Tensor } from "../../compiler/ir/tensor.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { patched, type Rule } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

/** slice(transpose(x, p), s) = transpose(slice(x, p⁻¹ s), p): less is moved. */
export const sliceBeforeTranspose: Rule = {
  name: "slice-before-transpose",
  rewrite: (node, view) => {
    if (node.op !== "slice") return undefined;
    const inner = view.producer(node.inputs[0]);
    if (inner?.op !== "transpose") return undefined;
    const { permutation } = inner.attributes;
    const place = permutation.map((_, axis) => permutation.indexOf(axis));
    const unmoved = <T>(list: readonly T[]) => place.map((axis) => list[axis]);
    const { starts, steps, extents } = node.attributes;
    const patch = new PatchBuilder("slice-before-transpose", view);
    patch.remove(node);
    if (view.onlyReader(inner.outputs[0]) === node) patch.remove(inner);
    const part = patch.add("slice", [inner.inputs[0]], {
      starts: unmoved(starts),
      steps: unmoved(steps),
      extents: unmoved(extents),
    });
    patch.addAs(node.outputs, "transpose", [part], { permutation });
    return patched(patch.finish());
  },
};

/** Dropping axes of extent 1 after a transpose is dropping them before it. */
export const squeezeBeforeTranspose: Rule = {
  name: "squeeze-before-transpose",
  rewrite: (node, view) => {
    if (node.op !== "reshape") return undefined;
    const inner = view.producer(node.inputs[0]);
    if (inner?.op !== "transpose" || view.onlyReader(inner.outputs[0]) !== node) return undefined;
    const kept = keptAxes(view.typeOf(inner.outputs[0]).shape, node.attributes.shape);
    if (kept === undefined) return undefined;
    const { permutation } = inner.attributes;
    const sources = kept.map((axis) => permutation[axis]);
    const ordered = [...sources].sort((a, b) => a - b);
    const { shape } = view.typeOf(inner.inputs[0]);
    const patch = new PatchBuilder("squeeze-before-transpose", view);
    patch.remove(inner, node);
    const squeezed = patch.add("reshape", [inner.inputs[0]], { shape: ordered.map((axis) => shape[axis]) });
    patch.addAs(node.outputs, "transpose", [squeezed], {
      permutation: sources.map((axis) => ordered.indexOf(axis)),
    });
    return patched(patch.finish());
  },
};

/** The axes of `from` that remain when axes of extent 1 are dropped to give `to`; undefined for any other reshape. */
function keptAxes(
  from: readonly Extent[],
  to: readonly Extent[],
): readonly number[] | undefined {
  if (to.length >= from.length) return undefined;
  const kept: number[] = [];
  let next = 0;
  for (let axis = 0; axis < from.length; axis++) {
    const remaining = from.length - axis;
    const mustKeep = to.length - next === remaining;
    if (next < to.length && equalExtents(from[axis], to[next]) && (mustKeep || from[axis] !== 1 || to[next] === 1)) {
      kept.push(axis);
      next++;
    } else if (from[axis] !== 1) return undefined;
  }
  return next === to.length ? kept : undefined;
}

/** transpose(map(transpose(x, p), constants), q) = map(transpose(x, p[q]), transposed constants). */
export const transposeBeforeMap: Rule = {
  name: "transpose-before-map",
  rewrite: (node, view) => {
    if (node.op !== "transpose") return undefined;
    const map = view.producer(node.inputs[0]);
    if (map?.op !== "map" || view.onlyReader(map.outputs[0]) !== node) return undefined;
    const moving = [...new Set(map.inputs.filter((value) => view.constantOf(value) === undefined))];
    const inner = moving.length === 1 ? view.producer(moving[0]) : undefined;
    const rank = node.attributes.permutation.length;
    if (inner?.op !== "transpose" || view.typeOf(moving[0]).shape.length !== rank) return undefined;
    const { permutation } = node.attributes;
    const constants = new Map<ValueName, Tensor>();
    for (const value of map.inputs) {
      const tensor = view.constantOf(value);
      if (tensor?.kind === "quantized") return undefined;
      if (tensor !== undefined) constants.set(value, permuted(tensor, permutation, view));
    }
    const patch = new PatchBuilder("transpose-before-map", view);
    patch.remove(map, node);
    if (view.onlyReader(moving[0]) === map) patch.remove(inner);
    const whole = permutation.map((axis) => inner.attributes.permutation[axis]);
    const isIdentity = whole.every((axis, index) => axis === index);
    const x = isIdentity ? inner.inputs[0] : patch.add("transpose", [inner.inputs[0]], { permutation: whole });
    const inputs = map.inputs.map((value) => {
      const constant = constants.get(value);
      return constant === undefined ? x : patch.constant(constant);
    });
    patch.addAs(node.outputs, "map", inputs, map.attributes);
    return patched(patch.finish());
  },
};

/** A constant that broadcasts against a tensor before a transpose, as it must stand after it. */
function permuted(tensor: PlainTensor, permutation: readonly number[], view: GraphView): Tensor {
  if (tensor.data.length === 1) return tensor;
  const rank = permutation.length;
  const shape = [...new Array<number>(rank - tensor.shape.length).fill(1), ...tensor.shape];
  const transpose: Node = makeNode("transpose", ["x"], ["y"], { permutation }, []);
  const [result] = evaluateNode(transpose, [{ ...tensor, shape }], constantEnvironment(view.graph.constants));
  return result;
}
