import fc from "fast-check";
import {
  assertLikeRuntime,
  integerTensor,
  type NodeModel,
  normalTensor,
} from "../../../../tests/support/onnx_model.ts";
import { floatTensor } from "../../../ir/tensor.ts";

const exact = { relative: 0, absolute: 0 };

Deno.test("Pad in every mode, with crops, gives what onnxruntime gives", async () => {
  const amount = fc.integer({ min: -1, max: 2 });
  const cases = fc.record({
    mode: fc.constantFrom("constant", "reflect", "edge", "wrap"),
    amounts: fc.array(amount, { minLength: 4, maxLength: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(cases, ({ mode, amounts }) => {
      // onnxruntime reflects before it crops, the specification does not say: mixed signs are left to the constant mode.
      const pads = mode === "constant" ? amounts : amounts.map(Math.abs);
      return assertLikeRuntime({
        op: "Pad",
        opset: 19,
        attributes: { mode },
        inputs: [normalTensor([4, 5], 1), integerTensor([4], pads), floatTensor([], [7])],
        constants: [1],
      }, exact);
    }),
    { numRuns: 60, seed: 8 },
  );
});

Deno.test("Pad of opset 2, Tile, Trilu, DepthToSpace and SpaceToDepth give what onnxruntime gives", async () => {
  const x = normalTensor([2, 8, 4, 6], 1);
  const models: readonly NodeModel[] = [
    { op: "Pad", opset: 10, attributes: { pads: [0, 0, 1, 2, 0, 0, 2, 1], value: { float: 1.5 } }, inputs: [x] },
    { op: "Pad", opset: 10, attributes: { pads: [0, 0, 1, 2, 0, 0, 2, 1], mode: "reflect" }, inputs: [x] },
    { op: "Tile", opset: 13, inputs: [x, integerTensor([4], [1, 2, 1, 3])], constants: [1] },
    { op: "Tile", opset: 13, inputs: [normalTensor([1, 3, 1], 2), integerTensor([3], [2, 2, 4])], constants: [1] },
    { op: "DepthToSpace", opset: 13, attributes: { blocksize: 2 }, inputs: [x] },
    { op: "DepthToSpace", opset: 13, attributes: { blocksize: 2, mode: "CRD" }, inputs: [x] },
    { op: "SpaceToDepth", opset: 13, attributes: { blocksize: 2 }, inputs: [x] },
  ];
  for (const model of models) await assertLikeRuntime(model, exact);
  for (const upper of [0, 1]) {
    for (const k of [-2, 0, 3]) {
      const inputs = [normalTensor([2, 4, 5], 3), integerTensor([], [k])];
      await assertLikeRuntime({ op: "Trilu", opset: 14, attributes: { upper }, inputs, constants: [1] }, exact);
    }
  }
});

Deno.test("ReverseSequence gives what onnxruntime gives, along either axis", async () => {
  for (const [batch, time] of [[0, 1], [1, 0]]) {
    await assertLikeRuntime({
      op: "ReverseSequence",
      opset: 10,
      attributes: { batch_axis: batch, time_axis: time },
      inputs: [normalTensor(batch === 0 ? [3, 4, 2] : [4, 3, 2], 1), integerTensor([3], [4, 1, 3])],
    }, exact);
  }
});
