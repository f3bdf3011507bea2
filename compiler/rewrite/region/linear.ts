/** Linear nodes with constant weights: what regions have as sources and sinks. */

import type { Node, NodeOf } from "../../ir/node.ts";
import type { GraphView } from "../view.ts";
import type { ChannelTensor } from "./region.ts";

export type LinearNode = NodeOf<"matmul"> | NodeOf<"conv">;

/** A matmul or conv whose weights are a constant of rank 2 (matmul) or any (conv); undefined with the reason otherwise. */
export function linearNode(view: GraphView, node: Node): LinearNode | { readonly declined: string } {
  if (node.op !== "matmul" && node.op !== "conv") return { declined: `${node.op} is not linear with constant weights` };
  const weight = view.constantOf(node.inputs[1]);
  if (weight === undefined) return { declined: `the weights of ${label(node)} are not constant` };
  if (node.op === "matmul" && weight.shape.length !== 2) {
    return { declined: `the weights of ${label(node)} have rank ${weight.shape.length}` };
  }
  if (node.attributes.result.kind !== "real") return { declined: `${label(node)} is already quantized` };
  return node;
}

export function isLinear(candidate: LinearNode | { readonly declined: string }): candidate is LinearNode {
  return "op" in candidate;
}

function label(node: Node): string {
  return `"${node.origin[0] ?? node.outputs[0]}"`;
}

/** The weights along their input channels. A grouped conv reads each group's own channels: not expressible, so undefined. */
export function inputChannels(
  view: GraphView,
  node: LinearNode,
  channels: Int32Array<ArrayBuffer>,
): ChannelTensor | undefined {
  const axis = node.op === "matmul" ? (node.attributes.transposeB ? 1 : 0) : channelAxisOfWeights(view, node);
  if (node.op === "conv" && node.attributes.groups !== 1) return depthwiseInput(view, node, channels);
  return { node, operand: 1, value: node.inputs[1], axis, channels };
}

/** A depthwise conv (one channel a group) reads channel c with weight row c (times the multiplier). */
function depthwiseInput(
  view: GraphView,
  node: NodeOf<"conv">,
  channels: Int32Array<ArrayBuffer>,
): ChannelTensor | undefined {
  const weight = view.constantOf(node.inputs[1]);
  if (weight === undefined || node.attributes.groups !== channels.length) return undefined;
  const multiplier = weight.shape[0] / node.attributes.groups;
  const rows = Int32Array.from({ length: weight.shape[0] }, (_, row) => channels[Math.floor(row / multiplier)]);
  return { node, operand: 1, value: node.inputs[1], axis: 0, channels: rows };
}

function channelAxisOfWeights(view: GraphView, node: NodeOf<"conv">): number {
  return node.attributes.layout === "channelsFirst" ? 1 : view.typeOf(node.inputs[1]).shape.length - 1;
}

/** Weights (and bias) along their output channels. */
export function outputChannels(node: LinearNode, channels: Int32Array<ArrayBuffer>): ChannelTensor[] {
  const axis = node.op === "matmul" && !node.attributes.transposeB ? 1 : 0;
  const weights: ChannelTensor = { node, operand: 1, value: node.inputs[1], axis, channels };
  return node.attributes.hasBias
    ? [weights, { node, operand: 2, value: node.inputs[2], axis: 0, channels }]
    : [weights];
}

/** Axis of a linear node's result that its output channels run along. */
export function outputAxis(view: GraphView, node: LinearNode): number {
  const rank = view.typeOf(node.outputs[0]).shape.length;
  return node.op === "conv" && node.attributes.layout === "channelsFirst" ? 1 : rank - 1;
}

/** Axis of a linear node's first operand that its input channels run along. */
export function inputAxis(view: GraphView, node: LinearNode): number {
  const rank = view.typeOf(node.inputs[0]).shape.length;
  return node.op === "conv" && node.attributes.layout === "channelsFirst" ? 1 : rank - 1;
}
