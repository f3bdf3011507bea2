/** The residual stream (fold F5): all that writes into it and all that reads it, or why it cannot be turned as one. */

import type { Node, NodeOf, ValueName } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import type { GraphView } from "../view.ts";
import { homogeneity } from "./homogeneity.ts";
import { isLinear, linearNode, outputAxis, outputChannels } from "./linear.ts";
import { linearSinks } from "./norm.ts";
import { type ChannelTensor, identityChannels, type ResidualStream } from "./region.ts";
import { channelCount, channelOrigin, channelUses } from "./trace.ts";

interface Collected {
  readonly writers: ChannelTensor[];
  readonly biases: ChannelTensor[];
  readonly readers: ChannelTensor[];
  readonly norms: NormNode[];
  /** Stream values seen so far. */
  readonly seen: Set<ValueName>;
}

/** What a norm at the end of the stream must be; the reason where it is not. Adds what reads the norm, where that counts. */
type NormRule = (view: GraphView, node: NormNode, count: number, collected: Collected) => string | undefined;

type NormNode = NodeOf<"norm">;

/**
 * The stream that a rotation may turn: every norm that reads it is an RMS norm without gain whose readers are all linear.
 * A layer norm would have to be centred first, a gain folded first: both are declined by name.
 */
export function residualStream(view: GraphView): ResidualStream | { readonly declined: string } | undefined {
  return stream(view, rotatableNorm);
}

/**
 * The stream that centring may touch: every norm that reads it is a layer norm, which subtracts the mean anyhow. An RMS
 * norm sees the mean, so centring in front of one would change the model.
 */
export function layerNormStream(view: GraphView): ResidualStream | { readonly declined: string } | undefined {
  return stream(view, (_, node) => {
    if (node.attributes.kind === "layer") return undefined;
    return `${nodeLabel(node)} is an RMS norm: it sees the mean, centring would change the model`;
  });
}

/**
 * Starts from a norm's input and walks additions both ways. Every end must be a writer (a linear's output channels, the
 * columns of an embedding table, a constant that is added) or a norm that `rule` accepts.
 */
function stream(view: GraphView, rule: NormRule): ResidualStream | { readonly declined: string } | undefined {
  const first = view.graph.nodes.find((node) => node.op === "norm" && startsStream(view, node));
  if (first === undefined) return undefined;
  const origin = channelOrigin(view, { value: first.inputs[0], axes: [lastAxis(view, first.inputs[0])] });
  const count = channelCount(view.typeOf(origin.value), origin.axes);
  if (count === undefined) return { declined: "the channel extent is symbolic" };
  const collected: Collected = { writers: [], biases: [], readers: [], norms: [], seen: new Set() };
  const pending: ValueName[] = [origin.value];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (collected.seen.has(value)) continue;
    collected.seen.add(value);
    const fault = addWriter(view, value, count, collected, pending) ??
      addReaders(view, value, count, collected, pending, rule);
    if (fault !== undefined) return { declined: fault };
  }
  return {
    channels: count,
    writers: collected.writers,
    biases: collected.biases,
    readers: collected.readers,
    norms: collected.norms,
  };
}

/** A norm over the last axis of something that an addition or an embedding makes. */
function startsStream(view: GraphView, node: Node): boolean {
  if (node.op !== "norm" || node.attributes.axis !== lastAxis(view, node.inputs[0])) return false;
  const origin = channelOrigin(view, { value: node.inputs[0], axes: [lastAxis(view, node.inputs[0])] });
  const producer = view.producer(origin.value);
  return producer !== undefined && (isAddition(producer) || isEmbedding(view, producer));
}

function lastAxis(view: GraphView, value: ValueName): number {
  return view.typeOf(value).shape.length - 1;
}

function isAddition(node: Node): node is Extract<Node, { op: "map" }> {
  if (node.op !== "map" || node.inputs.length !== 2) return false;
  const { expression } = node.attributes;
  return expression.kind === "binary" && expression.operator === "add" && expression.x.kind === "input" &&
    expression.y.kind === "input";
}

