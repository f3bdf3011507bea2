/** Follows channels through the nodes that only move them: views, transposes, gathers along other axes, caches, rotations by position. */

import { isStatic } from "../../ir/extent.ts";
import type { Node, ValueName } from "../../ir/node.ts";
import type { TensorType } from "../../ir/types.ts";
import type { GraphView } from "../view.ts";

/** A value with the axes whose combined row-major index is the channel. */
export interface Channels {
  readonly value: ValueName;
  readonly axes: readonly number[];
}

/** Where channels end up: a node that does more than move them. */
export interface ChannelUse extends Channels {
  readonly node: Node;
  readonly operand: number;
}

/** Static extents of the channel axes; undefined when one is symbolic. */
export function channelExtents(type: TensorType, axes: readonly number[]): number[] | undefined {
  const extents = axes.map((axis) => type.shape[axis]);
  return extents.every(isStatic) ? extents : undefined;
}

export function channelCount(type: TensorType, axes: readonly number[]): number | undefined {
  return channelExtents(type, axes)?.reduce((product, extent) => product * extent, 1);
}

/** Every node that reads these channels, views walked through. An output of the graph shows up in `escapes`. */
export function channelUses(
  view: GraphView,
  start: Channels,
): { readonly uses: readonly ChannelUse[]; readonly escapes: boolean } {
  const uses: ChannelUse[] = [];
  let escapes = false;
  const visit = (place: Channels): void => {
    if (view.isOutput(place.value)) escapes = true;
    for (const node of view.readers(place.value)) {
      node.inputs.forEach((input, operand) => {
        if (input !== place.value) return;
        const moved = operand === 0 ? moveForward(view, node, place) : undefined;
        if (moved === undefined) uses.push({ ...place, node, operand });
        else visit(moved);
      });
    }
  };
  visit(start);
  return { uses, escapes };
}

/** The value that the channels of `place` were first made as: views walked back, as long as each is the only reader. */
export function channelOrigin(view: GraphView, place: Channels): Channels {
  let current = place;
  for (;;) {
    const node = view.producer(current.value);
    const moved = node === undefined ? undefined : moveBackward(view, node, current);
    if (moved === undefined) return current;
    current = moved;
  }
}

/** The channels after a node that only moves them; undefined for any other node. */
function moveForward(view: GraphView, node: Node, { axes, value }: Channels): Channels | undefined {
  const [output] = node.outputs;
  switch (node.op) {
    case "reshape": {
      const moved = reshapeAxes(view.typeOf(value), view.typeOf(output), axes);
      return moved === undefined ? undefined : { value: output, axes: moved };
    }
    case "transpose":
      return { value: output, axes: axes.map((axis) => node.attributes.permutation.indexOf(axis)) };
    case "append":
      return axes.includes(node.attributes.axis) ? undefined : { value: output, axes };
    case "gather": {
      if (axes.includes(node.attributes.axis)) return undefined;
      const grown = view.typeOf(node.inputs[1]).shape.length - 1;
      return { value: output, axes: axes.map((axis) => (axis > node.attributes.axis ? axis + grown : axis)) };
    }
    case "slice":
      return keepsAxes(view, value, output, axes) ? { value: output, axes } : undefined;
    default:
      return undefined;
  }
}

/** The channels before a node that only moves them. */
function moveBackward(view: GraphView, node: Node, { axes, value }: Channels): Channels | undefined {
  const [source] = node.inputs;
  switch (node.op) {
    case "reshape": {
      const moved = reshapeAxes(view.typeOf(value), view.typeOf(source), axes);
      return moved === undefined ? undefined : { value: source, axes: moved };
    }
    case "transpose":
      return { value: source, axes: axes.map((axis) => node.attributes.permutation[axis]) };
    case "append":
      return axes.includes(node.attributes.axis) ? undefined : { value: source, axes };
    case "slice":
      return keepsAxes(view, source, value, axes) ? { value: source, axes } : undefined;
    default:
      return undefined;
  }
}

function keepsAxes(view: GraphView, before: ValueName, after: ValueName, axes: readonly number[]): boolean {
  const from = view.typeOf(before).shape;
  const to = view.typeOf(after).shape;
  return axes.every((axis) => isStatic(from[axis]) && from[axis] === to[axis]);
}

/**
 * Axes of the channels after a reshape: the run of consecutive channel axes may be split or merged as long as the
 * entries before and after it keep their count. Undefined when the reshape mixes channels with other axes.
 */
function reshapeAxes(from: TensorType, to: TensorType, axes: readonly number[]): readonly number[] | undefined {
  if (axes.some((axis, index) => index > 0 && axis !== axes[index - 1] + 1)) return undefined;
  const count = channelCount(from, axes);
  const inner = trailing(from, axes[axes.length - 1] + 1);
  if (count === undefined || inner === undefined) return undefined;
  // Walk from the last axis of `to`: first `inner` entries, then `count` entries.
  let axis = to.shape.length - 1;
  let rest = inner;
  while (rest > 1) {
    const extent = to.shape[axis];
    if (axis < 0 || !isStatic(extent) || rest % extent !== 0) return undefined;
    rest /= extent;
    axis--;
  }
  const moved: number[] = [];
  rest = count;
  while (rest > 1) {
    const extent = to.shape[axis];
    if (axis < 0 || !isStatic(extent) || rest % extent !== 0) return undefined;
    rest /= extent;
    moved.unshift(axis);
    axis--;
  }
  return moved.length === 0 ? undefined : moved;
}

/** Product of the extents from `axis` on; undefined when one is symbolic. */
function trailing(type: TensorType, axis: number): number | undefined {
  let product = 1;
  for (const extent of type.shape.slice(axis)) {
    if (!isStatic(extent)) return undefined;
    product *= extent;
  }
  return product;
}
