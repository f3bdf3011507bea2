/** Up-down regions (fold F3): the factor of an elementwise product that is linear in one projection, and the linear after it. */

import type { Node } from "../../ir/node.ts";
import { nodeLabel } from "../rule.ts";
import type { GraphView } from "../view.ts";
import { homogeneity } from "./homogeneity.ts";
import { isLinear, linearNode, outputAxis, outputChannels } from "./linear.ts";
import { linearSinks } from "./norm.ts";
import { type Found, identityChannels } from "./region.ts";
import { channelCount, channelOrigin, channelUses } from "./trace.ts";

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

function madeByLinear(view: GraphView, value: string, axis: number): boolean {
  if (view.typeOf(value).shape.length !== axis + 1) return false;
  const origin = channelOrigin(view, { value, axes: [axis] });
  const producer = view.producer(origin.value);
  if (producer === undefined) return false;
  const linear = linearNode(view, producer);
  return isLinear(linear) && origin.axes.length === 1 && origin.axes[0] === outputAxis(view, linear);
}
