/** Which nodes work on images in either layout, and how their attributes read in channels-last order. */

import { equalExtents, isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { Node } from "../../compiler/ir/node.ts";
import type { TensorType } from "../../compiler/ir/types.ts";
import { inverse, permute, permuteScheme, toLast } from "./permute.ts";

/**
 * How a node reads in channels-last order. `images` are the inputs that are then read channels-last; `broadcast` ones
 * first get leading axes of extent 1 up to the image's rank. The others stay as they are. All outputs are channels-last
 * but for those of `plainOutput` nodes, whose shape holds no spatial axis.
 */
export interface ImageForm {
  readonly images: readonly number[];
  readonly broadcast: boolean;
  readonly plainOutput: boolean;
  /** The node with its attributes in channels-last order; its inputs and outputs are still named as before. */
  readonly node: Node;
  /** Whether the node alone makes channels-last worth while. */
  readonly seed: boolean;
}

/** Ranks whose convs have channels-last kernels. */
function isImageRank(rank: number): boolean {
  return rank === 3 || rank === 4;
}

function form(node: Node, images: readonly number[], more: Partial<ImageForm> = {}): ImageForm {
  return { node, images, broadcast: false, plainOutput: false, seed: false, ...more };
}

function lastAxis(rank: number, axis: number): number {
  return inverse(toLast(rank))[axis];
}

/** The channels-last form of a node; undefined when it has none. */
export function imageForm(node: Node, graph: Graph): ImageForm | undefined {
  if (node.outputs.length !== 1) return undefined;
  const type = typeOf(graph, node.outputs[0]);
  const source = node.inputs.length > 0 ? typeOf(graph, node.inputs[0]) : type;
  const rank = source.shape.length;
  if (!isImageRank(rank)) return undefined;
  const order = toLast(rank);
  switch (node.op) {
    case "conv": {
      const { attributes } = node;
      if (attributes.layout !== "channelsFirst") return undefined;
      const result = attributes.result.kind === "quantized"
        ? { ...attributes.result, scheme: permuteScheme(attributes.result.scheme, order) }
        : attributes.result;
      // Steps and zeros of a quantized result have its rank; the bias and the multiplier do not.
      const extras = attributes.result.kind === "quantized"
        ? node.inputs.flatMap((value, index) => index > 2 && typeOf(graph, value).shape.length === rank ? [index] : [])
        : [];
      const moved: Node = { ...node, attributes: { ...attributes, result, layout: "channelsLast" } };
      return form(moved, [0, 1, ...extras], { seed: true });
    }
    case "pool":
      return node.attributes.layout === "channelsFirst"
        ? form({ ...node, attributes: { ...node.attributes, layout: "channelsLast" } }, [0])
        : undefined;
    case "map":
      return isImageRank(type.shape.length)
        ? form(node, node.inputs.map((_, index) => index), { broadcast: true })
        : undefined;
    case "quantize":
      return form(
        { ...node, attributes: { scheme: permuteScheme(node.attributes.scheme, order) } },
        node.inputs.map((_, index) => index),
      );
    case "fromCodes":
      return form(
        { ...node, attributes: { ...node.attributes, scheme: permuteScheme(node.attributes.scheme, order) } },
        node.inputs.map((_, index) => index),
      );
    case "dequantize":
    case "toCodes":
    case "toSteps":
      return form(node, [0]);
    case "concat":
      return form(
        { ...node, attributes: { axis: lastAxis(rank, node.attributes.axis) } },
        node.inputs.map((_, index) => index),
      );
    case "softmax":
      return form({ ...node, attributes: { axis: lastAxis(rank, node.attributes.axis) } }, [0]);
    case "resample":
      return form({ ...node, attributes: { axis: lastAxis(rank, node.attributes.axis) } }, [0]);
    case "pad": {
      const { before, after, mode } = node.attributes;
      return form({ ...node, attributes: { before: permute(before, order), after: permute(after, order), mode } }, [0]);
    }
    case "slice": {
      const { starts, steps, extents } = node.attributes;
      const attributes = {
        starts: permute(starts, order),
        steps: permute(steps, order),
        extents: permute(extents, order),
      };
      return form({ ...node, attributes }, [0]);
    }
    case "expand":
      return node.attributes.shape.length === rank
        ? form({ ...node, attributes: { shape: permute(node.attributes.shape, order) } }, [0])
        : undefined;
    case "reduce":
      return reduceForm(node, rank);
    case "reshape":
      return reshapeForm(node, source, type);
    default:
      return undefined;
  }
}

/** Reductions that keep their axes, or that leave nothing whose order the layout changes. */
function reduceForm(node: Extract<Node, { readonly op: "reduce" }>, rank: number): ImageForm | undefined {
  const { axes, keepAxes } = node.attributes;
  const kept = Array.from({ length: rank }, (_, axis) => axis).filter((axis) => !axes.includes(axis));
  const ordered = kept.map((axis) => lastAxis(rank, axis)).every((axis, index, list) =>
    index === 0 || list[index - 1] < axis
  );
  if (!keepAxes && !ordered) return undefined;
  const moved = axes.map((axis) => lastAxis(rank, axis)).sort((a, b) => a - b);
  return form({ ...node, attributes: { ...node.attributes, axes: moved } }, [0], { plainOutput: !keepAxes });
}

/** Reshapes that only merge or split spatial axes: batch and channels stay. */
function reshapeForm(
  node: Extract<Node, { readonly op: "reshape" }>,
  source: TensorType,
  type: TensorType,
): ImageForm | undefined {
  const { shape } = node.attributes;
  if (!isImageRank(type.shape.length) || !source.shape.every(isStatic) || !shape.every(isStatic)) return undefined;
  if (!equalExtents(source.shape[0], shape[0]) || !equalExtents(source.shape[1], shape[1])) return undefined;
  return form({ ...node, attributes: { shape: permute(shape, toLast(shape.length)) } }, [0]);
}
