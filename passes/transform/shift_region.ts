/**
 * Constant shifts of a norm's output, folded into its readers (fold F7):
 *
 *   y ↦ y - d in the norm's bias,   o = W·y + c = W·(y - d) + (c + W·d)
 *
 * Every reader must take the correction W·d in its bias; an RMS norm gains a bias. Padding of a convolution is zero
 * before and after, so a padded reader would see the shift at its borders only: declined.
 */

import type { Graph } from "../../compiler/ir/graph.ts";
import type { NodeOf } from "../../compiler/ir/node.ts";
import { isPlain, sizeOf } from "../../compiler/ir/tensor.ts";
import type { ChannelTensor, Region } from "../../compiler/rewrite/region/region.ts";
import { Rewriting } from "../../compiler/rewrite/view.ts";
import { type Biased, biasOperand, type WeightEditor } from "./weight_editor.ts";

/** Why a region's readers cannot take a shift; undefined when they can. */
export function shiftObstacle(graph: Graph, region: Region): string | undefined {
  if (region.kind !== "norm") return "only a norm has a bias to shift in";
  const view = new Rewriting(graph);
  for (const { node } of region.sinks) {
    if (node.op !== "matmul" && node.op !== "conv") return `%${node.outputs[0]} has no bias`;
    const bias = node.attributes.hasBias ? view.constantOf(node.inputs[biasOperand]) : undefined;
    if (node.attributes.hasBias && (bias === undefined || !isPlain(bias, "f32"))) {
      return `the bias of %${node.outputs[0]} is not a float32 constant`;
    }
    if (node.op === "conv" && (node.attributes.pads.some((pad) => pad !== 0) || node.attributes.groups !== 1)) {
      return `%${node.outputs[0]} is a convolution with padding or groups`;
    }
  }
  return undefined;
}

/** Takes `shift` off the region's channels and gives every sink its correction. Weights must be those before any scaling. */
export function shiftRegion(editor: WeightEditor, region: Region, norm: NodeOf<"norm">, shift: Float64Array): void {
  editor.addBias(norm, shift.map((value) => -value));
  correctReaders(editor, region, shift);
}

/** Adds W·d to the bias of every sink. */
export function correctReaders(editor: WeightEditor, region: Region, shift: Float64Array): void {
  for (const sink of region.sinks) {
    if (isBiased(sink)) editor.addBias(sink.node, product(editor, sink, shift));
  }
}

function isBiased(sink: ChannelTensor): sink is ChannelTensor & { readonly node: Biased } {
  return sink.node.op === "matmul" || sink.node.op === "conv";
}

/** W·d: the place's axis is summed over, kernels of convolutions too. */
function product(editor: WeightEditor, sink: ChannelTensor & { readonly node: Biased }, shift: Float64Array) {
  const { shape, entries } = editor.tensor(sink);
  const inner = sizeOf(shape.slice(sink.axis + 1));
  const extent = shape[sink.axis];
  const outerAxis = sink.node.op === "matmul" ? 1 - sink.axis : 0;
  const stride = sizeOf(shape.slice(outerAxis + 1));
  const sums = new Float64Array(shape[outerAxis]);
  for (let index = 0; index < entries.length; index++) {
    const channel = sink.channels[Math.floor(index / inner) % extent];
    sums[Math.floor(index / stride) % shape[outerAxis]] += entries[index] * shift[channel];
  }
  return sums;
}
