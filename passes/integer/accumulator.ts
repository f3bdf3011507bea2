/** Integer forms of sums: contractions of codes, sums along axes, averages over windows. */

import { int8 } from "../../compiler/numeric/number_format.ts";
import { perTensor } from "../../compiler/numeric/scheme.ts";
import { cast, input } from "../../compiler/ir/expression.ts";
import { evaluateShape, isStatic } from "../../compiler/ir/extent.ts";
import type { ContractionResult, Node, ValueName } from "../../compiler/ir/node.ts";
import {
  floatTensor,
  isPlain,
  type PlainTensor,
  plainTensor,
  type QuantizedTensor,
  sizeOf,
} from "../../compiler/ir/tensor.ts";
import { channelEntry, type ChannelVector } from "../../compiler/rewrite/affine.ts";
import type { PatchBuilder } from "../../compiler/rewrite/patch.ts";
import type { GraphView } from "../../compiler/rewrite/view.ts";
import { type CodeGrid, decodedCodes, gridOfValue, plainCodes } from "./grid.ts";

/** real = (Σ + offset) * scale[channel], where Σ is the i32 that the node will yield. */
export interface IntegerSum {
  readonly node: Node;
  readonly scale: ChannelVector;
  readonly offset: number;
  /** Axis that `scale` runs along. */
  readonly axis: number;
  /** Adds the node that yields Σ. */
  readonly accumulate: (patch: PatchBuilder) => ValueName;
  /** Adds the node that yields codes at once; absent where no one node does. */
  readonly requantize?: (patch: PatchBuilder, outputs: readonly ValueName[], target: Requantization) => void;
}

/** How sums become codes: clamp(round(f32(Σ) * multiplier) + zero). */
export interface Requantization {
  readonly result: Extract<ContractionResult, { readonly kind: "quantized" }>;
  readonly grid: CodeGrid;
  readonly multiplier: (scale: ChannelVector) => Float32Array;
}

export type SumResult = { readonly sum: IntegerSum } | { readonly declined: string } | undefined;

/** The integer form of the sum that a node computes; undefined when it computes none over codes. */
export function integerSum(node: Node | undefined, view: GraphView): SumResult {
  switch (node?.op) {
    case "conv":
    case "matmul":
      return contractionSum(node, view);
    case "pool":
      return averageSum(node, view);
    case "reduce":
      return axisSum(node, view);
    default:
      return undefined;
  }
}

type Contraction = Extract<Node, { readonly op: "conv" | "matmul" }>;

function contractionSum(node: Contraction, view: GraphView): SumResult {
  const [a, b] = node.inputs;
  if (node.attributes.result.kind !== "real") return undefined;
  const grid = gridOfValue(a, view);
  const weights = view.constantOf(b);
  if (grid === undefined || weights?.kind !== "quantized") return undefined;
  if (weights.scheme.offset) return { declined: "the weights have real offsets" };
  if (weights.scheme.outer) return { declined: "the weights have two-level steps" };
  const steps = channelSteps(node, weights);
  if (steps === undefined) return { declined: "the weights have several steps along the inner axis" };
  const bias = node.inputs[2] === undefined ? undefined : view.constantOf(node.inputs[2]);
  if (node.attributes.hasBias && (bias === undefined || !isPlain(bias, "f32"))) {
    return { declined: "the bias is not a constant" };
  }
  const scale = steps.map((step) => step * grid.step);
  const rank = view.typeOf(node.outputs[0]).shape.length;
  const axis = node.op === "conv" && node.attributes.layout === "channelsFirst" ? 1 : rank - 1;
  const integerBias = bias !== undefined && isPlain(bias, "f32") ? biasCodes(bias, scale) : undefined;
  const operands = (patch: PatchBuilder) =>
    integerBias === undefined ? [a, b] : [a, b, patch.constant(integerBias, { name: "bias" })];
  return {
    sum: {
      node,
      scale,
      offset: 0,
      axis,
      accumulate: (patch) =>
        addContraction(patch, node, operands(patch), { kind: "accumulator" }, integerBias !== undefined),
      requantize: (patch, outputs, target) => {
        const inputs = [...operands(patch), ...targetOperands(patch, target, scale, rank)];
        contractionAs(patch, outputs, node, inputs, target.result, integerBias !== undefined);
      },
    },
  };
}

function addContraction(
  patch: PatchBuilder,
  node: Contraction,
  inputs: readonly ValueName[],
  result: ContractionResult,
  hasBias: boolean,
): ValueName {
  const name = `${node.outputs[0]}.sum`;
  return node.op === "conv"
    ? patch.add("conv", inputs, { ...node.attributes, hasBias, result }, { name, origin: node.origin })
    : patch.add("matmul", inputs, { ...node.attributes, hasBias, result }, { name, origin: node.origin });
}

function contractionAs(
  patch: PatchBuilder,
  outputs: readonly ValueName[],
  node: Contraction,
  inputs: readonly ValueName[],
  result: ContractionResult,
  hasBias: boolean,
): void {
  if (node.op === "conv") patch.addAs(outputs, "conv", inputs, { ...node.attributes, hasBias, result });
  else patch.addAs(outputs, "matmul", inputs, { ...node.attributes, hasBias, result });
}

