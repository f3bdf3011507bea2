/** Up-down regions (fold F3): the factor of an elementwise product that is linear in one projection, and the linear after it. */

import type { Node, ValueName } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import type { GraphView } from "../view.ts";
import { homogeneity } from "./homogeneity.ts";
import { isLinear, linearNode, outputAxis, outputChannels } from "./linear.ts";
import { linearSinks } from "./norm.ts";
import { type ChannelTensor, type Found, identityChannels, type Region } from "./region.ts";
import { channelCount, channelOrigin, type Channels, channelUses } from "./trace.ts";

/**
 * y = W2 · (f(gate) ⊙ up) is linear in up, so up's rows may be divided by s where W2's columns are multiplied. Of a plain
 * MLP y = W2 · f(W1 x) this holds only for f(s x) = s f(x), s > 0 (ReLU). GELU and SiLU are declined.
 */
export function upDownRegion(view: GraphView, node: Node): Found {
  if (node.op !== "map") return undefined;
  const [output] = node.outputs;
  const type = view.typeOf(output);
  const axis = type.shape.length - 1;
  const readers = channelUses(view, { value: output, axes: [axis] }).uses;
  if (axis < 1 || readers.length === 0 || !readers.every((use) => use.node.op === "matmul" && use.operand === 0)) {
    return undefined;
  }
  const candidates = node.inputs.map((value, index) => ({
    value,
    kind: homogeneity(node.attributes.expression, index),
  }));
  const chosen = candidates.find((entry) => entry.kind === "linear" && madeByLinear(view, entry.value, axis)) ??
    candidates.find((entry) => entry.kind === "positive" && madeByLinear(view, entry.value, axis));
  if (chosen === undefined) {
    const looksLikeMlp = candidates.some((entry) => madeByLinear(view, entry.value, axis));
    return looksLikeMlp ? { declined: "the activation is not homogeneous in any projection" } : undefined;
  }
  const count = channelCount(type, [axis]);
  if (count === undefined) return { declined: "the channel extent is symbolic" };
  const origin = channelOrigin(view, { value: chosen.value, axes: [axis] });
  const producer = view.producer(origin.value);
  const source = producer === undefined ? { declined: "nothing makes it" } : linearNode(view, producer);
  if (!isLinear(source)) return { declined: source.declined };
  if (channelUses(view, origin).uses.some((use) => use.node !== node)) {
    return { declined: `${nodeLabel(source)} is read elsewhere too` };
  }
  const sinks = linearSinks(view, { value: output, axes: [axis] }, identityChannels(count));
  if ("declined" in sinks) return sinks;
  return {
    kind: "upDown",
    name: nodeLabel(source),
    channels: count,
    sources: outputChannels(source, identityChannels(count)),
    sinks: sinks.sinks,
    activations: sinks.activations,
    positiveOnly: chosen.kind === "positive",
    rotationExtent: 1,
  };
}

/**
 * All that writes the channels of an up-down region, for moves that no factor of the product may be left out of: the
 * rows of up, and those of the gate. Elementwise nodes and views may lie between; each projection must be read here only.
 */
export function elementwisePeers(
  view: GraphView,
  region: Region,
): { readonly writers: readonly ChannelTensor[] } | { readonly declined: string } {
  const writers: ChannelTensor[] = [];
  const pending = region.activations.map(({ value, axes }): Channels => channelOrigin(view, { value, axes }));
  const seen = new Set<ValueName>();
  for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
    const node = view.producer(place.value);
    if (node === undefined) return { declined: "a factor is an input of the model" };
    if (seen.has(node.outputs[0])) continue;
    seen.add(node.outputs[0]);
    const axis = place.axes[place.axes.length - 1];
    if (node.op === "map") {
      const fault = addOperands(view, node, axis, region.channels, writers, pending);
      if (fault !== undefined) return { declined: fault };
      continue;
    }
    const linear = linearNode(view, node);
    if (!isLinear(linear)) return { declined: `${nodeLabel(node)}: ${linear.declined}` };
    if (axis !== outputAxis(view, linear)) return { declined: `${nodeLabel(node)} has its channels elsewhere` };
    const { uses, escapes } = channelUses(view, place);
    if (escapes || uses.length > 1) return { declined: `${nodeLabel(node)} is read elsewhere too` };
    writers.push(...outputChannels(linear, identityChannels(region.channels)));
  }
  return { writers };
}

/** Operands of an elementwise node: values are followed, constants over the channels are writers, scalars are free. */
function addOperands(
  view: GraphView,
  node: Node,
  axis: number,
  count: number,
  writers: ChannelTensor[],
  pending: Channels[],
): string | undefined {
  const rank = view.typeOf(node.outputs[0]).shape.length;
  for (const [operand, value] of node.inputs.entries()) {
    const { shape } = view.typeOf(value);
    const own = axis - (rank - shape.length);
    if (own < 0 || shape[own] === 1) continue;
    if (shape[own] !== count) return `${nodeLabel(node)} has its channels elsewhere`;
    if (view.constantOf(value) !== undefined) {
      writers.push({ node, operand, value, axis: own, channels: identityChannels(count) });
    } else pending.push(channelOrigin(view, { value, axes: [own] }));
  }
  return undefined;
}

function madeByLinear(view: GraphView, value: string, axis: number): boolean {
  if (view.typeOf(value).shape.length !== axis + 1) return false;
  const origin = channelOrigin(view, { value, axes: [axis] });
  const producer = view.producer(origin.value);
  if (producer === undefined) return false;
  const linear = linearNode(view, producer);
  return isLinear(linear) && origin.axes.length === 1 && origin.axes[0] === outputAxis(view, linear);
}