/** The operand of an elementwise node that multiplies every channel alike (an embedding scale). */
function uniformlyScaled(view: GraphView, node: Node): ValueName | undefined {
  if (node.op !== "map") return undefined;
  const scalars = node.inputs.filter((value) => view.constantOf(value)?.shape.length === 0);
  const operand = node.inputs.findIndex((_, index) => homogeneity(node.attributes.expression, index) === "linear");
  return operand >= 0 && scalars.length === node.inputs.length - 1 ? node.inputs[operand] : undefined;
}

function isEmbedding(view: GraphView, node: Node): boolean {
  return node.op === "gather" && node.attributes.axis === 0 && view.constantOf(node.inputs[0])?.shape.length === 2;
}

function addWriter(
  view: GraphView,
  value: ValueName,
  count: number,
  collected: Collected,
  pending: ValueName[],
): string | undefined {
  const node = view.producer(value);
  if (node === undefined) return `%${value} is an input of the model`;
  const channels = identityChannels(count);
  if (isAddition(node)) {
    for (const [operand, input] of node.inputs.entries()) {
      const added = view.constantOf(input);
      if (added !== undefined && added.shape[added.shape.length - 1] === count) {
        collected.writers.push({ node, operand, value: input, axis: added.shape.length - 1, channels });
        continue;
      }
      if (view.typeOf(input).shape.length !== view.typeOf(value).shape.length) {
        return `${nodeLabel(node)} adds a value that broadcasts`;
      }
      pending.push(channelOrigin(view, { value: input, axes: [lastAxis(view, input)] }).value);
    }
    return undefined;
  }
  const scaled = uniformlyScaled(view, node);
  if (scaled !== undefined) {
    pending.push(channelOrigin(view, { value: scaled, axes: [lastAxis(view, scaled)] }).value);
    return undefined;
  }
  if (isEmbedding(view, node)) {
    collected.writers.push({ node, operand: 0, value: node.inputs[0], axis: 1, channels });
    return undefined;
  }
  const linear = linearNode(view, node);
  if (!isLinear(linear)) return `${nodeLabel(node)} writes into it: ${linear.declined}`;
  if (outputAxis(view, linear) !== lastAxis(view, value)) return `${nodeLabel(node)} has its channels elsewhere`;
  const [weights, ...biases] = outputChannels(linear, channels);
  collected.writers.push(weights);
  collected.biases.push(...biases);
  return undefined;
}

function addReaders(
  view: GraphView,
  value: ValueName,
  count: number,
  collected: Collected,
  pending: ValueName[],
  rule: NormRule,
): string | undefined {
  const { uses, escapes } = channelUses(view, { value, axes: [lastAxis(view, value)] });
  if (escapes) return `%${value} is an output of the model`;
  for (const { node } of uses) {
    if (isAddition(node) || uniformlyScaled(view, node) !== undefined) pending.push(node.outputs[0]);
    else if (node.op !== "norm") return `${nodeLabel(node)} (${node.op}) reads it without a norm`;
    else if (!collected.norms.includes(node)) {
      const fault = rule(view, node, count, collected);
      if (fault !== undefined) return fault;
      collected.norms.push(node);
    }
  }
  return undefined;
}

function rotatableNorm(view: GraphView, node: NormNode, count: number, collected: Collected): string | undefined {
  if (node.attributes.kind === "layer") {
    return `${nodeLabel(node)} is a layer norm: it must be centred into an RMS norm first`;
  }
  if (node.inputs.length > 1) return `${nodeLabel(node)} has a gain: it must be folded into its readers first`;
  const output = node.outputs[0];
  const sinks = linearSinks(view, { value: output, axes: [lastAxis(view, output)] }, identityChannels(count));
  if ("declined" in sinks) return `${nodeLabel(node)}: ${sinks.declined}`;
  collected.readers.push(...sinks.sinks);
  return undefined;
}
