import { equal } from "node:assert/strict";
import {
  assertLikeRuntime,
  importNodeModel,
  integerTensor,
  type NodeModel,
  normalTensor,
  uniformTensor,
} from "../../../../tests/support/onnx_model.ts";
import { evaluateGraph } from "../../../ir/evaluate/mod.ts";
import { floatTensor } from "../../../ir/tensor.ts";

/** Sums and products of up to 24 entries. */
const bound = { relative: 64 * 2 ** -24, absolute: 1e-7 };

const ops = [
  "ReduceSum",
  "ReduceMean",
  "ReduceMax",
  "ReduceMin",
  "ReduceProd",
  "ReduceL1",
  "ReduceL2",
  "ReduceSumSquare",
  "ReduceLogSum",
  "ReduceLogSumExp",
];

function reduceModel(op: string, opset: number, axes: readonly number[] | undefined, keep: number): NodeModel {
  const x = uniformTensor([2, 3, 4], 3, 0.5, 2);
  const fromInput = opset >= (op === "ReduceSum" ? 13 : 18);
  return {
    op,
    opset,
    attributes: { keepdims: keep, ...(fromInput || axes === undefined ? {} : { axes }) },
    inputs: fromInput && axes !== undefined ? [x, integerTensor([axes.length], axes)] : [x],
    constants: [1],
  };
}

for (const op of ops) {
  Deno.test(`${op} with axes as attribute and as input gives what onnxruntime gives`, async () => {
    for (const opset of [11, 13, 18]) {
      for (const axes of [undefined, [1], [0, -1], [2, 0]]) {
        for (const keep of [0, 1]) await assertLikeRuntime(reduceModel(op, opset, axes, keep), bound);
      }
    }
  });
}

Deno.test("empty axes reduce nothing where noop_with_empty_axes says so", async () => {
  const inputs = [normalTensor([2, 3], 1), integerTensor([0], [])];
  for (const noop of [0, 1]) {
    const attributes = { noop_with_empty_axes: noop };
    await assertLikeRuntime({ op: "ReduceSum", opset: 13, attributes, inputs, constants: [1] }, bound);
  }
});

Deno.test("ReduceLogSumExp neither overflows nor loses -infinity", () => {
  const graph = importNodeModel({
    op: "ReduceLogSumExp",
    opset: 13,
    attributes: { axes: [1], keepdims: 0 },
    inputs: [floatTensor([3, 2], [0, 0, 0, 0, 0, 0])],
  });
  const x = floatTensor([3, 2], [1000, 1000, -Infinity, -Infinity, Infinity, 0]);
  const { y0 } = evaluateGraph(graph, { x0: x }).outputs;
  equal(y0.kind === "plain" ? y0.data.join() : "", [Math.fround(1000 + Math.LN2), -Infinity, Infinity].join());
});

Deno.test("ArgMax, ArgMin, CumSum and TopK give what onnxruntime gives", async () => {
  const x = floatTensor([2, 5], [3, 1, 3, 0, 1, -1, -1, 4, 4, 2]);
  for (const last of [0, 1]) {
    const attributes = { axis: 1, keepdims: 0, select_last_index: last };
    for (const op of ["ArgMax", "ArgMin"]) await assertLikeRuntime({ op, opset: 13, attributes, inputs: [x] }, bound);
  }
  for (const [exclusive, reverse] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
    await assertLikeRuntime({
      op: "CumSum",
      opset: 14,
      attributes: { exclusive, reverse },
      inputs: [x, integerTensor([], [1])],
      constants: [1],
    }, bound);
  }
  for (const largest of [0, 1]) {
    await assertLikeRuntime({
      op: "TopK",
      opset: 11,
      attributes: { largest, axis: 1 },
      inputs: [x, integerTensor([1], [3])],
      constants: [1],
      outputs: ["values", "indices"],
    }, bound);
  }
});
