/** Regions inside attention: v rows against o columns (F2), and q rows against k rows through the scores (F4). */

import { isStatic } from "../../ir/extent.ts";
import type { Node, NodeOf, ValueName } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import type { GraphView } from "../view.ts";
import { isLinear, linearNode, outputAxis, outputChannels } from "./linear.ts";
import { gainTensors, linearSinks } from "./norm.ts";
import { type ChannelTensor, type Found, identityChannels } from "./region.ts";
import { channelOrigin, channelUses } from "./trace.ts";

interface HeadExtents {
  readonly heads: number;
  readonly groups: number;
  readonly extent: number;
}

function headExtents(view: GraphView, query: ValueName, other: ValueName): HeadExtents | undefined {
  const [heads, extent] = [view.typeOf(query).shape[2], view.typeOf(other).shape[3]];
  const groups = view.typeOf(other).shape[2];
  if (!isStatic(heads) || !isStatic(groups) || !isStatic(extent)) return undefined;
  return { heads, groups, extent };
}

/**
 * Head h reads the values of group ⌊h / (H/G)⌋, so the scale of an output column (h, d) is that of value row (group, d):
 * the GQA tie. Attention mixes positions, never channels, hence any scale (or rotation within a head) passes.
 */
export function valueOutputRegion(view: GraphView, node: Node): Found {
  if (node.op !== "attention") return undefined;
  const extents = headExtents(view, node.inputs[0], node.inputs[2]);
  if (extents === undefined) return { declined: "the head extents are symbolic" };
  const { heads, groups, extent } = extents;
  const source = projection(view, node, node.inputs[2], groups * extent);
  if ("declined" in source) return source;
  const tied = Int32Array.from({ length: heads * extent }, (_, index) => {
    const [head, channel] = [Math.floor(index / extent), index % extent];
    return Math.floor(head / (heads / groups)) * extent + channel;
  });
  const sinks = linearSinks(view, { value: node.outputs[0], axes: [2, 3] }, tied);
  if ("declined" in sinks) return sinks;
  return {
    kind: "valueOutput",
    name: nodeLabel(source.linear),
    channels: groups * extent,
    sources: outputChannels(source.linear, identityChannels(groups * extent)),
    sinks: sinks.sinks,
    activations: sinks.activations,
    positiveOnly: false,
    rotationExtent: extent,
  };
}

/** The linear that makes an attention operand, when nothing else reads it on the way. */
function projection(
  view: GraphView,
  attention: Node,
  operand: ValueName,
  count: number,
): { readonly linear: Extract<ReturnType<typeof linearNode>, { op: string }> } | { readonly declined: string } {
  const origin = channelOrigin(view, { value: operand, axes: [2, 3] });
  const producer = view.producer(origin.value);
  if (producer === undefined) return { declined: "an operand is an input of the model" };
  const linear = linearNode(view, producer);
  if (!isLinear(linear)) return linear;
  if (origin.axes.length !== 1 || origin.axes[0] !== outputAxis(view, linear)) {
    return { declined: `${nodeLabel(linear)} does not end in the heads' channels` };
  }
  const { uses, escapes } = channelUses(view, origin);
  if (escapes || uses.some((use) => use.node !== attention)) {
    return { declined: `${nodeLabel(linear)} is read elsewhere too` };
  }
  const rows = view.typeOf(linear.outputs[0]).shape[origin.axes[0]];
  return rows === count ? { linear } : { declined: `${nodeLabel(linear)} makes more than this operand` };
}

/**
 * (diag(s) q)·(diag(1/s) k) = q·k. Rotary embedding turns pairs (i, i + R/2), or (2i, 2i+1) when interleaved, so both
 * of a pair share one s; heads of a group share their key's s; a norm on q and k takes the scale in its gain.
 * Sources are the key side (divided), sinks the query side (multiplied).
 */
