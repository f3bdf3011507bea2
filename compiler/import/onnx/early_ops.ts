/** Ops of ai.onnx whose definition in opset 7 is older than it. */

import type { GraphProto } from "./proto.ts";

/** The first opset whose definition of an op is that of opset 7, or a part of it. */
const definedSince: ReadonlyMap<string, number> = new Map(
  [
    ...["ArgMax", "ArgMin", "AveragePool", "Constant", "Conv", "ConvTranspose", "DepthToSpace", "Flatten", "Gather"],
    ...["GlobalAveragePool", "GlobalMaxPool", "Hardmax", "Identity", "LRN", "LogSoftmax", "LpNormalization", "MatMul"],
    ...["MaxPool", "Not", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"],
    ...["ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Shape", "Size", "Slice", "Softmax", "Softplus"],
    ...["Softsign", "SpaceToDepth", "Squeeze", "TopK", "Transpose", "Unsqueeze"],
  ].map((op): [string, number] => [op, 1]).concat(
    ["GlobalLpPool", "LpPool", "Pad", "Split"].map((op) => [op, 2]),
    [["Concat", 4], ["Reshape", 5]],
    ["Abs", "Cast", "Ceil", "Clip", "Elu", "Exp", "Floor", "HardSigmoid", "InstanceNormalization", "LeakyRelu", "Log"]
      .map((op) => [op, 6]),
    ["Max", "Mean", "Min", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Sqrt", "Sum", "Tanh", "Tile"]
      .map((op) => [op, 6]),
  ),
);

/** Ops of a graph that an opset below 7 defines in another way than opset 7; none when it can be read as opset 7. */
export function earlierForms(graph: GraphProto, opset: number): readonly string[] {
  const ops = graph.nodes.filter(({ domain }) => domain === "").map(({ opType }) => opType);
  return [...new Set(ops)].filter((op) => (definedSince.get(op) ?? Infinity) > opset);
}
