import assert from "node:assert/strict";
import type { ModelSpec, NodeSpec } from "../../../../tests/support/onnx_builder.ts";
import { checkAgainstRuntime, errorsOf, graphOf, importSpec, numbers } from "../../../../tests/support/onnx_check.ts";
import { normalArray } from "../../../../tests/support/random.ts";
import { decodeCode, parseFormat } from "../../../numeric/number_format.ts";
import { evaluateGraph } from "../../../ir/evaluate/mod.ts";
import { typeOf } from "../../../ir/graph.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../ir/tensor.ts";
import { printType } from "../../../ir/types.ts";
import { dataTypes } from "../proto.ts";

function noise(seed: number, ...shape: readonly number[]): Tensor {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return floatTensor(shape, normalArray(size, seed));
}

function u8(shape: readonly number[], ...values: readonly number[]): Tensor {
  return plainTensor("u8", shape, Uint8Array.from(values));
}

function i8(shape: readonly number[], ...values: readonly number[]): Tensor {
  return plainTensor("i8", shape, Int8Array.from(values));
}

/** Q and DQ of x[3,4] with these steps. */
function roundTrip(
  scale: Tensor,
  zero: Tensor | undefined,
  attributes: NodeSpec["attributes"] = {},
  opset = 21,
): ModelSpec {
  const operands = zero === undefined ? ["s"] : ["s", "z"];
  return {
    opset,
    inputs: [{ name: "x", shape: [3, 4] }],
    outputs: ["q", "y"],
    initializers: zero === undefined ? { s: scale } : { s: scale, z: zero },
    nodes: [
      { op: "QuantizeLinear", inputs: ["x", ...operands], outputs: ["q"], attributes },
      { op: "DequantizeLinear", inputs: ["q", ...operands], outputs: ["y"], attributes },
    ],
  };
}

const perTensor = floatTensor([], [0.05]);
const roundTrips: readonly (readonly [string, ModelSpec])[] = [
  ["per tensor, uint8", roundTrip(perTensor, u8([], 100))],
  ["per tensor, no zero point", roundTrip(perTensor, undefined, {}, 13)],
  ["per tensor, int8, opset 10", roundTrip(perTensor, i8([], -3), {}, 10)],
  ["a scale of one entry", roundTrip(floatTensor([1], [0.05]), u8([1], 100))],
  [
    "per axis",
    roundTrip(floatTensor([4], [0.01, 0.02, 0.03, 0.04]), i8([4], 1, 2, 3, 4), { axis: 1 }),
  ],
  ["per axis from the end", roundTrip(floatTensor([3], [0.01, 0.02, 0.03]), i8([3], 0, 0, 0), { axis: -2 })],
  [
    "blocks along an axis",
    roundTrip(floatTensor([3, 2], [1, 2, 3, 4, 5, 6].map((step) => step / 90)), u8([3, 2], 1, 2, 3, 4, 5, 6), {
      axis: 1,
      block_size: 2,
    }),
  ],
];

for (const [name, spec] of roundTrips) {
  Deno.test(`QuantizeLinear and DequantizeLinear ${name} agree with onnxruntime`, async () => {
    await checkAgainstRuntime(spec, { x: noise(1, 3, 4) });
  });
}

Deno.test("QuantizeLinear rounds half to even and saturates", async () => {
  const spec = roundTrip(floatTensor([], [1]), u8([], 10));
  const x = floatTensor([3, 4], [0.5, 1.5, 2.5, -0.5, -1.5, 3.5, 300, -300, 245, 245.5, -10, -10.5]);
  const graph = await checkAgainstRuntime(spec, { x });
  assert.equal(graph.level, "quant");
});

