import assert from "node:assert/strict";
import { maxAbsDifference } from "../../../../tests/support/compare.ts";
import { normalArray } from "../../../../tests/support/random.ts";
import { type ModelInMemory, type NamedInput, runInMemory } from "../../../../tests/support/tfjs.ts";
import { evaluateGraph } from "../../../ir/evaluate/mod.ts";
import { bytesSource } from "../../files.ts";
import { plainTensor, sizeOf } from "../../../ir/tensor.ts";
import { importTfjsSource } from "../mod.ts";

/** An operand: data that is fed, or a constant of the model. */
type Operand =
  | { readonly kind: "fed"; readonly shape: readonly number[]; readonly positive?: boolean }
  | { readonly kind: "ints"; readonly shape: readonly number[]; readonly values: readonly number[] }
  | { readonly kind: "floats"; readonly shape: readonly number[]; readonly values: readonly number[] };

interface OpCase {
  readonly op: string;
  readonly inputs: readonly Operand[];
  readonly attributes?: Readonly<Record<string, unknown>>;
  /** Which output is looked at. */
  readonly output?: number;
}

function fed(...shape: readonly number[]): Operand {
  return { kind: "fed", shape };
}

function positive(...shape: readonly number[]): Operand {
  return { kind: "fed", shape, positive: true };
}

function ints(...values: readonly number[]): Operand {
  return { kind: "ints", shape: [values.length], values };
}

function int(value: number): Operand {
  return { kind: "ints", shape: [], values: [value] };
}

function floats(shape: readonly number[], seed = 5): Operand {
  return { kind: "floats", shape, values: [...normalArray(sizeOf(shape), seed)] };
}

const text = (value: string) => ({ s: btoa(value) });
const list = (...values: readonly number[]) => ({ list: { i: values.map(String) } });
const flag = (b: boolean) => ({ b });
const whole = (value: number) => ({ i: String(value) });
const float = { T: { type: "DT_FLOAT" } };

function conv(padding: string, strides: number, dilations = 1): Readonly<Record<string, unknown>> {
  return {
    ...float,
    padding: text(padding),
    strides: list(1, strides, strides, 1),
    dilations: list(1, dilations, dilations, 1),
    data_format: text("NHWC"),
  };
}

function pool(padding: string, size: number, strides: number): Readonly<Record<string, unknown>> {
  return { ...conv(padding, strides), ksize: list(1, size, size, 1) };
}

const unaryOps = [
  ...["Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Expm1", "Floor", "Neg", "Relu", "Relu6", "Round", "Selu", "Sigmoid"],
  ...["Sign", "Sin", "Sinh", "Softplus", "Square", "Tan", "Tanh", "Atan", "Asinh", "ZerosLike", "OnesLike", "Softmax"],
  ...["LogSoftmax"],
];
const positiveOps = ["Log", "Log1p", "Sqrt", "Rsqrt", "Reciprocal", "Acosh"];
const binaryOps = [
  "Add",
  "AddV2",
  "Sub",
  "Mul",
  "RealDiv",
  "Maximum",
  "Minimum",
  "SquaredDifference",
  "FloorDiv",
  "FloorMod",
];

