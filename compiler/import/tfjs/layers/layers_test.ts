import assert from "node:assert/strict";
import { maxAbsDifference } from "../../../../tests/support/compare.ts";
import { normalArray } from "../../../../tests/support/random.ts";
import { runInMemory } from "../../../../tests/support/tfjs.ts";
import { evaluateGraph } from "../../../ir/evaluate/mod.ts";
import { floatTensor, sizeOf } from "../../../ir/tensor.ts";
import { bytesSource } from "../../files.ts";
import { importTfjsSource } from "../mod.ts";

interface LayerCase {
  readonly className: string;
  readonly input: readonly number[];
  readonly config?: Readonly<Record<string, unknown>>;
  /** Shapes of the weights in the library's order; a variance is made positive. */
  readonly weights?: Readonly<Record<string, readonly number[]>>;
}

const linear = { activation: "linear", use_bias: true };
const batchNorm = { gamma: [3], beta: [3], moving_mean: [3], moving_variance: [3] };

const cases: readonly LayerCase[] = [
  ...[
    "relu",
    "relu6",
    "sigmoid",
    "tanh",
    "softmax",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "hard_sigmoid",
    "swish",
    "mish",
  ]
    .map((activation): LayerCase => ({ className: "Activation", input: [2, 5], config: { activation } })),
  {
    className: "Conv1D",
    input: [1, 9, 3],
    config: { ...linear, filters: 4, kernel_size: [3], strides: [2], padding: "same" },
    weights: { kernel: [3, 3, 4], bias: [4] },
  },
  {
    className: "Conv2D",
    input: [1, 7, 6, 3],
    config: { ...linear, activation: "relu", filters: 4, kernel_size: [3, 2], strides: [2, 1], padding: "same" },
    weights: { kernel: [3, 2, 3, 4], bias: [4] },
  },
  {
    className: "Conv2D",
    input: [1, 8, 8, 2],
    config: { filters: 3, kernel_size: [3, 3], dilation_rate: [2, 2], padding: "valid", use_bias: false },
    weights: { kernel: [3, 3, 2, 3] },
  },
  {
    className: "DepthwiseConv2D",
    input: [1, 7, 7, 3],
    config: { ...linear, kernel_size: [3, 3], strides: [2, 2], padding: "same", depth_multiplier: 2 },
    weights: { depthwise_kernel: [3, 3, 3, 2], bias: [6] },
  },
  {
    className: "SeparableConv2D",
    input: [1, 7, 7, 3],
    config: { ...linear, filters: 4, kernel_size: [3, 3], padding: "valid", depth_multiplier: 1 },
    weights: { depthwise_kernel: [3, 3, 3, 1], pointwise_kernel: [1, 1, 3, 4], bias: [4] },
  },
  {
    className: "Dense",
    input: [2, 6],
    config: { ...linear, units: 4, activation: "tanh" },
    weights: { kernel: [6, 4], bias: [4] },
  },
  { className: "Dense", input: [2, 3, 6], config: { units: 4, use_bias: false }, weights: { kernel: [6, 4] } },
  { className: "BatchNormalization", input: [1, 4, 4, 3], config: { axis: -1, epsilon: 0.002 }, weights: batchNorm },
  {
    className: "BatchNormalization",
    input: [2, 3],
    config: { scale: false, center: false },
    weights: { moving_mean: [3], moving_variance: [3] },
  },
  {
    className: "LayerNormalization",
    input: [2, 4, 3],
    config: { axis: -1, epsilon: 0.01 },
    weights: { gamma: [3], beta: [3] },
  },
  { className: "MaxPooling1D", input: [1, 9, 2], config: { pool_size: [3], strides: [2], padding: "same" } },
  { className: "MaxPooling2D", input: [1, 7, 7, 2], config: { pool_size: [3, 3], strides: [2, 2], padding: "same" } },
  { className: "AveragePooling2D", input: [1, 7, 7, 2], config: { pool_size: [2, 3], padding: "same" } },
  { className: "AveragePooling1D", input: [1, 9, 2], config: { pool_size: [2], strides: [2], padding: "valid" } },
  { className: "GlobalAveragePooling2D", input: [1, 5, 4, 3] },
  { className: "GlobalMaxPooling2D", input: [1, 5, 4, 3] },
  { className: "GlobalAveragePooling1D", input: [1, 5, 3] },
  { className: "GlobalMaxPooling1D", input: [1, 5, 3] },
  { className: "Flatten", input: [1, 2, 3, 2] },
  { className: "Reshape", input: [1, 2, 6], config: { target_shape: [3, -1] } },
  { className: "Permute", input: [1, 2, 3, 4], config: { dims: [3, 1, 2] } },
  { className: "ZeroPadding2D", input: [1, 3, 3, 2], config: { padding: [[1, 0], [2, 1]] } },
  { className: "Cropping2D", input: [1, 6, 7, 2], config: { cropping: [[1, 2], [0, 3]] } },
  { className: "UpSampling2D", input: [1, 2, 3, 2], config: { size: [2, 3] } },
  { className: "ReLU", input: [2, 5], config: { max_value: 0.7 } },
  { className: "LeakyReLU", input: [2, 5], config: { alpha: 0.2 } },
  { className: "PReLU", input: [2, 5], weights: { alpha: [5] } },
  { className: "ELU", input: [2, 5] },
  { className: "Softmax", input: [2, 3, 4], config: { axis: -1 } },
  { className: "Dropout", input: [2, 5], config: { rate: 0.5 } },
];

