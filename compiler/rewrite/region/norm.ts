/** Norm regions (fold F1): a norm's gain and bias against every linear that reads the norm. */

import type { Node } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import type { GraphView } from "../view.ts";
import { inputAxis, inputChannels, isLinear, linearNode } from "./linear.ts";
import { type ChannelTensor, type ChannelValue, type Found, identityChannels } from "./region.ts";
import { channelCount, type Channels, type ChannelUse, channelUses } from "./trace.ts";

/**
 * All readers of the norm must be linear in it: one reader left unscaled (a router, a residual, a parallel branch) and the
 * function changes. A norm that runs over several axes has no channel of its own.
 */
export function normRegion(view: GraphView, node: Node): Found {
  if (node.op !== "norm") return undefined;
  const [output] = node.outputs;
  const type = view.typeOf(output);
  const axis = type.shape.length - 1;
  if (node.attributes.axis !== axis) return { declined: "the norm runs over several axes" };
  const count = channelCount(type, [axis]);
  if (count === undefined) return { declined: "the channel extent is symbolic" };
  const gain = gainTensors(view, node, count);
  if ("declined" in gain) return gain;
  const sinks = linearSinks(view, { value: output, axes: [axis] }, identityChannels(count));
  if ("declined" in sinks) return sinks;
  return {
    kind: "norm",
    name: nodeLabel(node),
    channels: count,
    sources: gain.sources,
    sinks: sinks.sinks,
    activations: sinks.activations,
    positiveOnly: false,
    rotationExtent: count,
  };
}

/** Gain and bias of a norm as sources; both must be constants over the channels. */
export function gainTensors(
  view: GraphView,
  node: Node,
  count: number,
): { readonly sources: readonly ChannelTensor[] } | { readonly declined: string } {
  if (node.inputs.length < 2) return { declined: "the norm has no gain to fold into" };
  const sources: ChannelTensor[] = [];
  for (let operand = 1; operand < node.inputs.length; operand++) {
    const tensor = view.constantOf(node.inputs[operand]);
    if (tensor === undefined || tensor.kind !== "plain") {
      return { declined: "the norm's gain or bias is not a plain constant" };
    }
    const rank = tensor.shape.length;
    if (rank === 0 || tensor.shape[rank - 1] !== count || tensor.data.length !== count) {
      return { declined: "the norm's gain does not have one entry per channel" };
    }
    sources.push({
      node,
      operand,
      value: node.inputs[operand],
      axis: rank - 1,
      channels: identityChannels(count),
    });
  }
  return { sources };
}

/** Every use of the channels as a linear's first operand; `channels` maps the combined index to the region's channel. */
export function linearSinks(
  view: GraphView,
  place: Channels,
  channels: Int32Array<ArrayBuffer>,
): { readonly sinks: readonly ChannelTensor[]; readonly activations: readonly ChannelValue[] } | {
  readonly declined: string;
} {
  const { uses, escapes } = channelUses(view, place);
  if (escapes) return { declined: "the channels are an output of the model" };
  if (uses.length === 0) return { declined: "nothing reads the channels" };
  const sinks: ChannelTensor[] = [];
  const activations = new Map<string, ChannelValue>();
  for (const use of uses) {
    const sink = linearSink(view, use, channels);
    if ("declined" in sink) return sink;
    sinks.push(sink);
    activations.set(use.value, { value: use.value, axes: use.axes, channels });
  }
  return { sinks, activations: [...activations.values()] };
}

function linearSink(
  view: GraphView,
  use: ChannelUse,
  channels: Int32Array<ArrayBuffer>,
): ChannelTensor | { readonly declined: string } {
  const linear = linearNode(view, use.node);
  if (!isLinear(linear)) return { declined: `it is also read by ${nodeLabel(use.node)}: ${linear.declined}` };
  if (use.operand !== 0) return { declined: `${nodeLabel(use.node)} reads it as its weights` };
  if (use.axes.length !== 1 || use.axes[0] !== inputAxis(view, linear)) {
    return { declined: `${nodeLabel(use.node)} does not contract over the channels` };
  }
  return inputChannels(view, linear, channels) ??
    { declined: `${nodeLabel(use.node)} is a grouped convolution` };
}
