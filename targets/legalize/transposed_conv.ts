/**
 * Rewrites transposed convs as convs whose output channels hold the phases of the result.
 *
 * With stride s, dilation d and padding p before, o + p = q s + r. Kernel entry k reaches output phase r = k d mod s from
 * input q - j, j = floor(k d / s), so each phase is a conv of stride 1 with J + 1 = floor((K - 1) d / s) + 1 taps:
 *
 *   y_r[q] = Σ_t x[q - J + t] w'_r[t],  w'_r[J - j(k)] = w[k] where r(k) = r, and 0 where no k does
 *
 * One conv computes all phases as channels; a transpose interleaves them and a slice cuts the padding off. Exact but for
 * the order of the sums. Declines where the weights or the spatial extents are not known, or the operands are not f32.
 */

import { isStatic } from "../../compiler/ir/extent.ts";
import type { NodeOf } from "../../compiler/ir/node.ts";
import { floatTensor, isPlain, type PlainTensor, sizeOf, stridesOf } from "../../compiler/ir/tensor.ts";
import { rules } from "../../compiler/rewrite/drive.ts";
import { definePass } from "../../compiler/rewrite/pass.ts";
import { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import { declined, patched, type Rule, type RuleResult } from "../../compiler/rewrite/rule.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { inverse, toLast } from "./permute.ts";

/** One spatial axis of a transposed conv as a conv of stride 1. */
export interface PhaseAxis {
  readonly stride: number;
  /** For each kernel entry the phase that it reaches and the tap that it becomes. */
  readonly phases: readonly number[];
  readonly taps: readonly number[];
  /** J + 1. */
  readonly kernel: number;
  readonly before: number;
  readonly after: number;
  /** Positions that the conv computes per phase. */
  readonly positions: number;
  /** Where the result begins among the interleaved positions. */
  readonly start: number;
}

export function phaseAxis(
  extent: number,
  output: number,
  kernel: number,
  stride: number,
  dilation: number,
  padding: number,
): PhaseAxis {
  const reach = Math.floor((kernel - 1) * dilation / stride);
  const entries = Array.from({ length: kernel }, (_, k) => k * dilation);
  // Positions that lie in the padding alone are not computed, as far as the conv's own padding can shrink.
  const skipped = Math.min(Math.floor(padding / stride), reach);
  const before = reach - skipped;
  const wanted = Math.floor((padding + output - 1) / stride) + 1 - skipped;
  const after = Math.max(0, wanted - extent + reach - before);
  return {
    stride,
    phases: entries.map((at) => at % stride),
    taps: entries.map((at) => reach - Math.floor(at / stride)),
    kernel: reach + 1,
    before,
    after,
    positions: extent + before + after - reach,
    start: padding - skipped * stride,
  };
}

/** w[C, M/groups, ...kernel] as channels-last weights [groups * phases * M/groups, ...taps, C/groups]. */
export function phaseWeights(w: PlainTensor<"f32">, groups: number, axes: readonly PhaseAxis[]): PlainTensor<"f32"> {
  const [channels, outPerGroup, ...kernel] = w.shape;
  const perGroup = channels / groups;
  const strides = axes.map((axis) => axis.stride);
  const shape = [groups, ...strides, outPerGroup, ...axes.map((axis) => axis.kernel), perGroup];
  const to = stridesOf(shape);
  const rank = axes.length;
  const taps = sizeOf(kernel);
  const kernelStrides = stridesOf(kernel);
  const data = new Float32Array(sizeOf(shape));
  for (let index = 0; index < w.data.length; index++) {
    const tap = index % taps;
    const m = Math.floor(index / taps) % outPerGroup;
    const c = Math.floor(index / (taps * outPerGroup));
    let place = Math.floor(c / perGroup) * to[0] + m * to[rank + 1] + (c % perGroup) * to[2 * rank + 2];
    axes.forEach((axis, each) => {
      const k = Math.floor(tap / kernelStrides[each]) % kernel[each];
      place += axis.phases[k] * to[each + 1] + axis.taps[k] * to[rank + 2 + each];
    });
    data[place] = w.data[index];
  }
  const rows = sizeOf(shape.slice(0, rank + 2));
  return floatTensor([rows, ...axes.map((axis) => axis.kernel), perGroup], data);
}

const name = "transposed-conv-phases";

const splitIntoPhases: Rule = {
  name,
  rewrite: (node, view) => (node.op === "convTranspose" ? rewrite(node, view) : undefined),
};

function rewrite(node: NodeOf<"convTranspose">, view: GraphView): RuleResult {
  const weights = view.constantOf(node.inputs[1]);
  if (weights === undefined) return declined("the weights are not constant");
  if (!isPlain(weights, "f32")) return declined("the operands are not f32");
  const input = view.typeOf(node.inputs[0]).shape.slice(2);
  const output = view.typeOf(node.outputs[0]).shape.slice(2);
  if (!input.every(isStatic) || !output.every(isStatic)) return declined("a spatial extent is symbolic");
  const bias = node.inputs.length > 2 ? view.constantOf(node.inputs[2]) : undefined;
  if (node.inputs.length > 2 && (bias === undefined || !isPlain(bias, "f32"))) {
    return declined("the bias is not constant");
  }
  const { strides, dilations, pads, groups } = node.attributes;
  const axes = strides.map((stride, axis) =>
    phaseAxis(input[axis], output[axis], weights.shape[axis + 2], stride, dilations[axis], pads[axis])
  );
  const outPerGroup = weights.shape[1];
  const phases = sizeOf(strides);
  const rank = axes.length + 2;
  const patch = new PatchBuilder(name, view);
  patch.remove(node);
  const operands = [
    patch.add("transpose", [node.inputs[0]], { permutation: toLast(rank) }),
    patch.constant(phaseWeights(weights, groups, axes)),
  ];
  if (bias !== undefined && isPlain(bias, "f32")) {
    const repeated = Float32Array.from({ length: groups * phases * outPerGroup }, (_, row) => {
      return bias.data[Math.floor(row / (phases * outPerGroup)) * outPerGroup + row % outPerGroup];
    });
    operands.push(patch.constant(floatTensor([repeated.length], repeated)));
  }
  const conv = patch.add("conv", operands, {
    strides: strides.map(() => 1),
    dilations: strides.map(() => 1),
    pads: [...axes.map((axis) => axis.before), ...axes.map((axis) => axis.after)],
    layout: "channelsLast",
    groups,
    hasBias: bias !== undefined,
    result: { kind: "real" },
  });
  const batch = view.typeOf(node.inputs[0]).shape[0];
  const positions = axes.map((axis) => axis.positions);
  // [N, ...positions, groups, ...phases, M/groups] becomes [N, position 0, phase 0, position 1, phase 1, ..., groups, M/groups].
  const split = patch.add("reshape", [conv], { shape: [batch, ...positions, groups, ...strides, outPerGroup] });
  const order = [
    0,
    ...axes.flatMap((_, axis) => [axis + 1, axes.length + 2 + axis]),
    axes.length + 1,
    2 * axes.length + 2,
  ];
  const interleaved = patch.add("transpose", [split], { permutation: order });
  const channels = groups * outPerGroup;
  const whole = patch.add("reshape", [interleaved], {
    shape: [batch, ...axes.map((axis) => axis.positions * axis.stride), channels],
  });
  const cut = patch.add("slice", [whole], {
    starts: [0, ...axes.map((axis) => axis.start), 0],
    steps: new Array<number>(rank).fill(1),
    extents: [batch, ...output, channels],
  });
  patch.addAs(node.outputs, "transpose", [cut], { permutation: inverse(toLast(rank)) });
  return patched(patch.finish());
}

export const transposedConvPhases = definePass({
  name,
  summary: "Compute the phases of a transposed conv as the channels of a conv",
  from: "any",
  to: "any",
  exactness: "reassociates",
  needs: [],
  options: {},
  run: rules(splitIntoPhases),
});