for (const [name, dataType] of [["int16", dataTypes.int16], ["uint16", dataTypes.uint16]] as const) {
  Deno.test(`QuantizeLinear to ${name} by output_dtype keeps 16 bits`, () => {
    const spec: ModelSpec = {
      opset: 21,
      inputs: [{ name: "x", shape: [3] }],
      outputs: ["q"],
      initializers: { s: floatTensor([], [0.5]) },
      nodes: [{ op: "QuantizeLinear", inputs: ["x", "s"], outputs: ["q"], attributes: { output_dtype: dataType } }],
    };
    const { outputs } = evaluateGraph(graphOf(spec), { x: floatTensor([3], [1000, 20000, -5]) });
    assert.deepEqual(numbers(outputs.q), name === "int16" ? [2000, 32767, -10] : [2000, 40000, 0]);
  });
}

Deno.test("int4 codes are decoded exactly, whole and in blocks", () => {
  const codes = { dataType: dataTypes.int4, dims: [2, 4], bytes: Uint8Array.of(0x10, 0x32, 0xfe, 0x87) };
  const spec: ModelSpec = {
    opset: 21,
    outputs: ["y"],
    initializers: { codes, s: floatTensor([2, 2], [1, 10, 100, 1000]) },
    nodes: [{
      op: "DequantizeLinear",
      inputs: ["codes", "s"],
      outputs: ["y"],
      attributes: { axis: 1, block_size: 2 },
    }],
  };
  const { outputs } = evaluateGraph(graphOf(spec), {});
  assert.deepEqual(numbers(outputs.y), [0, 1, 20, 30, -200, -100, 7000, -8000]);
});

for (const name of ["float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"] as const) {
  Deno.test(`${name} codes decode to the values of the format`, () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, code) => code);
    const spec: ModelSpec = {
      opset: 19,
      outputs: ["y"],
      initializers: { codes: { dataType: dataTypes[name], dims: [256], bytes }, s: floatTensor([], [1]) },
      nodes: [{ op: "DequantizeLinear", inputs: ["codes", "s"], outputs: ["y"] }],
    };
    const format = parseFormat(name.slice("float8".length) + (name === "float8e5m2" ? "ieee" : ""));
    assert.ok(format !== undefined);
    const { outputs } = evaluateGraph(graphOf(spec), {});
    assert.deepEqual(numbers(outputs.y), Array.from(bytes, (code) => decodeCode(format, code)));
  });
}

Deno.test("DynamicQuantizeLinear agrees with onnxruntime on all three outputs", async () => {
  const spec: ModelSpec = {
    inputs: [{ name: "x", shape: [3, 4] }],
    outputs: ["q", "s", "z"],
    nodes: [{ op: "DynamicQuantizeLinear", inputs: ["x"], outputs: ["q", "s", "z"] }],
  };
  const samples = [
    noise(3, 3, 4),
    floatTensor([3, 4], new Array(12).fill(2)),
    floatTensor([3, 4], new Array(12).fill(0)),
  ];
  for (const x of samples) await checkAgainstRuntime(spec, { x });
});

const integers = Array.from({ length: 24 }, (_, index) => (index * 37) % 256);

Deno.test("MatMulInteger agrees with onnxruntime, with zero points per tensor and per column", async () => {
  for (const [za, zb] of [[u8([], 7), i8([], -3)], [u8([], 7), i8([4], 1, -2, 3, -4)]]) {
    const spec: ModelSpec = {
      inputs: [{ name: "a", element: "u8", shape: [2, 4, 3] }],
      outputs: ["y"],
      initializers: { b: i8([3, 4], ...integers.slice(0, 12).map((code) => code - 128)), za, zb },
      nodes: [{ op: "MatMulInteger", inputs: ["a", "b", "za", "zb"], outputs: ["y"] }],
    };
    await checkAgainstRuntime(spec, { a: u8([2, 4, 3], ...integers) });
  }
});

Deno.test("ConvInteger pads with the zero point, as onnxruntime", async () => {
  const spec: ModelSpec = {
    inputs: [{ name: "x", element: "u8", shape: [1, 1, 4, 6] }],
    outputs: ["y"],
    initializers: { w: u8([2, 1, 3, 3], ...integers.slice(0, 18)), zx: u8([], 9), zw: u8([], 100) },
    nodes: [{
      op: "ConvInteger",
      inputs: ["x", "w", "zx", "zw"],
      outputs: ["y"],
      attributes: { pads: [1, 1, 1, 1], strides: [2, 1] },
    }],
  };
  await checkAgainstRuntime(spec, { x: u8([1, 1, 4, 6], ...integers) });
});

