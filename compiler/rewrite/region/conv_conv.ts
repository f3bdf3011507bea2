/** Conv-conv regions (cross-layer equalization): a convolution, a homogeneous activation, the next convolution. */

import type { Node, NodeOf } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import type { GraphView } from "../view.ts";
import { jointHomogeneity } from "./homogeneity.ts";
import { inputAxis, inputChannels, isLinear, linearNode, outputAxis, outputChannels } from "./linear.ts";
import { type ChannelTensor, type ChannelValue, type Found, identityChannels } from "./region.ts";
import { channelCount, type Channels, channelUses } from "./trace.ts";

/**
 * conv2(f(conv1 x)) with f(s y) = s f(y), s > 0, applied per channel; pooling and zero padding pass scales too.
 * A limit with one constant per channel scales with its channel: f(s y, s b) = s f(y, b), so the limits are sources as
 * well. A limit by a literal (ReLU6 as exported) ends the region, as does a residual addition.
 */
export function convRegion(view: GraphView, node: Node): Found {
  if (node.op !== "conv") return undefined;
  const source = linearNode(view, node);
  if (!isLinear(source)) return { declined: source.declined };
  const axis = outputAxis(view, source);
  const count = channelCount(view.typeOf(node.outputs[0]), [axis]);
  if (count === undefined) return { declined: "the channel extent is symbolic" };
  const channels = identityChannels(count);
  const walk: Walk = { view, channels, limits: [], sinks: [], activations: [], positive: false };
  const fault = follow(walk, { value: node.outputs[0], axes: [axis] });
  if (fault !== undefined) return { declined: fault };
  if (walk.sinks.length === 0) return { declined: "no convolution reads it" };
  return {
    kind: "convConv",
    name: nodeLabel(node),
    channels: count,
    sources: [...outputChannels(source, channels), ...walk.limits],
    sinks: walk.sinks,
    activations: walk.activations,
    positiveOnly: walk.positive,
    rotationExtent: 1,
  };
}

interface Walk {
  readonly view: GraphView;
  readonly channels: Int32Array<ArrayBuffer>;
  readonly limits: ChannelTensor[];
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
      const fault = passMap(walk, node, operand, axes) ?? follow(walk, { value: node.outputs[0], axes });
      if (fault !== undefined) return fault;
    } else if (node.op === "pool" || (node.op === "pad" && padsZero(view, node))) {
      if (node.op === "pool" && node.attributes.kind !== "average") walk.positive = true;
      const fault = follow(walk, { value: node.outputs[0], axes });
      if (fault !== undefined) return fault;
    } else if (node.op === "reduce" && sumsOther(node, axes)) {
      const fault = follow(walk, { value: node.outputs[0], axes });
      if (fault !== undefined) return fault;
    } else {
      return `it is also read by ${nodeLabel(node)} (${node.op})`;
    }
  }
  return undefined;
}

/** Notes the limits that a map takes along with the channels; the reason when it does not pass scales. */
function passMap(walk: Walk, node: NodeOf<"map">, operand: number, axes: readonly number[]): string | undefined {
  const { view } = walk;
  const others = node.inputs.map((_, index) => index).filter((index) => index !== operand);
  if (others.some((index) => view.constantOf(node.inputs[index]) === undefined)) {
    return `${nodeLabel(node)} joins it with another branch`;
  }
  const limits = others.flatMap((index) => channelConstant(walk, node, index, axes) ?? []);
  for (const chosen of subsets(limits)) {
    const kind = jointHomogeneity(node.attributes.expression, new Set([operand, ...chosen.map((at) => at.operand)]));
    if (kind !== "linear" && kind !== "positive") continue;
    if (kind === "positive") walk.positive = true;
    walk.limits.push(...chosen);
    return undefined;
  }
  return `${nodeLabel(node)} is not homogeneous`;
}

/** A map's constant operand with one entry per channel; undefined when it is shaped otherwise. */
function channelConstant(
  { view, channels }: Walk,
  node: NodeOf<"map">,
  operand: number,
  axes: readonly number[],
): ChannelTensor | undefined {
  const value = node.inputs[operand];
  const { shape } = view.typeOf(value);
  const axis = axes[0] - (view.typeOf(node.outputs[0]).shape.length - shape.length);
  const fits = shape.every((extent, index) => extent === (index === axis ? channels.length : 1));
  return axes.length === 1 && axis >= 0 && fits ? { node, operand, value, axis, channels } : undefined;
}

/** All subsets, the smallest first; of the few constants that one map reads. */
function subsets<T>(items: readonly T[]): readonly (readonly T[])[] {
  const all = items.reduce<readonly (readonly T[])[]>(
    (known, item) => [...known, ...known.map((set) => [...set, item])],
    [[]],
  );
  return [...all].sort((a, b) => a.length - b.length);
}

function sumsOther(node: NodeOf<"reduce">, channelAxes: readonly number[]): boolean {
  const { kind, keepAxes, axes } = node.attributes;
  return kind === "sum" && keepAxes && !axes.some((axis) => channelAxes.includes(axis));
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
