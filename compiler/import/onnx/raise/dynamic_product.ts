/**
 * Accumulators that are scaled by the steps of their operands become the real result of the contraction:
 *
 *   f32(Σ (a - za)(b - zb)) * (sa * sb)
 *
 * with sa the dynamic step of `a` and sb constant, as onnxruntime's dynamic quantizer writes it. Bit for bit the same.
 */

import type { Node, NodeOf, ValueName } from "../../../ir/node.ts";
import type { Expression } from "../../../ir/expression.ts";
import { perAxis } from "../../../numeric/scheme.ts";
import { type PlainTensor, plainTensor, type QuantizedTensor, sizeOf } from "../../../ir/tensor.ts";
import { isStatic } from "../../../ir/extent.ts";
import type { FoldingBuilder } from "../folding_builder.ts";
import type { Contraction } from "./contraction.ts";
import { joinedOrigin, type RaisingRule } from "./rebuilding.ts";

export const raiseDynamicProduct: RaisingRule = ({ builder, uses }, node, inputs) => {
  const factors = node.op === "map" ? productFactors(node, inputs) : undefined;
  if (factors === undefined || typeof factors[0] === "number" || typeof factors[1] === "number") return undefined;
  const [first, second] = factors;
  for (const [sum, scale] of [[first, second], [second, first]]) {
    const main = accumulatorBehind(builder, sum);
    if (main === undefined || uses(sum) !== 1 || uses(main.outputs[0]) !== 1) continue;
    const steps = stepsOfRight(builder, main.inputs[0], scale);
    const right = builder.constantOf(main.inputs[1]);
    if (steps === undefined || right?.kind !== "quantized") continue;
    const stepped = withSteps(builder, main, right, steps, builder.typeOf(scale).shape.length);
    if (stepped === undefined) continue;
    const operands = [main.inputs[0], builder.constant(stepped)];
    const result = { kind: "real" as const };
    const options = { origin: joinedOrigin(main, builder) };
    return [
      main.op === "matmul"
        ? builder.add("matmul", operands, { ...main.attributes, result }, options)
        : builder.add("conv", operands, { ...main.attributes, result }, options),
    ];
  }
  return undefined;
};

/** The two factors of a map that is a product: values, or numbers where they are written into it. */
function productFactors(
  node: NodeOf<"map">,
  inputs: readonly ValueName[],
): readonly [ValueName | number, ValueName | number] | undefined {
  const { expression } = node.attributes;
  if (expression.kind !== "binary" || expression.operator !== "mul") return undefined;
  const factor = (side: Expression): ValueName | number | undefined =>
    side.kind === "input"
      ? inputs[side.index]
      : side.kind === "literal" && side.element === "f32"
      ? Number(side.value)
      : undefined;
  const [x, y] = [factor(expression.x), factor(expression.y)];
  return x === undefined || y === undefined ? undefined : [x, y];
}

/** The contraction whose accumulators a value is the f32 form of. */
function accumulatorBehind(builder: FoldingBuilder, value: ValueName): Contraction | undefined {
  const cast = builder.producerOf(value);
  if (cast?.op !== "map" || cast.inputs.length !== 1) return undefined;
  const { expression } = cast.attributes;
  if (expression.kind !== "cast" || expression.element !== "f32" || expression.x.kind !== "input") return undefined;
  const main = builder.producerOf(cast.inputs[0]);
  const isContraction = main?.op === "matmul" || main?.op === "conv";
  return isContraction && main.attributes.result.kind === "accumulator" && !main.attributes.hasBias ? main : undefined;
}

/** The constant factor beside the step of `a` in a product of both. */
function stepsOfRight(builder: FoldingBuilder, a: ValueName, scale: ValueName): PlainTensor<"f32"> | undefined {
  const node: Node | undefined = builder.producerOf(scale);
  if (node?.op !== "map") return undefined;
  const factors = productFactors(node, node.inputs);
  if (factors === undefined) return undefined;
  for (const [step, other] of [factors, [factors[1], factors[0]]]) {
    if (typeof step === "number" || !isStepOf(builder, step, a)) continue;
    if (typeof other === "number") return plainTensor("f32", [], Float32Array.of(other));
    const tensor = builder.constantOf(other);
    if (tensor?.kind === "plain" && tensor.data instanceof Float32Array) {
      return plainTensor("f32", tensor.shape, tensor.data);
    }
  }
  return undefined;
}

function isStepOf(builder: FoldingBuilder, value: ValueName, quantized: ValueName): boolean {
  const node = builder.producerOf(value);
  if (node?.op === "reshape") return isStepOf(builder, node.inputs[0], quantized);
  const { encoding } = builder.typeOf(quantized);
  const isPerTensor = encoding.kind === "quantized" && encoding.scheme.block.every((entry) => entry === "all");
  return isPerTensor && node?.op === "toSteps" && node.inputs[0] === quantized;
}

/** The right operand with its real steps: one for all, or one for each output channel, aligned as they broadcast. */
function withSteps(
  builder: FoldingBuilder,
  node: Contraction,
  tensor: QuantizedTensor,
  steps: PlainTensor<"f32">,
  scaleRank: number,
): QuantizedTensor | undefined {
  if (tensor.steps.data.some((step) => step !== 1) || tensor.scheme.range !== "static") return undefined;
  const { shape, scheme } = tensor;
  const ones = shape.map(() => 1);
  const channelAxis = node.op === "conv" ? 0 : node.attributes.transposeB ? shape.length - 2 : shape.length - 1;
  const isShared = scheme.block.every((entry) => entry === "all");
  if (steps.data.length === 1 && isShared) {
    return { ...tensor, steps: plainTensor("f32", ones, Float32Array.from(steps.data)) };
  }
  const outputShape = builder.typeOf(node.outputs[0]).shape;
  const outputAxis = node.op === "conv" ? 1 : outputShape.length - 1;
  if (!outputShape.slice(outputAxis).every(isStatic) || scaleRank > outputShape.length) return undefined;
  // Broadcasting lines shapes up at their ends: the steps must vary along the output's channel axis alone.
  const axis = outputAxis - outputShape.length + steps.shape.length;
  const channels = shape[channelAxis];
  const count = steps.data.length;
  if (count !== 1 && (steps.shape[axis] !== count || count !== channels)) return undefined;
  const isPerChannel = scheme.block.every((entry, index) => entry === "all" || (index === channelAxis && entry === 1));
  if (!isPerChannel) return undefined;
  const full = count === 1 ? new Float32Array(channels).fill(steps.data[0]) : Float32Array.from(steps.data);
  const stepShape = ones.map((one, index) => (index === channelAxis ? channels : one));
  const zeros = tensor.zeros === undefined
    ? undefined
    : plainTensor("i32", stepShape, spread(tensor.zeros.data, channels));
  return {
    ...tensor,
    scheme: { ...scheme, block: perAxis(shape.length, channelAxis) },
    steps: plainTensor("f32", stepShape, full),
    zeros: zeros !== undefined && sizeOf(stepShape) === zeros.data.length ? zeros : undefined,
  };
}

function spread(values: Int32Array<ArrayBuffer>, count: number): Int32Array<ArrayBuffer> {
  return values.length === count ? values : new Int32Array(count).fill(values[0]);
}
