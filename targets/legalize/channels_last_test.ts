import assert from "node:assert/strict";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { binary, input, literal } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { OpAttributes, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, plainTensor, type Tensor, tensorParts } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { int8, uint8 } from "../../compiler/numeric/number_format.ts";
import { perAxis, perTensor, type QuantScheme } from "../../compiler/numeric/scheme.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { uniform } from "../../tests/support/random.ts";
import { randomQuantized } from "../../tests/support/wasm_kernels.ts";
import { channelsLast } from "./channels_last.ts";

const random = uniform(4);

/** Small integers, so that every order of summation gives the same floats. */
function integers(shape: readonly number[]): ReturnType<typeof floatTensor> {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return floatTensor(shape, Float32Array.from({ length: size }, () => Math.round(6 * random() - 3)));
}

function convAttributes(kernel: number, more: Partial<OpAttributes["conv"]> = {}): OpAttributes["conv"] {
  const pad = (kernel - 1) / 2;
  return {
    strides: [1, 1],
    dilations: [1, 1],
    pads: [pad, pad, pad, pad],
    layout: "channelsFirst",
    groups: 1,
    hasBias: false,
    result: { kind: "real" },
    ...more,
  };
}

async function rewritten(graph: Graph): Promise<Graph> {
  const { graph: result } = await channelsLast.run(graph, plainContext());
  assert.deepEqual(verify(result), []);
  return result;
}

function assertEqualOutputs(before: Graph, after: Graph, inputs: Readonly<Record<string, Tensor>>): void {
  const [expected, actual] = [evaluateGraph(before, inputs), evaluateGraph(after, inputs)];
  assert.deepEqual(Object.keys(actual.outputs), Object.keys(expected.outputs));
  for (const [name, tensor] of Object.entries(expected.outputs)) {
    const parts = (of: Tensor) => tensorParts(of).map((part) => [part.role, part.tensor.shape, [...part.tensor.data]]);
    assert.deepEqual(parts(actual.outputs[name]), parts(tensor), name);
  }
}

function count(graph: Graph, op: string): number {
  return graph.nodes.filter((node) => node.op === op).length;
}

/** conv -> bias, relu -> pool -> conv + residual -> gate by pooled channels -> concat -> resize -> flatten. */
function visionGraph(): Graph {
  const builder = new GraphBuilder("vision");
  const relu = (x: ValueName) => builder.map(binary("max", input(0), literal(0)), [x]);
  const x = builder.input("x", tensorType("f32", [2, 3, 8, 6]));
  const first = builder.add("conv", [x, builder.constant(integers([4, 3, 3, 3]))], convAttributes(3));
  const biased = relu(builder.map(binary("add", input(0), input(1)), [first, builder.constant(integers([4, 1, 1]))]));
  const pooled = builder.add("pool", [biased], {
    kind: "max",
    kernel: [2, 2],
    strides: [2, 2],
    dilations: [1, 1],
    pads: [0, 0, 0, 0],
    layout: "channelsFirst",
    outputExtents: [4, 3],
    countPadding: false,
    norm: 2,
  });
  const depthwise = builder.add(
    "conv",
    [pooled, builder.constant(integers([4, 1, 3, 3]))],
    convAttributes(3, { groups: 4 }),
  );
  const sum = builder.map(binary("add", input(0), input(1)), [pooled, depthwise]);
  const means = builder.add("reduce", [sum], { kind: "sum", axes: [2, 3], keepAxes: true });
  const gate = relu(builder.add("conv", [means, builder.constant(integers([4, 4, 1, 1]))], convAttributes(1)));
  const gated = builder.map(binary("mul", input(0), input(1)), [sum, gate]);
  const padded = builder.add("pad", [gated], { before: [0, 1, 2, 0], after: [0, 0, 0, 1], mode: "constant" });
  const cut = builder.add("slice", [padded], { starts: [0, 1, 2, 0], steps: [1, 1, 1, 1], extents: [2, 4, 4, 3] });
  const joined = builder.add("concat", [cut, pooled], { axis: 1 });
  const scaled = builder.add("resample", [
    joined,
    builder.constant(plainTensor("i32", [2, 1], Int32Array.of(0, 2))),
    builder.constant(floatTensor([2, 1], [1, 2])),
  ], { axis: 2 });
  builder.output("flat", builder.add("reshape", [scaled], { shape: [2, 48] }));
  builder.output("channels", builder.add("reduce", [scaled], { kind: "max", axes: [2, 3], keepAxes: false }));
  return builder.finish();
}

Deno.test("channels-last moves convs and all between them, and values stay", async () => {
  const graph = visionGraph();
  const after = await rewritten(graph);
  assert.ok(
    after.nodes.every((node) => node.op !== "conv" && node.op !== "pool" || node.attributes.layout === "channelsLast"),
  );
  // One transpose of the input, one before the flattened output.
  assert.equal(count(after, "transpose"), 2);
  assertEqualOutputs(graph, after, { x: integers([2, 3, 8, 6]) });
});

