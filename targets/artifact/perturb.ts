/**
 * A graph whose float constants are moved by a few units in the last place.
 *
 * A kernel that rounds differently computes, exactly, with slightly other weights (backward error). So how far the
 * outputs of the moved graph lie from those of the graph shows how far they may lie on another target, also where
 * codes that flip are amplified by what follows.
 */

import { ConstantStore } from "../../compiler/ir/constants.ts";
import { makeNode } from "../../compiler/ir/build.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { type PlainTensor, plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";

/** Relative size of a move: four units in the last place of f32. */
const relativeMove = 2 ** -22;
/** Larger constants stay as they are: moving what surrounds them is enough. */
const mostEntries = 1 << 21;

/** The moved graph. `random` yields uniform numbers in [0, 1). */
export function perturb(graph: Graph, random: () => number): Graph {
  const constants = new ConstantStore();
  const nodes = graph.nodes.map((node) => {
    if (node.op !== "constant") return node;
    const hash = constants.add(moved(graph.constants.get(node.attributes.hash), random));
    return makeNode("constant", [], node.outputs, { hash }, node.origin);
  });
  return Object.freeze({ ...graph, nodes, constants });
}

function moved(tensor: Tensor, random: () => number): Tensor {
  if (tensor.kind === "quantized") return { ...tensor, steps: movedFloats(tensor.steps, random) };
  // The element names the storage: an f32 tensor has data of Float32Array.
  return tensor.element === "f32" ? movedFloats(tensor as PlainTensor<"f32">, random) : tensor;
}

function movedFloats(tensor: PlainTensor<"f32">, random: () => number): PlainTensor<"f32"> {
  if (tensor.data.length > mostEntries) return tensor;
  return plainTensor("f32", tensor.shape, tensor.data.map((value) => value * (1 + relativeMove * (2 * random() - 1))));
}
