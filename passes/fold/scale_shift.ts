/** Puts a per-channel scale and shift that follows a contraction into its weights and bias. */

import { type Affine, affineOf, channelEntry, scaleAlong } from "../../compiler/rewrite/affine.ts";
import { isStatic } from "../../compiler/ir/extent.ts";
import type { Node, NodeOf, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, isPlain, type PlainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { equalTypes } from "../../compiler/ir/types.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, nodeLabel, patched, type RuleResult } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";

export type Contraction = Extract<Node, NodeOf<"conv"> | NodeOf<"matmul"> | NodeOf<"convTranspose">>;

export function isContraction(node: Node | undefined): node is Contraction {
  return node?.op === "conv" || node?.op === "matmul" || node?.op === "convTranspose";
}

/** Axis of a contraction's result that its bias runs along. */
export function outputChannelAxis(node: Contraction, rank: number): number {
  if (node.op === "matmul") return rank - 1;
  return node.op === "conv" && node.attributes.layout === "channelsLast" ? rank - 1 : 1;
}

/** Which of a scale and a shift a rule takes. */
export type FoldKind = "scale-shift" | "shift";

/**
 *   y = (W·x + b) ⊙ a + c   ⇒   y = (W ⊙ a)·x + (b ⊙ a + c)
 *
 * with a and c constant along the output channels. Computed in float64 and rounded once. Declines when the result has
 * another reader, and for a scale when the weights have one (they would be stored twice).
 */
export function foldIntoContraction(rule: string, kind: FoldKind, node: Node, view: GraphView): RuleResult | undefined {
  if (node.op !== "map") return undefined;
  const variable = node.inputs.find((value) => isContraction(view.producer(value)));
  const main = variable === undefined ? undefined : view.producer(variable);
  if (variable === undefined || !isContraction(main)) return undefined;
  const type = view.typeOf(variable);
  const axis = outputChannelAxis(main, type.shape.length);
  const affine = affineOf(node, variable, axis, view);
  if (affine === undefined) return undefined;
  const scales = !affine.scale.every((entry) => entry === 1);
  if (kind === "shift" && scales) return undefined;
  if (kind === "scale-shift" && !scales && affine.shift.every((entry) => entry === 0)) return undefined;
  if (!equalTypes(type, view.typeOf(node.outputs[0]))) return declined("the reader changes the type of the result");
  if (view.onlyReader(variable) !== node) return declined(`the result of ${nodeLabel(main)} has other readers`);
  if (main.op !== "convTranspose" && main.attributes.result.kind !== "real") {
    return declined("the contraction yields integers");
  }
  const bias = constantBias(main, view);
  if (bias === "unknown") return declined("the bias is not a float constant");
  const channels = type.shape[axis];
  if (!isStatic(channels) || type.element !== "f32") return declined("the result is not f32 with fixed channels");
  const weights = scales ? scaledWeights(main, affine, view) : main.inputs[1];
  if (typeof weights !== "string" && "declined" in weights) return declined(weights.declined);
  return patched(rebuild(rule, main, node, view, { weights, affine, channels, bias }));
}

/** The bias of a contraction; undefined when it has none. */
function constantBias(main: Contraction, view: GraphView): PlainTensor<"f32"> | undefined | "unknown" {
  if (main.inputs[2] === undefined) return undefined;
  const bias = view.constantOf(main.inputs[2]);
  return bias !== undefined && isPlain(bias, "f32") ? bias : "unknown";
}

interface Rebuilt {
  readonly weights: ValueName | PlainTensor<"f32">;
  readonly affine: Affine;
  readonly channels: number;
  readonly bias: PlainTensor<"f32"> | undefined;
}

function rebuild(rule: string, main: Contraction, node: Node, view: GraphView, parts: Rebuilt) {
  const { weights, affine, channels, bias } = parts;
  const values = Float64Array.from(
    { length: channels },
    (_, channel) =>
      (bias === undefined ? 0 : bias.data[channel]) * channelEntry(affine.scale, channel) +
      channelEntry(affine.shift, channel),
  );
  const patch = new PatchBuilder(rule, view);
  patch.remove(main, node);
  const w = typeof weights === "string" ? weights : patch.constant(weights);
  const hasBias = bias !== undefined || values.some((value) => value !== 0);
  const inputs = [main.inputs[0], w, ...(hasBias ? [patch.constant(floatTensor([channels], values))] : [])];
  if (main.op === "convTranspose") patch.addAs(node.outputs, main.op, inputs, main.attributes);
  else if (main.op === "conv") patch.addAs(node.outputs, main.op, inputs, { ...main.attributes, hasBias });
  else patch.addAs(node.outputs, main.op, inputs, { ...main.attributes, hasBias });
  return patch.finish();
}

function scaledWeights(
  main: Contraction,
  affine: Affine,
  view: GraphView,
): PlainTensor<"f32"> | { readonly declined: string } {
  const weights = view.constantOf(main.inputs[1]);
  if (weights === undefined) return { declined: "the weights are not constant" };
  if (!isPlain(weights, "f32")) return { declined: "the weights are not plain f32" };
  if (view.readers(main.inputs[1]).length > 1) return { declined: "the weights have other readers" };
  if (main.op === "matmul") {
    const rank = weights.shape.length;
    if (sizeOf(weights.shape.slice(0, -2)) !== 1) return { declined: "the weights have a batch axis" };
    return scaleAlong(
      weights,
      (position) => channelEntry(affine.scale, position),
      main.attributes.transposeB ? rank - 2 : rank - 1,
    );
  }
  if (main.op === "conv") return scaleAlong(weights, (position) => channelEntry(affine.scale, position), 0);
  return scaledTranspose(weights, affine, main.attributes.groups);
}

/** Weights of a transposed convolution are [C, M/groups, ...]: the output channel depends on the group of the row too. */
function scaledTranspose(weights: PlainTensor<"f32">, affine: Affine, groups: number): PlainTensor<"f32"> {
  const [rows, perGroup] = weights.shape;
  const inner = sizeOf(weights.shape.slice(2));
  const data = weights.data.map((entry, index) => {
    const group = Math.floor(Math.floor(index / (inner * perGroup)) / (rows / groups));
    const channel = group * perGroup + Math.floor(index / inner) % perGroup;
    return entry * channelEntry(affine.scale, channel);
  });
  return { ...weights, data };
}
