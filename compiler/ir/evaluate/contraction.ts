/** matmul, conv and convTranspose: which sums go where; what becomes of them is the result sink's. */

import { isFloat } from "../../numeric/element.ts";
import type { ContractionResult, OpAttributes } from "../node.ts";
import { type PlainTensor, plainTensor, sizeOf, type Tensor } from "../tensor.ts";
import { floatSink, quantizedSink, resultOperands, type ResultSink } from "./contraction_result.ts";
import { convolve, type ImageOperand, imageOperand } from "./convolution.ts";
import { plainInput } from "./environment.ts";
import { integerContraction } from "./integer_contraction.ts";
import { matmulGeometry, multiplyRows } from "./matmul.ts";
import { decodedOperand, type OperandRows, operandRows } from "./operand_rows.ts";
import { convGeometry, transposedConvGeometry, type WindowGeometry } from "./window_geometry.ts";
import { InvariantError } from "../../diagnostics.ts";

/** Operands as the contraction sees them: both quantized, or both plain of one element. */
function matchedOperands(a: Tensor, b: Tensor): readonly [Tensor, Tensor] {
  return a.kind === "quantized" && b.kind === "quantized" ? [a, b] : [decodedOperand(a), decodedOperand(b)];
}

function sinkFor(
  operands: readonly [Tensor, Tensor],
  inputs: readonly Tensor[],
  hasBias: boolean,
  result: ContractionResult,
  shape: readonly number[],
): ResultSink {
  const more = resultOperands(inputs, hasBias, result);
  const [a] = operands;
  if (a.kind === "quantized") return quantizedSink(more, shape);
  if (!isFloat(a.element)) throw new InvariantError(`No float sums of ${a.element}`);
  return floatSink(a.element, shape, more.bias);
}

function plainInteger(tensor: Tensor): tensor is PlainTensor {
  return tensor.kind === "plain" && !isFloat(tensor.element);
}

export function evaluateMatmul(
  inputs: readonly Tensor[],
  { transposeB, hasBias, result }: OpAttributes["matmul"],
): readonly Tensor[] {
  const operands = matchedOperands(inputs[0], inputs[1]);
  const [a, b] = operands;
  const geometry = matmulGeometry(a.shape, b.shape, transposeB);
  const { aRank, bRank } = geometry;
  const aRows = (tensor: Tensor, withSteps: boolean) => operandRows(tensor, leading(aRank - 1), [aRank - 1], withSteps);
  const bRows = (tensor: Tensor, withSteps: boolean) => {
    const depthAxis = transposeB ? bRank - 1 : bRank - 2;
    return operandRows(tensor, [...leading(bRank - 2), transposeB ? bRank - 2 : bRank - 1], [depthAxis], withSteps);
  };
  if (plainInteger(a) && plainInteger(b)) {
    const bias = hasBias ? plainInput(inputs, 2) : undefined;
    return [
      integerContraction(
        a,
        b,
        geometry.depth,
        geometry.shape,
        bias,
        (x, y, store) => multiplyRows(geometry, aRows(x, false), bRows(y, false), store),
      ),
    ];
  }
  const sink = sinkFor(operands, inputs, hasBias, result, geometry.shape);
  const withSteps = result.kind === "real";
  multiplyRows(geometry, aRows(a, withSteps), bRows(b, withSteps), sink.store);
  return [sink.tensor];
}

function leading(count: number): number[] {
  return Array.from({ length: count }, (_, axis) => axis);
}

export function evaluateConv(inputs: readonly Tensor[], attributes: OpAttributes["conv"]): readonly Tensor[] {
  const operands = matchedOperands(inputs[0], inputs[1]);
  const [x, w] = operands;
  const geometry = convGeometry(x.shape, w.shape, attributes);
  const weights = (tensor: Tensor, withSteps: boolean): OperandRows => {
    const spatial = geometry.kernelAxes;
    return operandRows(tensor, [0], [geometry.weightChannelAxis, ...spatial], withSteps);
  };
  return [
    contract(geometry, operands, inputs, attributes.hasBias, attributes.result, weights),
  ];
}

function contract(
  geometry: WindowGeometry,
  operands: readonly [Tensor, Tensor],
  inputs: readonly Tensor[],
  hasBias: boolean,
  result: ContractionResult,
  weights: (tensor: Tensor, withSteps: boolean) => OperandRows,
): Tensor {
  const [x, w] = operands;
  const { shape } = geometry;
  if (plainInteger(x) && plainInteger(w)) {
    const bias = hasBias ? plainInput(inputs, 2) : undefined;
    const depth = geometry.channelsPerGroup * geometry.taps;
    return integerContraction(
      x,
      w,
      depth,
      shape,
      bias,
      (image, kernel, store) => convolve(geometry, imageOperand(image, geometry, false), weights(kernel, false), store),
    );
  }
  const sink = sinkFor(operands, inputs, hasBias, result, shape);
  const withSteps = result.kind === "real";
  const image: ImageOperand = imageOperand(x, geometry, withSteps);
  convolve(geometry, image, weights(w, withSteps), sink.store);
  return sink.tensor;
}

export function evaluateConvTranspose(
  inputs: readonly Tensor[],
  attributes: OpAttributes["convTranspose"],
): readonly Tensor[] {
  const x = plainInput(inputs, 0);
  const w = plainInput(inputs, 1);
  const geometry = transposedConvGeometry(x.shape, w.shape, attributes);
  const bias = inputs.length > 2 ? plainInput(inputs, 2) : undefined;
  if (!isFloat(x.element)) throw new InvariantError(`No transposed convolution of ${x.element}`);
  const sink = floatSink(x.element, geometry.shape, bias);
  convolve(geometry, imageOperand(x, geometry, false), transposedWeights(w, attributes.groups), sink.store);
  return [sink.tensor];
}

/** w[C, M/groups, ...kernel] as rows of output channels: [groups * M/groups, C/groups * taps]. */
function transposedWeights(w: PlainTensor, groups: number): OperandRows {
  const [channels, outPerGroup, ...kernel] = w.shape;
  const split = plainTensor(w.element, [groups, channels / groups, outPerGroup, sizeOf(kernel)], w.data);
  return operandRows(split, [0, 2], [1, 3], false);
}