function targetOperands(
  patch: PatchBuilder,
  target: Requantization,
  scale: ChannelVector,
  rank: number,
): readonly ValueName[] {
  const multiplier = target.multiplier(scale);
  const ones = new Array<number>(rank).fill(1);
  const step = patch.constant(floatTensor(ones, [target.grid.step]), { name: "step" });
  const operands = [patch.constant(floatTensor([multiplier.length], multiplier), { name: "multiplier" }), step];
  return target.result.scheme.zeroPoint
    ? [...operands, patch.constant(plainTensor("i32", ones, Int32Array.of(target.grid.zero)), { name: "zero" })]
    : operands;
}

/** One step per output channel, or one for all; undefined when the inner axes hold more. */
function channelSteps(node: Contraction, weights: QuantizedTensor): Float64Array | undefined {
  const rank = weights.shape.length;
  const axis = node.op === "conv" ? 0 : node.attributes.transposeB ? rank - 2 : rank - 1;
  const shape = weights.steps.shape;
  if (shape.some((extent, index) => index !== axis && extent !== 1)) return undefined;
  if (shape[axis] !== 1 && shape[axis] !== weights.shape[axis]) return undefined;
  return Float64Array.from(weights.steps.data);
}

/** The bias in units of each channel's step: within half a step of the sums, far below a step of the result. */
function biasCodes(bias: PlainTensor<"f32">, scale: ChannelVector): PlainTensor<"i32"> {
  const limit = 2 ** 30;
  const codes = Int32Array.from(
    bias.data,
    (value, channel) => Math.max(-limit, Math.min(limit, Math.round(value / channelEntry(scale, channel)))),
  );
  return plainTensor("i32", bias.shape, codes);
}

/** An average is a convolution with ones, channel by channel; padding counts as zeros, which is what codes pad with. */
function averageSum(node: Extract<Node, { readonly op: "pool" }>, view: GraphView): SumResult {
  const coded = decodedCodes(node.inputs[0], view);
  const { kind, layout, kernel, strides, dilations, pads } = node.attributes;
  if (coded === undefined || kind !== "average") return undefined;
  const { shape } = view.typeOf(node.inputs[0]);
  const channels = shape[1];
  const spatial = shape.slice(2);
  if (layout !== "channelsFirst" || !isStatic(channels) || !spatial.every(isStatic)) {
    return { declined: "the average is not over fixed channels first" };
  }
  if (!node.attributes.countPadding && pads.some((amount) => amount !== 0)) {
    return { declined: "windows at the edge average fewer entries" };
  }
  const whole = evaluateShape(spatial, {});
  const reach = kernel.map((extent, axis) =>
    (node.attributes.outputExtents[axis] - 1) * strides[axis] + dilations[axis] * (extent - 1) + 1
  );
  if (reach.some((extent, axis) => extent > whole[axis] + pads[axis] + pads[axis + kernel.length])) {
    return { declined: "windows reach past the padding" };
  }
  // The convolution finds its own extents: padding that no window reaches is left out.
  const ends = kernel.map((_, axis) => reach[axis] - whole[axis] - pads[axis]);
  const scale = Float64Array.of(coded.grid.step / sizeOf(kernel));
  return {
    sum: {
      node,
      scale,
      offset: 0,
      axis: 1,
      accumulate: (patch) => {
        const ones = patch.constant(onesTensor([channels, 1, ...kernel]), { name: "ones" });
        return patch.add("conv", [coded.value, ones], {
          strides,
          dilations,
          pads: [...pads.slice(0, kernel.length), ...ends],
          layout,
          groups: channels,
          hasBias: false,
          result: { kind: "accumulator" },
        }, { name: `${node.outputs[0]}.sum`, origin: node.origin });
      },
    },
  };
}

function onesTensor(shape: readonly number[]): QuantizedTensor {
  const rank = shape.length;
  return {
    kind: "quantized",
    scheme: { format: int8, block: perTensor(rank), step: "f32", zeroPoint: false, range: "static" },
    element: "f32",
    shape,
    codes: plainTensor("i8", shape, new Int8Array(sizeOf(shape)).fill(1)),
    steps: floatTensor(new Array<number>(rank).fill(1), [1]),
  };
}

/** Σ (q - zero) along axes of static extents: each entry adds at most 2^9, so up to 2^22 entries fit. */
function axisSum(node: Extract<Node, { readonly op: "reduce" }>, view: GraphView): SumResult {
  const coded = decodedCodes(node.inputs[0], view);
  if (coded === undefined || node.attributes.kind !== "sum") return undefined;
  const { shape } = view.typeOf(node.inputs[0]);
  const extents = node.attributes.axes.map((axis) => shape[axis]);
  if (!extents.every(isStatic)) return { declined: "the summed extent is symbolic" };
  const count = sizeOf(evaluateShape(extents, {}));
  if (count > 2 ** 22) return { declined: `a sum of ${count} codes may overflow` };
  return {
    sum: {
      node,
      scale: Float64Array.of(coded.grid.step),
      offset: -count * coded.grid.zero,
      axis: 0,
      accumulate: (patch) => {
        const wide = patch.map(cast("i32", input(0)), [plainCodes(patch, coded.value)], { name: "wide" });
        return patch.add("reduce", [wide], node.attributes, { name: `${node.outputs[0]}.sum`, origin: node.origin });
      },
    },
  };
}