Deno.test("QLinearMatMul gives onnxruntime's codes", async () => {
  const spec: ModelSpec = {
    inputs: [{ name: "a", element: "u8", shape: [6, 4] }],
    outputs: ["y"],
    initializers: {
      sa: floatTensor([], [0.02]),
      za: u8([], 120),
      b: i8([4, 3], ...integers.slice(0, 12).map((code) => code - 128)),
      sb: floatTensor([], [0.011]),
      zb: i8([], 3),
      sy: floatTensor([], [0.13]),
      zy: u8([], 131),
    },
    nodes: [{ op: "QLinearMatMul", inputs: ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"], outputs: ["y"] }],
  };
  const graph = await checkAgainstRuntime(spec, { a: u8([6, 4], ...integers) });
  assert.equal(graph.nodes.filter(({ op }) => op === "quantize" || op === "dequantize").length, 0);
});

Deno.test("QLinearConv gives onnxruntime's codes, per channel and with an integer bias", async () => {
  const spec: ModelSpec = {
    inputs: [{ name: "x", element: "u8", shape: [1, 2, 4, 3] }],
    outputs: ["y"],
    initializers: {
      sx: floatTensor([], [0.02]),
      zx: u8([], 130),
      w: i8([3, 2, 3, 3], ...Array.from({ length: 54 }, (_, index) => (index * 29) % 255 - 127)),
      sw: floatTensor([3], [0.01, 0.02, 0.005]),
      zw: i8([3], 0, 0, 0),
      sy: floatTensor([], [0.25]),
      zy: u8([], 128),
      bias: plainTensor("i32", [3], Int32Array.of(500, -700, 90)),
    },
    nodes: [{
      op: "QLinearConv",
      inputs: ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy", "bias"],
      outputs: ["y"],
      attributes: { pads: [1, 1, 1, 1] },
    }],
  };
  await checkAgainstRuntime(spec, { x: u8([1, 2, 4, 3], ...integers) });
});

Deno.test("steps stored in half precision are kept as such", () => {
  const spec: ModelSpec = {
    opset: 21,
    outputs: ["y"],
    initializers: { q: i8([2], 3, -4), s: plainTensor("f16", [], Float16Array.of(0.1)) },
    nodes: [{ op: "DequantizeLinear", inputs: ["q", "s"], outputs: ["y"] }],
  };
  const graph = graphOf(spec);
  assert.equal(graph.outputs.map(({ value }) => printType(typeOf(graph, value))).join(), "f16[2]");
  const { outputs } = evaluateGraph(graph, {});
  const step = Math.f16round(0.1);
  assert.deepEqual(numbers(outputs.y), [Math.f16round(3 * step), Math.f16round(-4 * step)]);
});

const faulty: readonly (readonly [string, ModelSpec, RegExp])[] = [
  ["steps that fit no axis", roundTrip(floatTensor([5], [1, 2, 3, 4, 5]), undefined), /the scale has the shape \[5\]/],
  ["a zero point of a float", roundTrip(perTensor, floatTensor([], [0])), /codes of f32 are not supported/],
  ["an axis outside", roundTrip(floatTensor([4], [1, 2, 3, 4]), undefined, { axis: 3 }), /axis 3 is outside/],
  [
    "blocks that do not divide",
    roundTrip(floatTensor([3, 3], new Array(9).fill(1)), undefined, { axis: 1, block_size: 3 }),
    /the scale has the shape/,
  ],
];

for (const [what, spec, message] of faulty) {
  Deno.test(`QuantizeLinear with ${what} is a diagnostic`, () => {
    assert.match(errorsOf(importSpec(spec))[0].message, message);
  });
}
