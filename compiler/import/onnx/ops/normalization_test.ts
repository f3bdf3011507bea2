import { equal } from "node:assert/strict";
import {
  assertLikeRuntime,
  importNodeModel,
  type NodeModel,
  normalTensor,
  uniformTensor,
} from "../../../../tests/support/onnx_model.ts";

/** Means and variances of up to 120 entries in f32, in two orders, then a few operations. */
const meanBound = { relative: 256 * 2 ** -24, absolute: 1e-6 };

function batchNorm(opset: number, constants: readonly number[]): NodeModel {
  return {
    op: "BatchNormalization",
    opset,
    attributes: { epsilon: { float: 1e-3 } },
    inputs: [
      normalTensor([2, 5, 3, 4], 1),
      normalTensor([5], 2),
      normalTensor([5], 3),
      normalTensor([5], 4),
      uniformTensor([5], 5, 0.1, 2),
    ],
    constants,
  };
}

Deno.test("BatchNormalization gives what onnxruntime gives, with constant parameters as one map", async () => {
  for (const opset of [7, 9, 14, 15]) await assertLikeRuntime(batchNorm(opset, [1, 2, 3, 4]), meanBound);
  await assertLikeRuntime(batchNorm(15, []), meanBound);
  const { nodes } = importNodeModel(batchNorm(15, [1, 2, 3, 4]));
  equal(nodes.filter(({ op }) => op !== "constant").map(({ op }) => op).join(), "map");
});

Deno.test("LayerNormalization gives what onnxruntime gives, its mean and inverse deviation too", async () => {
  for (const axis of [1, -1]) {
    const shape = axis === 1 ? [4, 5] : [5];
    await assertLikeRuntime({
      op: "LayerNormalization",
      opset: 17,
      attributes: { axis },
      inputs: [normalTensor([3, 4, 5], 1), normalTensor(shape, 2), normalTensor(shape, 3)],
      outputs: ["y", "mean", "inverse"],
    }, meanBound);
  }
});

Deno.test("Instance, group and local response normalization give what onnxruntime gives", async () => {
  const x = normalTensor([2, 6, 4, 5], 1);
  const perChannel = [normalTensor([6], 2), normalTensor([6], 3)];
  await assertLikeRuntime({ op: "InstanceNormalization", opset: 6 + 1, inputs: [x, ...perChannel] }, meanBound);
  await assertLikeRuntime(
    { op: "GroupNormalization", opset: 21, attributes: { num_groups: 3 }, inputs: [x, ...perChannel] },
    meanBound,
  );
  await assertLikeRuntime({
    op: "LRN",
    opset: 13,
    attributes: { size: 3, alpha: { float: 0.3 }, beta: { float: 0.6 }, bias: { float: 1.5 } },
    inputs: [x],
  }, { relative: 1e-5, absolute: 1e-6 });
});

Deno.test("LpNormalization and MeanVarianceNormalization give what onnxruntime gives", async () => {
  const x = normalTensor([2, 3, 4, 5], 1);
  for (const p of [1, 2]) {
    await assertLikeRuntime({ op: "LpNormalization", opset: 7, attributes: { p, axis: 2 }, inputs: [x] }, meanBound);
  }
  await assertLikeRuntime({ op: "MeanVarianceNormalization", opset: 13, inputs: [x] }, meanBound);
});
