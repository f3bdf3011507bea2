import assert from "node:assert/strict";
import type { ModelSpec, NodeSpec } from "../../../../tests/support/onnx_builder.ts";
import { graphOf, numbers, opsOf } from "../../../../tests/support/onnx_check.ts";
import { normalArray } from "../../../../tests/support/random.ts";
import { evaluateGraph } from "../../../ir/evaluate/mod.ts";
import type { Graph } from "../../../ir/graph.ts";
import type { Node } from "../../../ir/node.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";

function scalar(value: number): Tensor {
  return floatTensor([], [value]);
}

function u8(value: number): Tensor {
  return plainTensor("u8", [], Uint8Array.of(value));
}

function quantize(from: string, to: string, operands: readonly string[]): readonly NodeSpec[] {
  return [
    { op: "QuantizeLinear", inputs: [from, ...operands], outputs: [`${to}_q`], name: `${to}/Q` },
    { op: "DequantizeLinear", inputs: [`${to}_q`, ...operands], outputs: [to], name: `${to}/DQ` },
  ];
}

const steps = {
  sx: scalar(0.05),
  zx: u8(128),
  sy: scalar(0.2),
  zy: u8(100),
  sw: floatTensor([3], [0.01, 0.02, 0.015]),
  w: plainTensor("i8", [3, 2, 3, 3], Int8Array.from({ length: 54 }, (_, index) => (index * 37) % 255 - 127)),
  sb: floatTensor([3], [0.0005, 0.001, 0.00075].map(Math.fround)),
  bias: plainTensor("i32", [3], Int32Array.of(900, -2000, 50)),
};

const conv: readonly NodeSpec[] = [
  ...quantize("x", "xd", ["sx", "zx"]),
  { op: "DequantizeLinear", inputs: ["w", "sw"], outputs: ["wd"], attributes: { axis: 0 } },
  { op: "DequantizeLinear", inputs: ["bias", "sb"], outputs: ["bd"], attributes: { axis: 0 } },
  { op: "Conv", inputs: ["xd", "wd", "bd"], outputs: ["c"], name: "conv", attributes: { pads: [1, 1, 1, 1] } },
];

function spec(nodes: readonly NodeSpec[], more: Readonly<Record<string, Tensor>> = {}, outputs = ["y"]): ModelSpec {
  return { inputs: [{ name: "x", shape: [1, 2, 4, 4] }], outputs, initializers: { ...steps, ...more }, nodes };
}

const x = floatTensor([1, 2, 4, 4], normalArray(32, 3));

function nodeOf<Op extends Node["op"]>(graph: Graph, op: Op): Extract<Node, { op: Op }> {
  const found = graph.nodes.find((node): node is Extract<Node, { op: Op }> => node.op === op);
  assert.ok(found !== undefined, `no ${op}`);
  return found;
}

/** The float meaning of a model: the same nodes without Q and DQ, on decoded weights and rounded inputs. */
function floatConv(relu: boolean): number[] {
  const decoded = (tensor: Tensor, scale: readonly number[], perScale: number) =>
    numbers(tensor).map((code, index) => code * scale[Math.floor(index / perScale)]);
  const rounded = numbers(x).map((value) => (Math.min(255, Math.max(0, Math.round(value / 0.05) + 128)) - 128) * 0.05);
  const graph = graphOf({
    inputs: [{ name: "x", shape: [1, 2, 4, 4] }],
    outputs: ["y"],
    initializers: {
      w: floatTensor([3, 2, 3, 3], decoded(steps.w, [0.01, 0.02, 0.015], 18)),
      b: floatTensor([3], decoded(steps.bias, [0.0005, 0.001, 0.00075], 1)),
    },
    nodes: [
      { op: "Conv", inputs: ["x", "w", "b"], outputs: ["c"], attributes: { pads: [1, 1, 1, 1] } },
      { op: relu ? "Relu" : "Identity", inputs: ["c"], outputs: ["y"] },
    ],
  });
  return numbers(evaluateGraph(graph, { x: floatTensor([1, 2, 4, 4], rounded) }).outputs.y);
}

/** A few roundings to f32 of values below 32. */
const slack = 4 * 32 * 2 ** -24;

/** Every entry is within half a step of the float value, and saturates where that lies outside the codes. */
function checkCodes(graph: Graph, expected: readonly number[], low = -100 * 0.2): void {
  const got = numbers(evaluateGraph(graph, { x }).outputs.y);
  got.forEach((value, index) => {
    const wanted = Math.min(155 * 0.2, Math.max(low, expected[index]));
    assert.ok(Math.abs(value - wanted) <= 0.1 + slack, `entry ${index}: ${value}, float ${wanted}`);
  });
}