function cases(): readonly OpCase[] {
  const fused = (name: string) => ({ list: { s: [btoa("BiasAdd"), btoa(name)] } });
  const reduce = (op: string): OpCase => ({
    op,
    inputs: [fed(2, 3, 4), ints(1, -1)],
    attributes: { ...float, keep_dims: flag(true) },
  });
  return [
    ...unaryOps.map((op): OpCase => ({ op, inputs: [fed(2, 5)], attributes: float })),
    ...positiveOps.map((op): OpCase => ({ op, inputs: [positive(2, 5)], attributes: float })),
    ...binaryOps.map((op): OpCase => ({ op, inputs: [fed(2, 3, 4), positive(3, 1)], attributes: float })),
    { op: "Pow", inputs: [positive(2, 3), fed(3)], attributes: float },
    { op: "LeakyRelu", inputs: [fed(2, 5)], attributes: { ...float, alpha: { f: 0.1 } } },
    { op: "Prelu", inputs: [fed(1, 3, 3, 4), floats([4])] },
    { op: "AddN", inputs: [fed(2, 3), fed(2, 3), fed(2, 3)], attributes: { ...float, N: whole(3) } },
    { op: "BiasAdd", inputs: [fed(1, 2, 2, 3), floats([3])], attributes: { ...float, data_format: text("NHWC") } },
    ...["Sum", "Mean", "Max", "Min", "Prod"].map(reduce),
    { op: "Mean", inputs: [fed(2, 3, 4), ints(2)], attributes: float },
    { op: "ArgMax", inputs: [fed(2, 7), int(-1)], attributes: float },
    { op: "ArgMin", inputs: [fed(2, 7), int(0)], attributes: float },
    { op: "Cumsum", inputs: [fed(2, 5), int(1)], attributes: { ...float, exclusive: flag(true), reverse: flag(true) } },
    { op: "TopKV2", inputs: [fed(2, 7), int(3)], attributes: { ...float, sorted: flag(true) } },
    { op: "MatMul", inputs: [fed(3, 4), floats([4, 5])], attributes: float },
    {
      op: "MatMul",
      inputs: [fed(4, 3), floats([5, 4])],
      attributes: { ...float, transpose_a: flag(true), transpose_b: flag(true) },
    },
    { op: "BatchMatMulV2", inputs: [fed(2, 3, 4), fed(2, 5, 4)], attributes: { ...float, adj_y: flag(true) } },
    {
      op: "_FusedMatMul",
      inputs: [fed(3, 4), floats([4, 5]), floats([5])],
      attributes: { ...float, fused_ops: fused("Relu"), num_args: whole(1) },
    },
    ...["SAME", "VALID"].flatMap((padding) =>
      [1, 2].map((strides): OpCase => ({
        op: "Conv2D",
        inputs: [fed(2, 7, 6, 3), floats([3, 2, 3, 4])],
        attributes: conv(padding, strides),
      }))
    ),
    { op: "Conv2D", inputs: [fed(1, 9, 9, 2), floats([3, 3, 2, 3])], attributes: conv("SAME", 1, 2) },
    {
      op: "_FusedConv2D",
      inputs: [fed(1, 6, 6, 3), floats([3, 3, 3, 4]), floats([4]), floats([4], 8)],
      attributes: { ...conv("SAME", 2), fused_ops: fused("Prelu"), num_args: whole(2) },
    },
    { op: "DepthwiseConv2dNative", inputs: [fed(1, 7, 7, 3), floats([3, 3, 3, 2])], attributes: conv("SAME", 2) },
    {
      op: "FusedDepthwiseConv2dNative",
      inputs: [fed(1, 7, 7, 3), floats([3, 3, 3, 1]), floats([3])],
      attributes: { ...conv("VALID", 1), fused_ops: fused("Relu6"), num_args: whole(1) },
    },
    {
      op: "FusedBatchNormV3",
      inputs: [fed(1, 3, 3, 2), floats([2]), floats([2], 6), floats([2], 7), {
        kind: "floats",
        shape: [2],
        values: [0.5, 2],
      }],
      attributes: { ...float, epsilon: { f: 0.01 }, is_training: flag(false), data_format: text("NHWC") },
    },
    ...["SAME", "VALID"].flatMap((padding) =>
      ["MaxPool", "AvgPool"].map((op): OpCase => ({
        op,
        inputs: [fed(1, 7, 6, 2)],
        attributes: pool(padding, 3, 2),
      }))
    ),
    { op: "Reshape", inputs: [fed(2, 3, 4), ints(4, -1)], attributes: float },
    { op: "Squeeze", inputs: [fed(1, 3, 1, 2)], attributes: { ...float, squeeze_dims: list(2) } },
    { op: "ExpandDims", inputs: [fed(2, 3), int(-1)], attributes: float },
    { op: "Transpose", inputs: [fed(2, 3, 4), ints(2, 0, 1)], attributes: float },
    { op: "Pad", inputs: [fed(2, 3), { kind: "ints", shape: [2, 2], values: [1, 0, 2, 1] }], attributes: float },
    {
      op: "PadV2",
      inputs: [fed(2, 3), { kind: "ints", shape: [2, 2], values: [1, 0, 2, 1] }, {
        kind: "floats",
        shape: [],
        values: [7],
      }],
      attributes: float,
    },
    {
      op: "MirrorPad",
      inputs: [fed(3, 4), { kind: "ints", shape: [2, 2], values: [1, 2, 2, 1] }],
      attributes: { ...float, mode: text("REFLECT") },
    },
    { op: "ConcatV2", inputs: [fed(2, 3), fed(2, 2), int(1)], attributes: { ...float, N: whole(2) } },
    { op: "Pack", inputs: [fed(2, 3), fed(2, 3)], attributes: { ...float, N: whole(2), axis: whole(1) } },
    { op: "Unpack", inputs: [fed(2, 3)], attributes: { ...float, num: whole(3), axis: whole(1) }, output: 2 },
    { op: "Split", inputs: [int(1), fed(2, 6)], attributes: { ...float, num_split: whole(3) }, output: 1 },
    {
      op: "SplitV",
      inputs: [fed(2, 6), ints(1, 3, 2), int(1)],
      attributes: { ...float, num_split: whole(3) },
      output: 1,
    },
    { op: "Slice", inputs: [fed(3, 5), ints(1, 2), ints(2, -1)], attributes: float },
    {
      op: "StridedSlice",
      inputs: [fed(4, 5, 3), ints(1, -1, 0), ints(0, 0, 2), ints(1, -2, 1)],
      attributes: {
        ...float,
        begin_mask: whole(0),
        end_mask: whole(1),
        shrink_axis_mask: whole(0),
        new_axis_mask: whole(0),
        ellipsis_mask: whole(0),
      },
    },
    {
      op: "StridedSlice",
      inputs: [fed(4, 5, 3), ints(2, 0), ints(3, 0), ints(1, 1)],
      attributes: {
        ...float,
        begin_mask: whole(0),
        end_mask: whole(2),
        shrink_axis_mask: whole(1),
        new_axis_mask: whole(0),
        ellipsis_mask: whole(0),
      },
    },
    { op: "Tile", inputs: [fed(2, 3), ints(2, 3)], attributes: float },
    { op: "BroadcastTo", inputs: [fed(1, 3), ints(4, 3)], attributes: float },
    { op: "GatherV2", inputs: [fed(5, 3), ints(4, 0, 0), int(0)], attributes: { ...float, batch_dims: whole(0) } },
    { op: "GatherNd", inputs: [fed(3, 4), { kind: "ints", shape: [2, 2], values: [2, 1, 0, 3] }], attributes: float },
    {
      op: "ScatterNd",
      inputs: [{ kind: "ints", shape: [3, 1], values: [4, 0, 4] }, fed(3, 2), ints(5, 2)],
      attributes: float,
    },
    { op: "ReverseV2", inputs: [fed(3, 4), ints(1)], attributes: float },
    {
      op: "OneHot",
      inputs: [ints(2, 0, 3), int(4), { kind: "floats", shape: [], values: [2] }, {
        kind: "floats",
        shape: [],
        values: [-1],
      }],
      attributes: { axis: whole(-1), dtype: { type: "DT_FLOAT" } },
    },
    ...[[false, false], [true, false], [false, true]].flatMap(([align, half]) =>
      ["ResizeBilinear", "ResizeNearestNeighbor"].map((op): OpCase => ({
        op,
        inputs: [fed(1, 4, 5, 2), ints(7, 8)],
        attributes: { ...float, align_corners: flag(align), half_pixel_centers: flag(half) },
      }))
    ),
    {
      op: "DepthToSpace",
      inputs: [fed(1, 2, 3, 8)],
      attributes: { ...float, block_size: whole(2), data_format: text("NHWC") },
    },
    {
      op: "SpaceToBatchND",
      inputs: [fed(1, 4, 5, 2), ints(2, 2), { kind: "ints", shape: [2, 2], values: [0, 0, 0, 1] }],
      attributes: float,
    },
    {
      op: "BatchToSpaceND",
      inputs: [fed(4, 2, 3, 2), ints(2, 2), { kind: "ints", shape: [2, 2], values: [0, 0, 0, 1] }],
      attributes: float,
    },
    {
      op: "ClipByValue",
      inputs: [fed(2, 5), { kind: "floats", shape: [], values: [-0.5] }, { kind: "floats", shape: [], values: [0.25] }],
    },
  ];
}

