/**
 * GPTQ over convolutions: a convolution is a product of its unfolded windows, group by group, so that the sweep over rows of
 * weights [N, K] applies with K the entries of a window. Layers are solved in order, each on what the solved ones before
 * it produce; what lies between them runs in float.
 */

import { allocate } from "../../compiler/numeric/element.ts";
import { addGram, type Matrix, mirror, zeroMatrix } from "../../compiler/numeric/linalg.ts";
import { perToken } from "../../compiler/numeric/scheme.ts";
import { isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import type { NodeOf, ValueName } from "../../compiler/ir/node.ts";
import {
  floatTensor,
  isPlain,
  type PlainTensor,
  plainTensor,
  type QuantizedTensor,
  sizeOf,
  type Tensor,
} from "../../compiler/ir/tensor.ts";
import { decodeTensor } from "../../compiler/reference/held.ts";
import { linearRows } from "../../compiler/reference/rows.ts";
import { FloatReference, type TensorRecord } from "../../compiler/reference/tfjs.ts";
import { InvariantError } from "../../compiler/diagnostics.ts";
import { defaultGptq, gptq } from "./gptq.ts";
import { encodeOnGrid, tensorGrid } from "./tensor_grid.ts";

/** One convolution over [1, C, H, W] with float32 weights [N, C / groups, h, w]. */
export interface ConvolutionJob {
  readonly node: NodeOf<"conv">;
  readonly weights: PlainTensor<"f32">;
  /** Nearest codes of the weights, with one step per output channel or for all: the grid that codes must lie on. */
  readonly nearest: QuantizedTensor;
  readonly bias?: PlainTensor<"f32">;
}

/** Whether a convolution has the form that is solved: two spatial axes, channels first, steps per output channel at most. */
export function isSolvableConvolution(
  graph: Graph,
  { node, nearest }: Pick<ConvolutionJob, "node" | "nearest">,
): boolean {
  const { shape } = typeOf(graph, node.inputs[0]);
  const isPerRow = nearest.steps.data.length === 1 || nearest.steps.data.length === nearest.shape[0];
  return node.attributes.layout === "channelsFirst" && shape.length === 4 && shape.every(isStatic) && shape[0] === 1 &&
    isPerRow && nearest.outerSteps === undefined;
}

/** Quantized weights by the convolution's output. All samples go through the graph once, side by side. */
export async function solveConvolutions(
  graph: Graph,
  jobs: readonly ConvolutionJob[],
  samples: readonly TensorRecord[],
  damping: number,
  onProgress?: (fraction: number) => void,
): Promise<ReadonlyMap<ValueName, QuantizedTensor>> {
  const solved = new Map<ValueName, QuantizedTensor>();
  if (jobs.length === 0) return solved;
  const byOutput = new Map(jobs.map((job) => [job.node.outputs[0], job]));
  const lastReader = new Map(jobs.map((job) => [job.node.inputs[0], job]));
  const seen = new Map<ValueName, readonly PlainTensor<"f32">[]>();
  const see = (value: ValueName, tensors: readonly Tensor[]) => {
    if (lastReader.has(value)) seen.set(value, tensors.filter((tensor) => isPlain(tensor, "f32")));
  };
  for (const { name, value } of graph.inputs) see(value, samples.map((sample) => sample[name]));
  const reference = await FloatReference.create(graph);
  try {
    reference.runTogether(samples, (_, value, read) => {
      const job = byOutput.get(value);
      if (job === undefined) {
        if (lastReader.has(value)) see(value, read());
        return undefined;
      }
      const [input] = job.node.inputs;
      const inputs = seen.get(input);
      if (inputs === undefined) throw new InvariantError(`%${input} has not been seen`);
      const outputShape = typeOf(graph, value).shape.filter(isStatic);
      const windows = new Windows(job, outputShape);
      const weights = solveOne(job, windows, inputs, damping);
      solved.set(value, weights);
      onProgress?.(solved.size / jobs.length);
      const real = decodeTensor(weights);
      const outputs = inputs.map((x) => convolved(job, windows, real, x, outputShape));
      if (lastReader.get(input) === job) seen.delete(input);
      see(value, outputs);
      return outputs;
    });
  } finally {
    reference.dispose();
  }
  return solved;
}

/** Most windows of a layer that its Hessian is summed over, evenly spread: 16 for every entry of the longest window here. */
const hessianRows = 8192;

function solveOne(
  job: ConvolutionJob,
  windows: Windows,
  inputs: readonly PlainTensor<"f32">[],
  damping: number,
): QuantizedTensor {
  const { nearest, weights } = job;
  const codes = allocate(nearest.codes.element, weights.data.length);
  if (codes instanceof BigInt64Array || codes instanceof BigUint64Array) {
    throw new InvariantError("Codes are at most 32 bits");
  }
  const every = Math.max(1, Math.floor(inputs.length * windows.positions / hessianRows));
  for (let group = 0; group < windows.groups; group++) {
    const hessian = hessianOf(inputs.map((x) => windows.rows(x, group, every)));
    const start = group * windows.outputs * windows.extent;
    const matrix: Matrix = {
      rows: windows.outputs,
      columns: windows.extent,
      entries: Float64Array.from(weights.data.subarray(start, start + windows.outputs * windows.extent)),
    };
    const grid = groupGrid(nearest, group, windows);
    const rounded = gptq(matrix, hessian, tensorGrid(grid), { ...defaultGptq, damping });
    const found = encodeOnGrid(grid, rounded.weights.entries).codes.data;
    for (let index = 0; index < found.length; index++) codes[start + index] = Number(found[index]);
  }
  return { ...nearest, codes: plainTensor(nearest.codes.element, nearest.shape, codes) };
}

function hessianOf(tensors: readonly PlainTensor<"f32">[]): Matrix {
  const columns = tensors[0].shape[1];
  const count = tensors.reduce((sum, { shape }) => sum + shape[0], 0);
  const hessian = zeroMatrix(columns, columns);
  for (const { data, shape } of tensors) addGram(hessian, data, shape[0], 2 / count);
  mirror(hessian);
  return hessian;
}

/** The rows of one group as a matrix on the same steps and zero points. */
function groupGrid(nearest: QuantizedTensor, group: number, { outputs, extent }: Windows): QuantizedTensor {
  const shape = [outputs, extent];
  const rowOf = (row: number) => (nearest.steps.data.length === 1 ? 0 : group * outputs + row);
  const steps = Float32Array.from({ length: outputs }, (_, row) => nearest.steps.data[rowOf(row)]);
  const zeros = nearest.zeros;
  const start = group * outputs * extent;
  const codes = nearest.codes.data.slice(start, start + outputs * extent);
  return {
    ...nearest,
    scheme: { ...nearest.scheme, block: perToken(2) },
    shape,
    codes: { ...nearest.codes, shape, data: codes },
    steps: plainTensor("f32", [outputs, 1], steps),
    ...(zeros === undefined ? {} : {
      zeros: plainTensor("i32", [outputs, 1], Int32Array.from({ length: outputs }, (_, row) => zeros.data[rowOf(row)])),
    }),
  };
}

/** The windows of a convolution: which entries of the input each output position reads. */
class Windows {
  readonly groups: number;
  /** Output channels of a group. */
  readonly outputs: number;
  /** Entries of one window: channels of a group times taps. */
  readonly extent: number;
  /** Output positions. */
  readonly positions: number;

  constructor(readonly job: ConvolutionJob, readonly outputShape: readonly number[]) {
    const { shape } = job.weights;
    this.groups = job.node.attributes.groups;
    this.outputs = shape[0] / this.groups;
    this.extent = sizeOf(shape.slice(1));
    this.positions = outputShape[2] * outputShape[3];
  }

  /** Every `every`-th window of a group's channels in x [1, C, H, W], as rows [windows, extent]; padding reads zero. */
  rows({ shape, data }: PlainTensor<"f32">, group: number, every: number): PlainTensor<"f32"> {
    const [, channels, tall, wide] = this.job.weights.shape;
    const { strides, dilations, pads } = this.job.node.attributes;
    const [, , height, width] = shape;
    const count = Math.ceil(this.positions / every);
    const rows = new Float32Array(count * this.extent);
    for (let row = 0, at = 0; row < count; row++) {
      const position = row * every;
      const top = Math.floor(position / this.outputShape[3]) * strides[0] - pads[0];
      const left = (position % this.outputShape[3]) * strides[1] - pads[1];
      for (let channel = 0; channel < channels; channel++) {
        const plane = (group * channels + channel) * height * width;
        for (let tap = 0; tap < tall * wide; tap++, at++) {
          const y = top + Math.floor(tap / wide) * dilations[0];
          const x = left + (tap % wide) * dilations[1];
          if (y >= 0 && y < height && x >= 0 && x < width) rows[at] = data[plane + y * width + x];
        }
      }
    }
    return floatTensor([count, this.extent], rows);
  }
}

function convolved(
  { bias }: ConvolutionJob,
  windows: Windows,
  weights: PlainTensor<"f32">,
  x: PlainTensor<"f32">,
  shape: readonly number[],
): PlainTensor<"f32"> {
  const { outputs, extent, positions, groups } = windows;
  const result = new Float32Array(sizeOf(shape));
  for (let group = 0; group < groups; group++) {
    const start = group * outputs * extent;
    const own = floatTensor([outputs, extent], weights.data.subarray(start, start + outputs * extent));
    const { data } = linearRows(windows.rows(x, group, 1), own, undefined);
    for (let output = 0; output < outputs; output++) {
      const channel = group * outputs + output;
      const shift = bias?.data[channel] ?? 0;
      for (let position = 0; position < positions; position++) {
        result[channel * positions + position] = data[position * outputs + output] + shift;
      }
    }
  }
  return floatTensor(shape, result);
}
