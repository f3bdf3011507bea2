import { throws } from "node:assert/strict";
import {
  assertLikeRuntime,
  importNodeModel,
  integerTensor,
  type NodeModel,
  normalTensor,
} from "../../../../tests/support/onnx_model.ts";
import { plainTensor } from "../../../ir/tensor.ts";

/** A handful of f32 operations and sums of up to 60 terms. */
const bound = { relative: 64 * 2 ** -24, absolute: 1e-6 };

const bind = { t: { min: 1, max: 9 } };

/** The model with its length t at each of a few values. */
async function assertAtLengths(model: (t: number) => NodeModel): Promise<void> {
  for (const t of [1, 4, 9]) await assertLikeRuntime(model(t), bound, bind);
}

Deno.test("means over a symbolic length divide by the length of the run", async () => {
  await assertAtLengths((t) => ({
    op: "ReduceMean",
    opset: 13,
    attributes: { axes: [1], keepdims: 0 },
    inputs: [normalTensor([2, t, 3], t)],
    dimensions: { 0: [2, "t", 3] },
  }));
  await assertAtLengths((t) => ({
    op: "InstanceNormalization",
    opset: 13,
    inputs: [normalTensor([1, 2, t, 3], t), normalTensor([2], 1), normalTensor([2], 2)],
    dimensions: { 0: [1, 2, "t", 3] },
  }));
});

Deno.test("softmax of opset 11 keeps a symbolic leading axis", async () => {
  await assertAtLengths((t) => ({
    op: "Softmax",
    opset: 11,
    attributes: { axis: 1 },
    inputs: [normalTensor([t, 3, 4], t)],
    dimensions: { 0: ["t", 3, 4] },
  }));
});

Deno.test("Hardmax and Trilu count up along a symbolic axis", async () => {
  await assertAtLengths((t) => ({
    op: "Hardmax",
    opset: 13,
    attributes: { axis: 1 },
    inputs: [normalTensor([2, t], t)],
    dimensions: { 0: [2, "t"] },
  }));
  for (const upper of [0, 1]) {
    await assertAtLengths((t) => ({
      op: "Trilu",
      opset: 14,
      attributes: { upper },
      inputs: [normalTensor([t, t], t), integerTensor([], [1])],
      constants: [1],
      dimensions: { 0: ["t", "t"] },
    }));
  }
});

Deno.test("Einsum, Tile, Pad and Conv carry a symbolic length", async () => {
  await assertAtLengths((t) => ({
    op: "Einsum",
    opset: 13,
    attributes: { equation: "bthd,bshd->bhts" },
    inputs: [normalTensor([1, t, 2, 4], t), normalTensor([1, t, 2, 4], t + 1)],
    dimensions: { 0: [1, "t", 2, 4], 1: [1, "t", 2, 4] },
  }));
  await assertAtLengths((t) => ({
    op: "Tile",
    opset: 13,
    inputs: [normalTensor([t, 2], t), integerTensor([2], [3, 2])],
    constants: [1],
    dimensions: { 0: ["t", 2] },
  }));
  await assertAtLengths((t) => ({
    op: "Pad",
    opset: 13,
    attributes: { mode: "edge" },
    inputs: [normalTensor([2, t], t), integerTensor([4], [0, 2, 1, 1])],
    constants: [1],
    dimensions: { 0: [2, "t"] },
  }));
  await assertAtLengths((t) => ({
    op: "Conv",
    opset: 13,
    attributes: { auto_pad: "SAME_UPPER" },
    inputs: [normalTensor([1, 3, t], t), normalTensor([4, 3, 3], 1)],
    constants: [1],
    dimensions: { 0: [1, 3, "t"] },
  }));
});

Deno.test("LSTM runs over a symbolic number of steps", async () => {
  await assertAtLengths((t) => ({
    op: "LSTM",
    opset: 14,
    attributes: { hidden_size: 3 },
    inputs: [normalTensor([t, 2, 4], t), normalTensor([1, 12, 4], 1), normalTensor([1, 12, 3], 2)],
    constants: [1, 2],
    dimensions: { 0: ["t", 2, 4] },
    outputs: ["y", "h", "c"],
  }));
});

Deno.test("Attention sees a symbolic length, causal and with a mask", async () => {
  await assertAtLengths((t) => ({
    op: "Attention",
    opset: 23,
    attributes: { is_causal: 1, q_num_heads: 4, kv_num_heads: 2 },
    inputs: [normalTensor([1, t, 16], 1), normalTensor([1, t, 8], 2), normalTensor([1, t, 8], 3)],
    dimensions: { 0: [1, "t", 16], 1: [1, "t", 8], 2: [1, "t", 8] },
  }));
  await assertAtLengths((t) => ({
    op: "Attention",
    opset: 23,
    inputs: [
      normalTensor([1, 2, t, 4], 1),
      normalTensor([1, 2, t, 4], 2),
      normalTensor([1, 2, t, 4], 3),
      plainTensor("bool", [t, t], Uint8Array.from({ length: t * t }, (_, index) => (index % 3 === 1 ? 0 : 1))),
    ],
    dimensions: { 0: [1, 2, "t", 4], 1: [1, 2, "t", 4], 2: [1, 2, "t", 4], 3: ["t", "t"] },
  }));
});

Deno.test("what cannot be symbolic says so", () => {
  const model: NodeModel = {
    op: "MaxPool",
    opset: 13,
    attributes: { kernel_shape: [2] },
    inputs: [normalTensor([1, 2, 4], 1)],
    dimensions: { 0: [1, 2, "t"] },
  };
  throws(() => importNodeModel(model, bind), /needs a fixed extent: axis 2 of the input is seq/);
});
