import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { fuzzParameters, mutate, mutations } from "../../../tests/support/fuzz.ts";
import { jsonMutations, mutateJson } from "../../../tests/support/fuzz_json.ts";
import { assertRuns } from "../../../tests/support/fuzz_run.ts";
import { namedWeights } from "../../../tests/support/named_weights.ts";
import { DiagnosticError } from "../../diagnostics.ts";
import { bytesSource } from "../files.ts";
import { importTfjsSource } from "./mod.ts";

function importOrDiagnose(json: Uint8Array, weights: Uint8Array): "imported" | "diagnosed" {
  try {
    const open = (path: string) => bytesSource(path, weights);
    const outcome = importTfjsSource(json, "model.json", open, { bind: {} });
    assert.ok(outcome.ok);
    assertRuns(outcome.value.graph);
    return "imported";
  } catch (error) {
    if (!(error instanceof DiagnosticError)) throw error;
    assert.ok(error.diagnostics.length > 0);
    for (const { code, message } of error.diagnostics) assert.ok(/^Q\d{4}$/.test(code) && message.length > 0);
    return "diagnosed";
  }
}

function encode(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

interface Seed {
  readonly json: unknown;
  readonly weights: Uint8Array;
}

const text = (value: string) => ({ s: btoa(value) });
const list = (...values: readonly number[]) => ({ list: { i: values.map(String) } });

/** A convolution, a pool, shape arithmetic, a strided slice and a product, over one placeholder. */
function graphSeed(): Seed {
  const weights = [
    { name: "kernel", shape: [3, 3, 2, 4], dtype: "float32" },
    { name: "bias", shape: [4], dtype: "float32" },
    { name: "begin", shape: [1], dtype: "int32" },
    { name: "end", shape: [1], dtype: "int32" },
    { name: "one", shape: [1], dtype: "int32" },
    { name: "columns", shape: [], dtype: "int32" },
    { name: "matrix", shape: [16, 3], dtype: "float32", quantization: { dtype: "uint8", scale: 0.5, min: -1 } },
  ];
  const window = { padding: text("SAME"), strides: list(1, 2, 2, 1), data_format: text("NHWC") };
  const placeholder = {
    dtype: { type: "DT_FLOAT" },
    shape: { shape: { dim: [-1, 8, 8, 2].map((size) => ({ size: String(size) })) } },
  };
  const masks = { begin_mask: { i: "0" }, end_mask: { i: "0" }, shrink_axis_mask: { i: "1" } };
  const node = [
    { name: "x", op: "Placeholder", attr: placeholder },
    ...weights.map(({ name }) => ({ name, op: "Const", attr: {} })),
    {
      name: "conv",
      op: "_FusedConv2D",
      input: ["x", "kernel", "bias"],
      attr: { ...window, dilations: list(1, 1, 1, 1), fused_ops: { list: { s: [btoa("BiasAdd"), btoa("Relu")] } } },
    },
    { name: "pool", op: "MaxPool", input: ["conv"], attr: { ...window, ksize: list(1, 2, 2, 1) } },
    { name: "shape", op: "Shape", input: ["pool"], attr: {} },
    { name: "batch", op: "StridedSlice", input: ["shape", "begin", "end", "one"], attr: masks },
    { name: "target", op: "Pack", input: ["batch", "columns"], attr: { axis: { i: "0" } } },
    { name: "flat", op: "Reshape", input: ["pool", "target"], attr: {} },
    { name: "product", op: "MatMul", input: ["flat", "matrix"], attr: { transpose_a: { b: false } } },
    { name: "output", op: "Softmax", input: ["product"], attr: {} },
  ];
  const numbers = new Uint8Array(namedWeights("graph", 76).buffer);
  const integers = new Uint8Array(Int32Array.of(0, 1, 1, 16).buffer);
  const bytes = Uint8Array.from([...numbers, ...integers, ...new Uint8Array(48).fill(3)]);
  const json = {
    format: "graph-model",
    modelTopology: { node },
    weightsManifest: [{ paths: ["weights.bin"], weights }],
  };
  return { json, weights: bytes };
}

/** A functional model with a residual connection, norms and a dense head. */
function layersSeed(): Seed {
  const conv = {
    filters: 2,
    kernel_size: [3, 3],
    strides: [1, 1],
    padding: "same",
    activation: "relu",
    use_bias: true,
  };
  const layer = (
    className: string,
    name: string,
    config: Readonly<Record<string, unknown>>,
    ...inputs: readonly string[]
  ) => ({
    class_name: className,
    name,
    config: { name, ...config },
    inbound_nodes: inputs.length === 0 ? [] : [inputs.map((input) => [input, 0, 0, {}])],
  });
  const layers = [
    layer("InputLayer", "x", { batch_input_shape: [null, 6, 6, 2], dtype: "float32" }),
    layer("Conv2D", "conv", conv, "x"),
    layer("BatchNormalization", "norm", { axis: -1, epsilon: 0.001 }, "conv"),
    layer("Add", "add", {}, "norm", "x"),
    layer("ZeroPadding2D", "pad", { padding: [[0, 1], [0, 1]] }, "add"),
    layer("MaxPooling2D", "pool", { pool_size: [2, 2], strides: [2, 2], padding: "valid" }, "pad"),
    layer("Flatten", "flat", {}, "pool"),
    layer("Dense", "dense", { units: 3, activation: "softmax", use_bias: true }, "flat"),
  ];
  const config = { name: "model", layers, input_layers: [["x", 0, 0]], output_layers: [["dense", 0, 0]] };
  const shapes: Readonly<Record<string, readonly number[]>> = {
    "conv/kernel": [3, 3, 2, 2],
    "conv/bias": [2],
    "norm/gamma": [2],
    "norm/beta": [2],
    "norm/moving_mean": [2],
    "norm/moving_variance": [2],
    "dense/kernel": [18, 3],
    "dense/bias": [3],
  };
  const weights = Object.entries(shapes).map(([name, shape]) => ({ name, shape, dtype: "float32" }));
  const json = {
    format: "layers-model",
    modelTopology: { model_config: { class_name: "Functional", config } },
    weightsManifest: [{ paths: ["weights.bin"], weights }],
  };
  return { json, weights: new Uint8Array(namedWeights("layers", 103).map((value) => value + 0.5).buffer) };
}

/** Text, loops, lists and functions. */
function guesslangSeed(): Seed {
  const folder = dirname(createRequire(import.meta.url).resolve("@vscode/vscode-languagedetection/package.json"));
  const json: unknown = JSON.parse(readFileSync(join(folder, "model", "model.json"), "utf8"));
  return { json, weights: readFileSync(join(folder, "model", "group1-shard1of1.bin")) };
}

const seeds: readonly { readonly name: string; readonly make: () => Seed; readonly few: number }[] = [
  { name: "graph model", make: graphSeed, few: 1000 },
  { name: "layers model", make: layersSeed, few: 1000 },
  { name: "text model", make: guesslangSeed, few: 30 },
];

for (const { name, make, few } of seeds) {
  Deno.test(`importTfjs imports the seed of the fuzz tests: ${name}`, () => {
    const { json, weights } = make();
    assert.equal(importOrDiagnose(encode(json), weights), "imported");
  });

  Deno.test(`importTfjs meets a mutated model.json with diagnostics: ${name}`, () => {
    const { json, weights } = make();
    fc.assert(
      fc.property(jsonMutations, (changes) => {
        importOrDiagnose(encode(mutateJson(json, changes)), weights);
      }),
      fuzzParameters(`model.json, ${name}`, few),
    );
  });
}

Deno.test("importTfjs meets mutated bytes of model.json and its weights with diagnostics", () => {
  const { json, weights } = graphSeed();
  const bytes = encode(json);
  fc.assert(
    fc.property(mutations, fc.boolean(), (changes, ofWeights) => {
      if (ofWeights) importOrDiagnose(bytes, mutate(weights, changes));
      else importOrDiagnose(mutate(bytes, changes), weights);
    }),
    fuzzParameters("model.json bytes", 500),
  );
});