interface Built {
  readonly model: ModelInMemory;
  readonly inputs: readonly NamedInput[];
}

/** A graph of one node over placeholders and constants, its looked-at output behind an identity called "output". */
function build({ op, inputs, attributes = {}, output = 0 }: OpCase): Built {
  const nodes: unknown[] = [];
  const weights: { name: string; shape: readonly number[]; dtype: string }[] = [];
  const parts: Uint8Array[] = [];
  const named: NamedInput[] = [];
  const names = inputs.map((operand, index) => {
    const name = `operand${index}`;
    const type = operand.kind === "ints" ? "DT_INT32" : "DT_FLOAT";
    if (operand.kind === "fed") {
      const noise = normalArray(sizeOf(operand.shape), 20 + index);
      const data = operand.positive ? noise.map((value) => Math.abs(value) + 1) : noise;
      named.push({ name, shape: operand.shape, data });
      const dim = operand.shape.map((extent) => ({ size: String(extent) }));
      nodes.push({ name, op: "Placeholder", attr: { dtype: { type }, shape: { shape: { dim } } } });
    } else {
      const data = operand.kind === "ints" ? Int32Array.from(operand.values) : Float32Array.from(operand.values);
      weights.push({ name, shape: operand.shape, dtype: operand.kind === "ints" ? "int32" : "float32" });
      parts.push(new Uint8Array(data.buffer));
      nodes.push({ name, op: "Const", attr: { dtype: { type } } });
    }
    return name;
  });
  nodes.push({ name: "node", op, input: names, attr: attributes });
  nodes.push({ name: "output", op: "Identity", input: [output === 0 ? "node" : `node:${output}`], attr: float });
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const json = {
    format: "graph-model",
    modelTopology: { node: nodes, versions: {} },
    weightsManifest: [{ paths: ["weights.bin"], weights }],
  };
  return { model: { json, weights: bytes }, inputs: named };
}