Deno.test("decode, conv, encode becomes one conv of codes with an integer bias", () => {
  const graph = graphOf(spec([...conv, ...quantize("c", "y", ["sy", "zy"])]));
  assert.deepEqual(opsOf(graph), ["quantize", "conv", "dequantize"]);
  const main = nodeOf(graph, "conv");
  assert.deepEqual([main.attributes.result.kind, main.attributes.hasBias], ["quantized", true]);
  assert.deepEqual(main.origin, ["conv", "y/Q"]);
  checkCodes(graph, floatConv(false));
});

Deno.test("the multiplier is f32(f32(stepX * stepW) / stepY), per channel", () => {
  const graph = graphOf(spec([...conv, ...quantize("c", "y", ["sy", "zy"])]));
  const constant = graph.nodes.find(({ outputs }) => outputs[0] === nodeOf(graph, "conv").inputs[3]);
  assert.ok(constant?.op === "constant");
  const f32 = Math.fround;
  const expected = [0.01, 0.02, 0.015].map((step) => f32(f32(f32(0.05) * f32(step)) / f32(0.2)));
  assert.deepEqual(numbers(graph.constants.get(constant.attributes.hash)), expected);
});

Deno.test("a relu before the encoding raises the lowest code", () => {
  const relu: NodeSpec = { op: "Relu", inputs: ["c"], outputs: ["r"] };
  const graph = graphOf(spec([...conv, relu, ...quantize("r", "y", ["sy", "zy"])]));
  const { result } = nodeOf(graph, "conv").attributes;
  assert.ok(result.kind === "quantized");
  assert.deepEqual([result.low, result.high], [100, 255]);
  checkCodes(graph, floatConv(true), 0);
});

Deno.test("a relu between two equal encodings raises the lowest code too", () => {
  const nodes = [
    ...conv,
    ...quantize("c", "cd", ["sy", "zy"]),
    { op: "Relu", inputs: ["cd"], outputs: ["r"] },
    ...quantize("r", "y", ["sy", "zy"]),
  ];
  const graph = graphOf(spec(nodes));
  assert.deepEqual(opsOf(graph), ["quantize", "conv", "dequantize"]);
  const { result } = nodeOf(graph, "conv").attributes;
  assert.ok(result.kind === "quantized" && result.low === 100);
});

Deno.test("moves between equal encodings are moves of the codes", () => {
  const nodes: readonly NodeSpec[] = [
    ...quantize("x", "a", ["sx", "zx"]),
    { op: "MaxPool", inputs: ["a"], outputs: ["p"], attributes: { kernel_shape: [2, 2], strides: [2, 2] } },
    ...quantize("p", "b", ["sx", "zx"]),
    { op: "Transpose", inputs: ["b"], outputs: ["t"], attributes: { perm: [0, 2, 3, 1] } },
    { op: "Reshape", inputs: ["t", "flat"], outputs: ["f"] },
    ...quantize("f", "y", ["sx", "zx"]),
  ];
  const graph = graphOf(spec(nodes, { flat: plainTensor("i64", [2], BigInt64Array.of(1n, -1n)) }));
  assert.deepEqual(opsOf(graph), [
    "quantize",
    "toCodes",
    "pool",
    "transpose",
    "reshape",
    "fromCodes",
    "dequantize",
  ]);
});

Deno.test("moves between different encodings stay float", () => {
  const nodes = [
    ...quantize("x", "a", ["sx", "zx"]),
    { op: "Transpose", inputs: ["a"], outputs: ["t"], attributes: { perm: [0, 2, 3, 1] } },
    ...quantize("t", "y", ["sy", "zy"]),
  ];
  assert.deepEqual(opsOf(graphOf(spec(nodes))), ["quantize", "dequantize", "transpose", "quantize", "dequantize"]);
});

Deno.test("a conv whose sum is read elsewhere keeps its real result", () => {
  const graph = graphOf(spec([...conv, ...quantize("c", "y", ["sy", "zy"])], {}, ["y", "c"]));
  assert.equal(nodeOf(graph, "conv").attributes.result.kind, "real");
});

Deno.test("a bias in other steps keeps the real result", () => {
  const graph = graphOf(
    spec([...conv, ...quantize("c", "y", ["sy", "zy"])], { sb: floatTensor([3], [0.0005, 0.0011, 0.00075]) }),
  );
  assert.equal(nodeOf(graph, "conv").attributes.result.kind, "real");
  assert.deepEqual(opsOf(graph), ["quantize", "conv", "quantize", "dequantize"]);
});