/** A model of one layer over one input. */
function build({ className, input, config = {}, weights = {} }: LayerCase) {
  const [batch, ...rest] = input;
  const layer = {
    class_name: className,
    config: { name: "layer", trainable: true, batch_input_shape: [null, ...rest], dtype: "float32", ...config },
  };
  const entries = Object.entries(weights).map(([name, shape], index) => {
    const noise = normalArray(sizeOf(shape), 40 + index);
    const data = name === "moving_variance" ? noise.map((value) => Math.abs(value) + 0.5) : noise;
    return { name: `layer/${name}`, shape, data };
  });
  const bytes = new Uint8Array(entries.reduce((sum, { data }) => sum + data.byteLength, 0));
  let at = 0;
  for (const { data } of entries) {
    bytes.set(new Uint8Array(data.buffer), at);
    at += data.byteLength;
  }
  const json = {
    format: "layers-model",
    modelTopology: {
      keras_version: "tfjs-layers 4.22.0",
      backend: "tensor_flow.js",
      model_config: { class_name: "Sequential", config: { name: "sequential", layers: [layer] } },
    },
    weightsManifest: [{
      paths: ["weights.bin"],
      weights: entries.map(({ name, shape }) => ({ name, shape, dtype: "float32" })),
    }],
  };
  return { json, weights: bytes, batch };
}

/** Sums of at most 54 products of normal numbers, or functions within a few roundings of the largest magnitude. */
const relativeBound = 54 * 8 * 2 ** -24;

const seen = new Map<string, number>();
for (const entry of cases) {
  const count = (seen.get(entry.className) ?? 0) + 1;
  seen.set(entry.className, count);
  const detail = entry.config?.activation ?? (count > 1 ? String(count) : "");
  Deno.test(`importTfjs computes the layer ${entry.className} ${detail} as the library does`, async () => {
    const { json, weights, batch } = build(entry);
    const data = normalArray(sizeOf(entry.input), 3);
    const wanted = await runInMemory({ json, weights }, [{ name: "layer_input", shape: entry.input, data }]);
    const bytes = new TextEncoder().encode(JSON.stringify(json));
    const open = (path: string) => bytesSource(path, weights);
    const outcome = importTfjsSource(bytes, "model.json", open, { bind: { batch } });
    assert.ok(outcome.ok);
    const { graph } = outcome.value;
    const { outputs } = evaluateGraph(graph, { layer_input: floatTensor(entry.input, data) });
    const output = outputs[graph.outputs[0].name];
    assert.ok(output.kind === "plain");
    const actual = Float32Array.from(output.data, Number);
    assert.equal(actual.length, wanted.length);
    const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    const difference = maxAbsDifference(wanted, actual);
    assert.ok(difference <= relativeBound * largest, `differs by ${difference} of ${largest}`);
  });
}
