import { deepEqual, equal, throws } from "node:assert/strict";
import {
  assertLikeRuntime,
  importNodeModel,
  type NodeModel,
  normalTensor,
  uniformTensor,
} from "../../../../tests/support/onnx_model.ts";
import { evaluateGraph } from "../../../ir/evaluate/mod.ts";
import { floatTensor, type PlainTensor, plainTensor } from "../../../ir/tensor.ts";

/** One operation, or a few, of which exp, erf and tanh may be a few units off in each implementation. */
const bound = { relative: 1e-6, absolute: 1e-6 };

/** Nodes that compute: constants hold data only. */
function opsOf(model: NodeModel): string {
  return importNodeModel(model).nodes.filter(({ op }) => op !== "constant").map(({ op }) => op).join();
}

function evaluated(model: NodeModel, x: PlainTensor): readonly number[] {
  const { y0 } = evaluateGraph(importNodeModel(model), { x0: x }).outputs;
  return y0.kind === "plain" ? Array.from<number | bigint, number>(y0.data, Number) : [];
}

const activations: readonly (readonly [string, number, NodeModel["attributes"]])[] = [
  ["Relu", 14, {}],
  ["LeakyRelu", 16, { alpha: { float: 0.2 } }],
  ["Elu", 7, { alpha: { float: 1.5 } }],
  ["Selu", 7, {}],
  ["Celu", 12, { alpha: { float: 0.7 } }],
  ["Sigmoid", 13, {}],
  ["HardSigmoid", 7, { alpha: { float: 0.3 }, beta: { float: 0.4 } }],
  ["HardSwish", 14, {}],
  ["Gelu", 20, {}],
  ["Gelu", 20, { approximate: "tanh" }],
  ["Mish", 18, {}],
  ["Softplus", 7, {}],
  ["Softsign", 7, {}],
  ["Tanh", 13, {}],
  ["ThresholdedRelu", 10, { alpha: { float: 0.5 } }],
  ["Shrink", 9, { lambd: { float: 0.8 }, bias: { float: 0.1 } }],
];

for (const [op, opset, attributes] of activations) {
  Deno.test(`${op} ${JSON.stringify(attributes)} is one map and gives what onnxruntime gives`, async () => {
    const model: NodeModel = { op, opset, attributes, inputs: [uniformTensor([3, 40], 1, -8, 8)] };
    await assertLikeRuntime(model, bound);
    equal(opsOf(model), "map");
  });
}

Deno.test("Softplus, Sigmoid and Mish neither overflow nor turn to NaN", () => {
  const x = floatTensor([4], [200, -200, Infinity, -Infinity]);
  deepEqual(evaluated({ op: "Softplus", opset: 13, inputs: [x] }, x), [200, 0, Infinity, 0]);
  deepEqual(evaluated({ op: "Sigmoid", opset: 13, inputs: [x] }, x), [1, 0, 1, 0]);
  deepEqual(evaluated({ op: "Mish", opset: 18, inputs: [floatTensor([2], [0, 0])] }, floatTensor([2], [200, -200])), [
    200,
    -0,
  ]);
});

Deno.test("Pow of every pair of elements gives what onnxruntime gives", async () => {
  const f32 = uniformTensor([6], 1, 0.1, 3);
  const i32 = plainTensor("i32", [6], Int32Array.of(-3, -2, 0, 1, 2, 5));
  const i64 = plainTensor("i64", [6], BigInt64Array.of(0n, 1n, 2n, 3n, 4n, 5n));
  const pairs = [[f32, f32], [f32, i32], [f32, i64], [i32, i64], [i64, i64], [i64, f32]];
  for (const inputs of pairs) await assertLikeRuntime({ op: "Pow", opset: 15, inputs }, bound);
});

Deno.test("a square is a product, and scalar constants are written into the map", () => {
  const graph = importNodeModel({
    op: "Pow",
    opset: 13,
    inputs: [normalTensor([4], 1), floatTensor([], [2])],
    constants: [1],
  });
  const [node] = graph.nodes;
  deepEqual(node.op === "map" ? node.attributes.expression : undefined, {
    kind: "binary",
    operator: "mul",
    x: { kind: "input", index: 0 },
    y: { kind: "input", index: 0 },
  });
  equal(
    opsOf({ op: "Add", opset: 13, inputs: [normalTensor([2, 3], 1), floatTensor([1], [0.5])], constants: [1] }),
    "map",
  );
});

Deno.test("a constant of higher rank stays an operand, so that the result has its rank", async () => {
  const model = { op: "Mul", opset: 13, inputs: [normalTensor([3], 1), floatTensor([1, 1], [2])], constants: [1] };
  await assertLikeRuntime(model, bound);
});

Deno.test("Mod, integer Div, Clip, BitShift and IsInf give what onnxruntime gives", async () => {
  const a = plainTensor("i32", [6], Int32Array.of(-7, -5, 5, 7, 2147483647, -1));
  const b = plainTensor("i32", [6], Int32Array.of(3, -3, 3, -3, 2, 5));
  await assertLikeRuntime({ op: "Mod", opset: 13, inputs: [a, b] }, bound);
  await assertLikeRuntime({ op: "Mod", opset: 13, attributes: { fmod: 1 }, inputs: [a, b] }, bound);
  await assertLikeRuntime({ op: "Div", opset: 13, inputs: [a, b] }, bound);
  const x = floatTensor([5], [-Infinity, -2, NaN, 2, Infinity]);
  await assertLikeRuntime({ op: "IsInf", opset: 10, attributes: { detect_negative: 0 }, inputs: [x] }, bound);
  await assertLikeRuntime({ op: "IsInf", opset: 10, attributes: { detect_positive: 0 }, inputs: [x] }, bound);
  // onnxruntime takes an absent bound as the largest finite number: infinities are left out.
  const finite = floatTensor([4], [-2, 0, NaN, 2]);
  await assertLikeRuntime({ op: "Clip", opset: 13, inputs: [finite, floatTensor([], [-1]), undefined] }, bound);
  const high = floatTensor([], [1]);
  await assertLikeRuntime({ op: "Clip", opset: 13, inputs: [finite, undefined, high], constants: [2] }, bound);
  await assertLikeRuntime({
    op: "Clip",
    opset: 7,
    attributes: { min: { float: -1 }, max: { float: 1 } },
    inputs: [floatTensor([3], [-2, 0, 2])],
  }, bound);
});

Deno.test("a Gelu of an unknown kind and a Dropout in training are diagnostics", () => {
  const x = normalTensor([2], 1);
  throws(
    () => importNodeModel({ op: "Gelu", opset: 20, attributes: { approximate: "fast" }, inputs: [x] }),
    /"approximate" is "fast"/,
  );
  const training = plainTensor("bool", [], Uint8Array.of(1));
  throws(
    () => importNodeModel({ op: "Dropout", opset: 13, inputs: [x, undefined, training], constants: [2] }),
    /training mode/,
  );
});