Deno.test("sums that may pass 32 bits keep the activation decoded", () => {
  const depth = 600;
  const model: ModelSpec = {
    opset: 21,
    inputs: [{ name: "x", shape: [1, depth] }],
    outputs: ["y"],
    initializers: {
      sx: scalar(0.001),
      zx: plainTensor("i16", [], Int16Array.of(0)),
      w: plainTensor("i8", [depth, 2], new Int8Array(2 * depth).fill(127)),
      sw: scalar(0.01),
    },
    nodes: [
      ...quantize("x", "xd", ["sx", "zx"]),
      { op: "DequantizeLinear", inputs: ["w", "sw"], outputs: ["wd"] },
      { op: "MatMul", inputs: ["xd", "wd"], outputs: ["y"] },
    ],
  };
  assert.deepEqual(opsOf(graphOf(model)), ["quantize", "dequantize", "matmul"]);
  const narrow = {
    ...model,
    initializers: { ...model.initializers, w: plainTensor("i8", [depth, 2], new Int8Array(2 * depth).fill(1)) },
  };
  assert.deepEqual(opsOf(graphOf(narrow)), ["quantize", "matmul"]);
});

Deno.test("weights that are transposed after decoding are transposed as codes", () => {
  const model: ModelSpec = {
    opset: 21,
    inputs: [{ name: "x", shape: [2, 8] }],
    outputs: ["y"],
    initializers: {
      w: plainTensor("i8", [3, 8], Int8Array.from({ length: 24 }, (_, index) => index * 5 - 60)),
      sw: floatTensor([3, 2], [1, 2, 3, 4, 5, 6]),
    },
    nodes: [
      { op: "DequantizeLinear", inputs: ["w", "sw"], outputs: ["wd"], attributes: { axis: 1, block_size: 4 } },
      { op: "Transpose", inputs: ["wd"], outputs: ["t"] },
      { op: "MatMul", inputs: ["x", "t"], outputs: ["y"] },
    ],
  };
  const graph = graphOf(model);
  assert.deepEqual(opsOf(graph), ["matmul"]);
  const weights = graph.nodes.find(({ op }) => op === "constant");
  assert.ok(weights?.op === "constant");
  const held = graph.constants.get(weights.attributes.hash);
  assert.ok(held.kind === "quantized");
  assert.deepEqual([held.shape, held.scheme.block], [[8, 3], [4, 1]]);
});

Deno.test("a gather from a decoded table reads its codes", () => {
  const model: ModelSpec = {
    inputs: [{ name: "ids", element: "i64", shape: [2] }],
    outputs: ["y"],
    initializers: {
      table: plainTensor("i8", [3, 4], Int8Array.from({ length: 12 }, (_, index) => index - 6)),
      s: scalar(0.5),
    },
    nodes: [
      { op: "DequantizeLinear", inputs: ["table", "s"], outputs: ["d"] },
      { op: "Gather", inputs: ["d", "ids"], outputs: ["y"] },
    ],
  };
  const graph = graphOf(model);
  assert.deepEqual(opsOf(graph), ["gather"]);
  const ids = plainTensor("i64", [2], BigInt64Array.of(2n, 0n));
  assert.deepEqual(numbers(evaluateGraph(graph, { ids }).outputs.y), [1, 1.5, 2, 2.5, -3, -2.5, -2, -1.5]);
});

/** What onnxruntime's dynamic quantizer makes of a MatMul. */
function dynamicProduct(scale: Tensor): ModelSpec {
  return {
    inputs: [{ name: "x", shape: [2, 8] }],
    outputs: ["y"],
    initializers: {
      w: plainTensor("i8", [8, 3], Int8Array.from({ length: 24 }, (_, index) => (index * 41) % 255 - 127)),
      zw: plainTensor("i8", [], Int8Array.of(0)),
      sw: scale,
    },
    nodes: [
      { op: "DynamicQuantizeLinear", inputs: ["x"], outputs: ["q", "s", "z"] },
      { op: "MatMulInteger", inputs: ["q", "w", "z", "zw"], outputs: ["sum"] },
      { op: "Mul", inputs: ["s", "sw"], outputs: ["scale"] },
      { op: "Cast", inputs: ["sum"], outputs: ["real"], attributes: { to: 1 } },
      { op: "Mul", inputs: ["real", "scale"], outputs: ["y"], name: "scaled" },
    ],
  };
}

for (
  const [name, scale] of [["one step", scalar(0.02)], [
    "a step per column",
    floatTensor([3], [0.02, 0.03, 0.01]),
  ]] as const
) {
  Deno.test(`a dynamic product with ${name} becomes a real contraction, bit for bit`, () => {
    const model = dynamicProduct(scale);
    const graph = graphOf(model);
    assert.deepEqual(opsOf(graph), ["quantize", "matmul"]);
    assert.equal(nodeOf(graph, "matmul").attributes.result.kind, "real");
    const literal = graphOf({ ...model, outputs: ["y", "sum", "scale"] });
    const input = { x: floatTensor([2, 8], normalArray(16, 9)) };
    const { sum, scale: factor } = evaluateGraph(literal, input).outputs;
    const factors = numbers(factor);
    const expected = numbers(sum).map((value, index) =>
      Math.fround(Math.fround(value) * factors[factors.length === 1 ? 0 : index % 3])
    );
    assert.deepEqual(numbers(evaluateGraph(graph, input).outputs.y), expected);
  });
}