/** Sums of at most 54 products of normal numbers, or functions within a few roundings: 54 * 8 roundings of the largest magnitude. */
const relativeBound = 54 * 8 * 2 ** -24;

const seen = new Map<string, number>();
for (const entry of cases()) {
  const count = (seen.get(entry.op) ?? 0) + 1;
  seen.set(entry.op, count);
  Deno.test(`importTfjs computes ${entry.op} as the library does${count > 1 ? ` (${count})` : ""}`, async () => {
    const { model, inputs } = build(entry);
    const wanted = await runInMemory(model, inputs);
    const json = new TextEncoder().encode(JSON.stringify(model.json));
    const outcome = importTfjsSource(json, "model.json", (path) => bytesSource(path, model.weights), { bind: {} });
    assert.ok(outcome.ok);
    const { graph } = outcome.value;
    const feeds = inputs.map(({ name, shape, data }) => [name, plainTensor("f32", shape, Float32Array.from(data))]);
    const { output } = evaluateGraph(graph, Object.fromEntries(feeds)).outputs;
    assert.ok(output.kind === "plain");
    const actual = Float32Array.from(output.data, Number);
    assert.equal(actual.length, wanted.length);
    const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    const difference = maxAbsDifference(wanted, actual);
    assert.ok(difference <= relativeBound * largest, `differs by ${difference} of ${largest}`);
  });
}
