import type { ModelSpec, NodeSpec } from "../../../../tests/support/onnx_builder.ts";
import { checkAgainstRuntime } from "../../../../tests/support/onnx_check.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";

const codes = Array.from({ length: 24 }, (_, index) => (index * 37) % 256);

function u8(shape: readonly number[], ...values: readonly number[]): Tensor {
  return plainTensor("u8", shape, Uint8Array.from(values));
}

const operands: Readonly<Record<string, Tensor>> = {
  sx: floatTensor([], [0.03]),
  zx: u8([], 110),
  sz: floatTensor([], [0.021]),
  zz: u8([], 140),
  sy: floatTensor([], [0.05]),
  zy: u8([], 126),
};

function spec(node: Omit<NodeSpec, "domain" | "outputs">, more: Readonly<Record<string, Tensor>> = {}): ModelSpec {
  return {
    inputs: [{ name: "x", element: "u8", shape: [2, 3, 2, 2] }, { name: "z", element: "u8", shape: [2, 3, 2, 2] }],
    outputs: ["y"],
    initializers: { ...operands, ...more },
    nodes: [{ ...node, domain: "com.microsoft", outputs: ["y"] }],
  };
}

const inputs = {
  x: u8([2, 3, 2, 2], ...codes),
  z: u8([2, 3, 2, 2], ...codes.map((code) => (code * 5 + 17) % 256)),
};

/** Integer in, one map in f32 and rounding: codes may differ by one where the value before rounding is a tie but for its last bit. */
const oneStep = 1;

const twoOperands = ["x", "sx", "zx", "z", "sz", "zz", "sy", "zy"];
const oneOperand = ["x", "sx", "zx", "sy", "zy"];
const cases: readonly (readonly [string, ModelSpec])[] = [
  ["QLinearAdd", spec({ op: "QLinearAdd", inputs: twoOperands })],
  ["QLinearMul", spec({ op: "QLinearMul", inputs: twoOperands })],
  ["QLinearSigmoid", spec({ op: "QLinearSigmoid", inputs: oneOperand })],
  ["QLinearLeakyRelu", spec({ op: "QLinearLeakyRelu", inputs: oneOperand, attributes: { alpha: { float: 0.2 } } })],
  ["QLinearGlobalAveragePool", spec({ op: "QLinearGlobalAveragePool", inputs: oneOperand })],
  ["QLinearSoftmax", spec({ op: "QLinearSoftmax", inputs: oneOperand, attributes: { axis: -1, opset: 13 } })],
  [
    "QLinearConcat",
    spec({
      op: "QLinearConcat",
      inputs: ["sy", "zy", "x", "sx", "zx", "z", "sz", "zz"],
      attributes: { axis: 1 },
    }),
  ],
];

for (const [name, model] of cases) {
  Deno.test(`${name} agrees with onnxruntime within one step`, async () => {
    await checkAgainstRuntime(model, inputs, { bound: oneStep });
  });
}

function gemm(node: Pick<NodeSpec, "inputs" | "attributes">, more: Readonly<Record<string, Tensor>>): ModelSpec {
  return {
    inputs: [{ name: "x", element: "u8", shape: [6, 4] }],
    outputs: ["y"],
    initializers: {
      ...operands,
      w: plainTensor("i8", [3, 4], Int8Array.from(codes.slice(0, 12), (code) => code - 128)),
      sw: floatTensor([3], [0.01, 0.02, 0.03]),
      zw: plainTensor("i8", [3], new Int8Array(3)),
      bias: plainTensor("i32", [3], Int32Array.of(400, -300, 20)),
      ...more,
    },
    nodes: [{ ...node, op: "QGemm", domain: "com.microsoft", outputs: ["y"] }],
  };
}

const gemmInputs = { x: u8([6, 4], ...codes) };
const factors = ["x", "sx", "zx", "w", "sw", "zw"];

Deno.test("QGemm gives onnxruntime's codes", async () => {
  const model = gemm(
    { inputs: [...factors, "bias", "sy", "zy"], attributes: { transB: 1, alpha: { float: 0.5 } } },
    {},
  );
  await checkAgainstRuntime(model, gemmInputs);
});

Deno.test("QGemm without an output scale is float", async () => {
  const model = gemm({ inputs: [...factors, "bias"], attributes: { transB: 1 } }, {});
  // Two products and a sum in f32, in another order than onnxruntime's: each rounding is at most 2^-24 of 40.
  await checkAgainstRuntime(model, gemmInputs, { bound: 4 * 40 * 2 ** -24 });
});

Deno.test("DynamicQuantizeMatMul agrees with onnxruntime", async () => {
  const model: ModelSpec = {
    inputs: [{ name: "x", shape: [6, 4] }],
    outputs: ["y"],
    initializers: {
      w: plainTensor("i8", [4, 3], Int8Array.from(codes.slice(0, 12), (code) => code - 128)),
      sw: floatTensor([3], [0.01, 0.02, 0.03]),
      zw: plainTensor("i8", [3], new Int8Array(3)),
      bias: floatTensor([3], [1, 2, 3]),
    },
    nodes: [{
      op: "DynamicQuantizeMatMul",
      domain: "com.microsoft",
      inputs: ["x", "w", "sw", "zw", "bias"],
      outputs: ["y"],
    }],
  };
  const x = floatTensor([6, 4], codes.map((code) => code / 100 - 1));
  await checkAgainstRuntime(model, { x }, { bound: 4 * 16 * 2 ** -24 });
});