export function queryKeyRegion(view: GraphView, node: Node): Found {
  if (node.op !== "attention") return undefined;
  const extents = headExtents(view, node.inputs[0], node.inputs[1]);
  if (extents === undefined) return { declined: "the head extents are symbolic" };
  const { heads, groups, extent } = extents;
  const query = side(view, node, 0, heads, extent);
  if ("declined" in query) return query;
  const key = side(view, node, 1, groups, extent);
  if ("declined" in key) return key;
  if (query.pairs.join() !== key.pairs.join()) return { declined: "q and k are rotated differently" };
  // A norm's gain is shared by all heads, so with q and k norms there is one set of channels for all of them.
  const shared = query.shared || key.shared;
  const classes = Math.max(...query.pairs) + 1;
  const channelOf = (head: number, channel: number) => (shared ? 0 : head * classes) + query.pairs[channel];
  const groupOf = (head: number) => Math.floor(head / (heads / groups));
  return {
    kind: "queryKey",
    name: nodeLabel(node),
    channels: shared ? classes : groups * classes,
    sources: key.tensors((head, channel) => channelOf(head, channel)),
    sinks: query.tensors((head, channel) => channelOf(groupOf(head), channel)),
    activations: [{
      value: node.inputs[1],
      axes: [2, 3],
      channels: Int32Array.from(
        { length: groups * extent },
        (_, index) => channelOf(Math.floor(index / extent), index % extent),
      ),
    }],
    positiveOnly: false,
    rotationExtent: 1,
  };
}

interface ScoreSide {
  /** Tie class of each channel of a head. */
  readonly pairs: readonly number[];
  /** Whether the tensors are a norm's gain, one for all heads. */
  readonly shared: boolean;
  readonly tensors: (channelOf: (head: number, channel: number) => number) => ChannelTensor[];
}

function side(
  view: GraphView,
  attention: NodeOf<"attention">,
  operand: 0 | 1,
  heads: number,
  extent: number,
): ScoreSide | { readonly declined: string } {
  let place = channelOrigin(view, { value: attention.inputs[operand], axes: [2, 3] });
  let producer = view.producer(place.value);
  let pairs = Array.from({ length: extent }, (_, channel) => channel);
  if (producer?.op === "rope") {
    if (view.onlyReader(producer.outputs[0]) === undefined) {
      return { declined: "the rotated rows are read elsewhere too" };
    }
    pairs = rotationPairs(producer, extent);
    place = channelOrigin(view, { value: producer.inputs[0], axes: [2, 3] });
    producer = view.producer(place.value);
  }
  if (producer?.op === "norm") {
    const gain = gainTensors(view, producer, extent);
    if ("declined" in gain) return gain;
    return {
      pairs,
      shared: true,
      tensors: (channelOf) =>
        gain.sources.map((source) => ({
          ...source,
          channels: Int32Array.from(pairs, (_, index) => channelOf(0, index)),
        })),
    };
  }
  if (producer === undefined) return { declined: "an operand is an input of the model" };
  const linear = linearNode(view, producer);
  if (!isLinear(linear)) return linear;
  if (place.axes.length !== 1 || view.typeOf(linear.outputs[0]).shape[place.axes[0]] !== heads * extent) {
    return { declined: `${nodeLabel(linear)} makes more than this operand` };
  }
  if (view.isOutput(linear.outputs[0]) || channelUses(view, place).uses.length > 1) {
    return { declined: `${nodeLabel(linear)} is read elsewhere too` };
  }
  return {
    pairs,
    shared: false,
    tensors: (channelOf) =>
      outputChannels(
        linear,
        Int32Array.from(
          { length: heads * extent },
          (_, index) => channelOf(Math.floor(index / extent), index % extent),
        ),
      ),
  };
}

/** Tie class of each channel: both of a rotated pair share one; classes are numbered by first appearance. */
function rotationPairs(node: NodeOf<"rope">, extent: number): number[] {
  const { interleaved } = node.attributes;
  const rotated = node.attributes.extent;
  return Array.from({ length: extent }, (_, channel) => {
    if (channel >= rotated) return rotated / 2 + channel - rotated;
    return interleaved ? Math.floor(channel / 2) : channel % (rotated / 2);
  });
}
