import { equal } from "node:assert/strict";
import { assertLikeRuntime, importNodeModel, normalTensor } from "../../../../tests/support/onnx_model.ts";
import { floatTensor } from "../../../ir/tensor.ts";

const bound = { relative: 64 * 2 ** -24, absolute: 0 };

for (const op of ["Softmax", "LogSoftmax", "Hardmax"]) {
  Deno.test(`${op} merges the trailing axes up to opset 12 and takes one axis from 13 on, as onnxruntime does`, async () => {
    const x = normalTensor([2, 3, 4], 1);
    for (const opset of [11, 13]) {
      await assertLikeRuntime({ op, opset, inputs: [x] }, bound);
      for (const axis of [0, 1, 2, -1, -2]) {
        await assertLikeRuntime({ op, opset, attributes: { axis }, inputs: [x] }, bound);
      }
    }
  });
}

Deno.test("LogSoftmax and Softmax of large scores stay finite", async () => {
  const x = floatTensor([1, 3], [1e4, -1e4, 1e4 - 1]);
  for (const op of ["Softmax", "LogSoftmax"]) await assertLikeRuntime({ op, opset: 13, inputs: [x] }, bound);
});

Deno.test("a softmax over the last axis of opset 11 needs no reshape", () => {
  const graph = importNodeModel({
    op: "Softmax",
    opset: 11,
    attributes: { axis: 2 },
    inputs: [normalTensor([2, 3, 4], 1)],
  });
  equal(graph.nodes.map(({ op }) => op).join(), "softmax");
});
