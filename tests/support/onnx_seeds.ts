/** Small ONNX models that between them use every part of the importer: what the fuzz test starts from. */

import { floatTensor, plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { dataTypes } from "../../compiler/import/onnx/proto.ts";
import type { ModelSpec } from "./onnx_builder.ts";

function ints(...values: readonly number[]): Tensor {
  return plainTensor("i64", [values.length], BigInt64Array.from(values, BigInt));
}

function ramp(...shape: readonly number[]): Tensor {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return floatTensor(shape, Array.from({ length: size }, (_, index) => (index % 7) / 8 - 0.25));
}

function scalar(value: number): Tensor {
  return floatTensor([], [value]);
}

/** A convolution net: conv, batch norm, pool, flatten, gemm, softmax. */
const convolution: ModelSpec = {
  inputs: [{ name: "x", shape: ["N", 2, 6, 6] }],
  outputs: [{ name: "y", shape: ["N", 3] }],
  initializers: {
    w: ramp(4, 2, 3, 3),
    b: ramp(4),
    gain: ramp(4),
    shift: ramp(4),
    mean: ramp(4),
    variance: floatTensor([4], [1, 2, 3, 4]),
    dense: ramp(3, 36),
  },
  nodes: [
    { op: "Conv", inputs: ["x", "w", "b"], outputs: ["c"], name: "conv", attributes: { pads: [1, 1, 1, 1], group: 1 } },
    { op: "BatchNormalization", inputs: ["c", "gain", "shift", "mean", "variance"], outputs: ["n"], name: "norm" },
    { op: "Relu", inputs: ["n"], outputs: ["r"], name: "relu" },
    {
      op: "MaxPool",
      inputs: ["r"],
      outputs: ["p"],
      name: "pool",
      attributes: { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 0 },
    },
    { op: "Flatten", inputs: ["p"], outputs: ["f"], name: "flat", attributes: { axis: 1 } },
    {
      op: "Gemm",
      inputs: ["f", "dense"],
      outputs: ["g"],
      name: "gemm",
      attributes: { transB: 1, alpha: { float: 0.5 } },
    },
    { op: "Softmax", inputs: ["g"], outputs: ["y"], name: "softmax", attributes: { axis: -1 } },
  ],
};

/** An exporter's shape arithmetic around a reshape, a slice, a split and a range. */
const shapes: ModelSpec = {
  inputs: [{ name: "x", shape: ["N", "t", 8] }],
  outputs: ["y", "positions"],
  initializers: {
    zero: ints(0),
    one: ints(1),
    two: ints(2),
    tail: ints(-1, 2, 4),
    start: plainTensor("i64", [], BigInt64Array.of(0n)),
    step: plainTensor("i64", [], BigInt64Array.of(1n)),
    ends: ints(3),
  },
  nodes: [
    { op: "Shape", inputs: ["x"], outputs: ["s"] },
    { op: "Gather", inputs: ["s", "one"], outputs: ["t"], attributes: { axis: 0 } },
    { op: "Concat", inputs: ["t", "tail"], outputs: ["wanted"], attributes: { axis: 0 } },
    { op: "Reshape", inputs: ["x", "wanted"], outputs: ["r"], attributes: { allowzero: 0 } },
    { op: "Slice", inputs: ["r", "zero", "ends", "two", "one"], outputs: ["cut"] },
    { op: "Split", inputs: ["cut"], outputs: ["a", "b"], attributes: { axis: 2 } },
    { op: "Sub", inputs: ["a", "b"], outputs: ["y"] },
    { op: "Squeeze", inputs: ["t", "zero"], outputs: ["limit"] },
    { op: "Range", inputs: ["start", "limit", "step"], outputs: ["positions"] },
  ],
  opset: 14,
};

/** Branches, a loop, a scan and a function. */
const control: ModelSpec = {
  inputs: [{ name: "x", shape: [3] }, { name: "flag", element: "bool", shape: [] }],
  outputs: ["y", "stack", "last"],
  initializers: { rounds: plainTensor("i64", [], BigInt64Array.of(3n)), go: plainTensor("bool", [], Uint8Array.of(1)) },
  functions: [{
    name: "Twice",
    domain: "local",
    inputs: ["v"],
    outputs: ["w"],
    attributes: ["slope"],
    nodes: [
      { op: "Add", inputs: ["v", "v"], outputs: ["d"] },
      { op: "LeakyRelu", inputs: ["d"], outputs: ["w"], attributes: { alpha: { reference: "slope", type: "float" } } },
    ],
  }],
  nodes: [
    {
      op: "If",
      inputs: ["flag"],
      outputs: ["chosen"],
      name: "if",
      attributes: {
        then_branch: { nodes: [{ op: "Neg", inputs: ["x"], outputs: ["n"] }], outputs: ["n"] },
        else_branch: { nodes: [{ op: "Abs", inputs: ["x"], outputs: ["p"] }], outputs: ["p"] },
      },
    },
    {
      op: "Loop",
      inputs: ["rounds", "go", "chosen"],
      outputs: ["carried", "stack"],
      name: "loop",
      attributes: {
        body: {
          inputs: [{ name: "i", element: "i64", shape: [] }, { name: "c", element: "bool", shape: [] }, {
            name: "v",
            shape: [3],
          }],
          nodes: [
            { op: "Twice", inputs: ["v"], outputs: ["d"], domain: "local", attributes: { slope: { float: 0.5 } } },
            { op: "Identity", inputs: ["c"], outputs: ["again"] },
            { op: "Identity", inputs: ["d"], outputs: ["copy"] },
          ],
          outputs: ["again", "d", "copy"],
        },
      },
    },
    {
      op: "Scan",
      inputs: ["carried", "stack"],
      outputs: ["y", "last"],
      name: "scan",
      attributes: {
        num_scan_inputs: 1,
        body: {
          inputs: [{ name: "state", shape: [3] }, { name: "row", shape: [3] }],
          nodes: [
            { op: "Add", inputs: ["state", "row"], outputs: ["sum"] },
            { op: "Mul", inputs: ["sum", "row"], outputs: ["out"] },
          ],
          outputs: ["sum", "out"],
        },
      },
    },
  ],
};

/** Quantize-dequantize around a conv and a gemm, with an integer bias, and dynamic quantization. */
const quantized: ModelSpec = {
  opset: 21,
  inputs: [{ name: "x", shape: [1, 2, 4, 4] }],
  outputs: ["y", "d"],
  initializers: {
    sx: scalar(0.05),
    zx: plainTensor("u8", [], Uint8Array.of(128)),
    w: plainTensor("i8", [3, 2, 3, 3], Int8Array.from({ length: 54 }, (_, index) => (index * 37) % 255 - 127)),
    sw: floatTensor([3], [0.01, 0.02, 0.015]),
    zw: plainTensor("i8", [3], new Int8Array(3)),
    bias: plainTensor("i32", [3], Int32Array.of(100, -200, 50)),
    sb: floatTensor([3], [0.0005, 0.001, 0.00075]),
    sy: scalar(0.1),
    zy: plainTensor("u8", [], Uint8Array.of(3)),
    dense: {
      dataType: dataTypes.int4,
      dims: [12, 2],
      bytes: Uint8Array.from({ length: 12 }, (_, index) => index * 19),
    },
    sd: floatTensor([3, 2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
  },
  nodes: [
    { op: "QuantizeLinear", inputs: ["x", "sx", "zx"], outputs: ["xq"] },
    { op: "DequantizeLinear", inputs: ["xq", "sx", "zx"], outputs: ["xd"] },
    { op: "DequantizeLinear", inputs: ["w", "sw", "zw"], outputs: ["wd"], attributes: { axis: 0 } },
    { op: "DequantizeLinear", inputs: ["bias", "sb"], outputs: ["bd"], attributes: { axis: 0 } },
    { op: "Conv", inputs: ["xd", "wd", "bd"], outputs: ["c"], name: "conv" },
    { op: "Relu", inputs: ["c"], outputs: ["r"] },
    { op: "QuantizeLinear", inputs: ["r", "sy", "zy"], outputs: ["rq"] },
    { op: "DequantizeLinear", inputs: ["rq", "sy", "zy"], outputs: ["rd"] },
    { op: "Flatten", inputs: ["rd"], outputs: ["f"] },
    { op: "DequantizeLinear", inputs: ["dense", "sd"], outputs: ["dd"], attributes: { axis: 0, block_size: 4 } },
    { op: "MatMul", inputs: ["f", "dd"], outputs: ["y"], name: "matmul" },
    { op: "DynamicQuantizeLinear", inputs: ["f"], outputs: ["fq", "fs", "fz"] },
    { op: "Cast", inputs: ["fq"], outputs: ["d"], attributes: { to: 1 } },
  ],
};

/** Products of codes and blocked weights, as onnxruntime's tools write them. */
const contributed: ModelSpec = {
  inputs: [{ name: "a", element: "u8", shape: [2, 32] }, { name: "x", shape: [2, 32] }],
  outputs: ["y", "n", "q"],
  initializers: {
    b: plainTensor("i8", [32, 3], Int8Array.from({ length: 96 }, (_, index) => (index * 29) % 255 - 127)),
    za: plainTensor("u8", [], Uint8Array.of(7)),
    blocks: plainTensor("u8", [4, 2, 8], Uint8Array.from({ length: 64 }, (_, index) => (index * 53) % 256)),
    scales: ramp(8),
    sa: scalar(0.1),
    sb: floatTensor([3], [0.1, 0.2, 0.3]),
    zb: plainTensor("i8", [3], new Int8Array(3)),
    sy: scalar(2),
    zy: plainTensor("u8", [], Uint8Array.of(100)),
  },
  nodes: [
    { op: "MatMulInteger", inputs: ["a", "b", "za"], outputs: ["y"] },
    {
      op: "MatMulNBits",
      domain: "com.microsoft",
      inputs: ["x", "blocks", "scales"],
      outputs: ["n"],
      attributes: { K: 32, N: 4, bits: 4, block_size: 16 },
    },
    { op: "QLinearMatMul", inputs: ["a", "sa", "za", "b", "sb", "zb", "sy", "zy"], outputs: ["q"] },
  ],
};

/** Recurrent cell, resize, pad, top k, normalization, gather and reductions. */
const varied: ModelSpec = {
  inputs: [{ name: "x", shape: [5, 1, 4] }],
  outputs: ["top", "index", "big", "normal", "total"],
  initializers: {
    w: ramp(1, 12, 4),
    r: ramp(1, 12, 3),
    scales: floatTensor([3], [1, 2, 2]),
    pads: ints(0, 1, 0, 0, 0, 1),
    k: ints(2),
    gain: ramp(4),
    rows: ints(0, -1),
  },
  nodes: [
    { op: "LSTM", inputs: ["x", "w", "r"], outputs: ["h"], attributes: { hidden_size: 3 } },
    { op: "Resize", inputs: ["x", "", "scales"], outputs: ["big"], attributes: { mode: "linear" } },
    { op: "Pad", inputs: ["x", "pads"], outputs: ["padded"], attributes: { mode: "edge" } },
    { op: "TopK", inputs: ["padded", "k"], outputs: ["top", "index"], attributes: { axis: 0 } },
    { op: "LayerNormalization", inputs: ["x", "gain"], outputs: ["normal"], attributes: { axis: -1 } },
    { op: "Gather", inputs: ["h", "rows"], outputs: ["g"], attributes: { axis: 0 } },
    { op: "ReduceMean", inputs: ["g"], outputs: ["total"], attributes: { axes: [0, 2], keepdims: 0 } },
  ],
};

export const onnxSeeds: Readonly<Record<string, ModelSpec>> = {
  convolution,
  shapes,
  control,
  quantized,
  contributed,
  varied,
};
