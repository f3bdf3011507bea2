import { rules } from "../../compiler/rewrite/drive.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { sizeOf } from "../../compiler/ir/tensor.ts";
import type { NodeOf } from "../../compiler/ir/node.ts";

/** conv(pad(x, p), pads q) = conv(x, pads p + q), when the padding is of zeros along spatial axes. */
const foldPadIntoConv: Rule = {
  name: "fold-pad",
  rewrite: (node, view) => {
    if (node.op !== "conv") return undefined;
    const pad = view.producer(node.inputs[0]);
    if (pad?.op !== "pad") return undefined;
    const refusal = refusalOf(pad, node, view);
    if (refusal !== undefined) return declined(refusal);
    const first = node.attributes.layout === "channelsFirst" ? 2 : 1;
    const spatial = node.attributes.strides.length;
    const amounts = [
      ...pad.attributes.before.slice(first, first + spatial),
      ...pad.attributes.after.slice(first, first + spatial),
    ];
    const pads = node.attributes.pads.map((amount, index) => amount + amounts[index]);
    const patch = new PatchBuilder("fold-pad", view);
    if (view.onlyReader(pad.outputs[0]) === node) patch.remove(pad);
    patch.remove(node);
    patch.addAs(node.outputs, "conv", [pad.inputs[0], ...node.inputs.slice(1)], { ...node.attributes, pads });
    return patched(patch.finish());
  },
};

function refusalOf(pad: NodeOf<"pad">, conv: NodeOf<"conv">, view: GraphView): string | undefined {
  const { before, after, mode } = pad.attributes;
  if (mode !== "constant") return `the padding is ${mode}, not zeros`;
  if (pad.inputs.length > 1) {
    const value = view.constantOf(pad.inputs[1]);
    const zero = value?.kind === "plain" && sizeOf(value.shape) === 1 && Number(value.data[0]) === 0;
    if (!zero) return "the padding is not zeros";
  }
  const first = conv.attributes.layout === "channelsFirst" ? 2 : 1;
  const last = first + conv.attributes.strides.length;
  const outside = [...before, ...after].some((amount, index) => {
    const axis = index % before.length;
    return amount !== 0 && (axis < first || axis >= last);
  });
  if (outside) return "the padding is not along spatial axes";
  return [...before, ...after].some((amount) => amount < 0) ? "the padding crops" : undefined;
}

/** Makes zero padding before a convolution the convolution's own. */
export const foldPad = definePass({
  name: "fold-pad",
  summary: "Fold zero padding into the convolution that reads it",
  from: "any",
  to: "any",
  exactness: "exact",
  needs: [],
  options: {},
  run: rules(foldPadIntoConv),
});
