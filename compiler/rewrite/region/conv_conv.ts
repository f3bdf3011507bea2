/** Conv-conv regions (cross-layer equalization): a convolution, a homogeneous activation, the next convolution. */

import type { Node } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import type { GraphView } from "../view.ts";
import { homogeneity } from "./homogeneity.ts";
import { inputAxis, inputChannels, isLinear, linearNode, outputAxis, outputChannels } from "./linear.ts";
import { type ChannelTensor, type ChannelValue, type Found, identityChannels } from "./region.ts";
import { channelCount, type Channels, channelUses } from "./trace.ts";

/**
 * conv2(f(conv1 x)) with f(s y) = s f(y), s > 0, applied per channel; pooling and zero padding pass scales too.
 * Clipped activations (ReLU6) do not: the clip would have to scale by channel. A residual addition ends the region.
 */
export function convRegion(view: GraphView, node: Node): Found {
  if (node.op !== "conv") return undefined;
  const source = linearNode(view, node);
  if (!isLinear(source)) return { declined: source.declined };
  const axis = outputAxis(view, source);
  const count = channelCount(view.typeOf(node.outputs[0]), [axis]);
  if (count === undefined) return { declined: "the channel extent is symbolic" };
  const channels = identityChannels(count);
  const walk: Walk = { view, channels, sinks: [], activations: [], positive: false };
  const fault = follow(walk, { value: node.outputs[0], axes: [axis] });
  if (fault !== undefined) return { declined: fault };
  if (walk.sinks.length === 0) return { declined: "no convolution reads it" };
  return {
    kind: "convConv",
    name: nodeLabel(node),
    channels: count,
    sources: outputChannels(source, channels),
    sinks: walk.sinks,
    activations: walk.activations,
    positiveOnly: walk.positive,
    rotationExtent: 1,
  };
}

interface Walk {
  readonly view: GraphView;
  readonly channels: Int32Array<ArrayBuffer>;
  readonly sinks: ChannelTensor[];
  readonly activations: ChannelValue[];
  positive: boolean;
}

/** Adds the sinks that the channels reach; the reason when a reader does not pass scales. */
function follow(walk: Walk, place: Channels): string | undefined {
  const { view } = walk;
  const { uses, escapes } = channelUses(view, place);
  if (escapes) return "its channels are an output of the model";
  for (const { node, operand, value, axes } of uses) {
    if ((node.op === "conv" || node.op === "matmul") && operand === 0) {
      const fault = addSink(walk, node, value, axes);
      if (fault !== undefined) return fault;
    } else if (node.op === "map") {
      const kind = homogeneity(node.attributes.expression, operand);
      if (node.inputs.some((input, index) => index !== operand && !view.constantOf(input))) {
        return `${nodeLabel(node)} joins it with another branch`;
      }
      if (kind !== "linear" && kind !== "positive") return `${nodeLabel(node)} is not homogeneous`;
      if (kind === "positive") walk.positive = true;
      const fault = follow(walk, { value: node.outputs[0], axes });
      if (fault !== undefined) return fault;
    } else if (node.op === "pool" || (node.op === "pad" && padsZero(view, node))) {
      if (node.op === "pool" && node.attributes.kind !== "average") walk.positive = true;
      const fault = follow(walk, { value: node.outputs[0], axes });
      if (fault !== undefined) return fault;
    } else if (node.op === "reduce" && node.attributes.kind === "sum" && node.attributes.keepAxes) {
      const fault = follow(walk, { value: node.outputs[0], axes });
      if (fault !== undefined) return fault;
    } else {
      return `it is also read by ${nodeLabel(node)} (${node.op})`;
    }
  }
  return undefined;
}

function padsZero(view: GraphView, node: Extract<Node, { op: "pad" }>): boolean {
  if (node.attributes.mode !== "constant" || node.inputs.length < 2) return true;
  const fill = view.constantOf(node.inputs[1]);
  return fill?.kind === "plain" && Number(fill.data[0]) === 0;
}

function addSink(walk: Walk, node: Node, value: string, axes: readonly number[]): string | undefined {
  const sink = linearNode(walk.view, node);
  if (!isLinear(sink)) return sink.declined;
  if (axes.length !== 1 || axes[0] !== inputAxis(walk.view, sink)) {
    return `${nodeLabel(node)} does not contract over the channels`;
  }
  const tensor = inputChannels(walk.view, sink, walk.channels);
  if (tensor === undefined) return `${nodeLabel(node)} is a grouped convolution`;
  walk.sinks.push(tensor);
  walk.activations.push({ value, axes, channels: walk.channels });
  return undefined;
}