Deno.test("channels-last cancels the transposes of an exporter that kept images channels-last", async () => {
  const builder = new GraphBuilder("exported");
  const x = builder.input("x", tensorType("f32", [1, 6, 5, 2]));
  const first = builder.add("transpose", [x], { permutation: [0, 3, 1, 2] });
  const conv = builder.add("conv", [first, builder.constant(integers([4, 2, 3, 3]))], convAttributes(3));
  builder.output("y", builder.add("transpose", [conv], { permutation: [0, 2, 3, 1] }));
  const graph = builder.finish();
  const after = await rewritten(graph);
  assert.equal(count(after, "transpose"), 0);
  assertEqualOutputs(graph, after, { x: integers([1, 6, 5, 2]) });
});

Deno.test("channels-last turns image to sequence reshapes into plain ones", async () => {
  const builder = new GraphBuilder("tokens");
  const x = builder.input("x", tensorType("f32", [1, 2, 4, 6]));
  const conv = builder.add("conv", [x, builder.constant(integers([8, 2, 3, 3]))], convAttributes(3));
  const merged = builder.add("reshape", [conv], { shape: [1, 8, 24] });
  const tokens = builder.add("transpose", [merged], { permutation: [0, 2, 1] });
  builder.output("y", builder.add("softmax", [tokens], { axis: 2 }));
  const graph = builder.finish();
  const after = await rewritten(graph);
  assert.equal(count(after, "transpose"), 1);
  assertEqualOutputs(graph, after, { x: integers([1, 2, 4, 6]) });
});

function image(format: QuantScheme["format"], zeroPoint: boolean): QuantScheme {
  return { format, block: perTensor(4), step: "f32", zeroPoint, range: "static" };
}

/** quantize -> conv -> conv -> dequantize, with codes all the way. */
function quantizedGraph(withReshape: boolean): Graph {
  const builder = new GraphBuilder("quantized");
  const scheme = image(uint8, true);
  const ones = [1, 1, 1, 1];
  const step = builder.constant(floatTensor(ones, [0.5]));
  const zero = builder.constant(plainTensor("i32", ones, Int32Array.of(3)));
  const x = builder.input("x", tensorType("f32", [1, 2, 5, 5]));
  let value = builder.add("quantize", [x, step, zero], { scheme });
  for (const channels of [4, 3]) {
    const shape = [channels, channels === 4 ? 2 : 4, 3, 3];
    const weights = { format: int8, block: perAxis(4, 0), step: "f32", zeroPoint: false, range: "static" } as const;
    const operands = [value, builder.constant(randomQuantized(random, shape, weights))];
    operands.push(
      builder.constant(plainTensor("i32", [channels], Int32Array.from({ length: channels }, (_, i) => 100 * i))),
    );
    operands.push(
      builder.constant(floatTensor([channels], Float32Array.from({ length: channels }, () => 2 ** -9))),
      step,
      zero,
    );
    const attributes = convAttributes(3, { hasBias: true, result: { kind: "quantized", scheme, low: 3, high: 255 } });
    value = builder.add("conv", operands, attributes);
  }
  const codes = builder.add("toCodes", [value], {});
  builder.output(
    "codes",
    withReshape
      ? builder.add("gather", [codes, builder.constant(plainTensor("i64", [1], BigInt64Array.of(0n)))], { axis: 1 })
      : codes,
  );
  builder.output("y", builder.add("dequantize", [value], {}));
  return builder.finish("quant");
}

Deno.test("channels-last keeps every integer of a quantized net", async () => {
  for (const withReshape of [false, true]) {
    const graph = quantizedGraph(withReshape);
    const after = await rewritten(graph);
    assert.ok(after.nodes.every((node) => node.op !== "conv" || node.attributes.layout === "channelsLast"));
    assert.equal(count(after, "transpose"), 3);
    assertEqualOutputs(graph, after, { x: integers([1, 2, 5, 5]) });
  }
});

Deno.test("channels-last declines a conv whose quantized input comes from outside", async () => {
  const builder = new GraphBuilder("torn");
  const scheme = image(int8, false);
  const x = builder.input("x", { ...tensorType("f32", [1, 2, 5, 5]), encoding: { kind: "quantized", scheme } });
  const w = randomQuantized(random, [4, 2, 3, 3], { ...image(int8, false), block: perAxis(4, 0) });
  builder.output("y", builder.add("conv", [x, builder.constant(w)], convAttributes(3), { origin: ["stem/Conv"] }));
  const graph = builder.finish("quant");
  const { graph: after, declined } = await channelsLast.run(graph, plainContext());
  assert.equal(after, graph);
  assert.deepEqual(declined.map(({ node }) => node), ["stem/Conv"]);
});
