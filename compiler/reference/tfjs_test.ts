import assert from "node:assert/strict";
import { maxRelativeDifference } from "../../tests/support/compare.ts";
import { allSamples, randomInputs } from "../../tests/support/op_samples.ts";
import { normalArray, uniform } from "../../tests/support/random.ts";
import { GraphBuilder } from "../ir/build.ts";
import { evaluateGraph, StateMemory } from "../ir/evaluate/mod.ts";
import {
  binary,
  binaryOperators,
  cast,
  compare,
  comparisonOperators,
  type Expression,
  input,
  literal,
  select,
  unary,
  unaryOperators,
} from "../ir/expression.ts";
import { symbolic } from "../ir/extent.ts";
import type { ValueName } from "../ir/node.ts";
import { floatTensor, plainTensor, sizeOf, type Tensor, typeOfTensor } from "../ir/tensor.ts";
import { tensorType } from "../ir/types.ts";
import { int8, uint8 } from "../numeric/number_format.ts";
import { FloatReference, runFloat } from "./tfjs.ts";

interface Case {
  readonly name: string;
  readonly build: (builder: GraphBuilder) => readonly ValueName[];
  /** Terms of the longest sum behind an output: each adds at most one rounding of the largest partial sum. */
  readonly terms: number;
  readonly inputs: Readonly<Record<string, Tensor>>;
}

function random(shape: readonly number[], seed: number): Tensor {
  return floatTensor(shape, normalArray(sizeOf(shape), seed));
}

function inputOf(builder: GraphBuilder, name: string, tensor: Tensor): ValueName {
  return builder.input(name, tensorType(tensor.element, tensor.shape));
}

/** A case whose operands are random float inputs of these shapes. */
function over(
  name: string,
  terms: number,
  shapes: readonly (readonly number[])[],
  build: (builder: GraphBuilder, operands: readonly ValueName[]) => readonly ValueName[],
): Case {
  const tensors = shapes.map((shape, index) => random(shape, index + 1));
  return {
    name,
    terms,
    inputs: Object.fromEntries(tensors.map((tensor, index) => [`x${index}`, tensor])),
    build: (builder) => build(builder, tensors.map((tensor, index) => inputOf(builder, `x${index}`, tensor))),
  };
}

async function check({ name, build, terms, inputs }: Case): Promise<void> {
  const builder = new GraphBuilder(name);
  build(builder).forEach((value, index) => builder.output(`y${index}`, value));
  const graph = builder.finish();
  const wanted = evaluateGraph(graph, inputs).outputs;
  const actual = await runFloat(graph, inputs);
  for (const key of Object.keys(wanted)) {
    const [a, b] = [wanted[key], actual[key]];
    assert.ok(a.kind === "plain" && b.kind === "plain");
    assert.deepEqual(b.shape, a.shape, `${name}: shape`);
    assert.equal(b.element, a.element, `${name}: element`);
    const difference = maxRelativeDifference(Array.from(a.data, Number), Array.from(b.data, Number));
    // Two roundings a term (product and sum), and eight for the functions at the end.
    const bound = (2 * terms + 8) * 2 ** -23;
    assert.ok(difference <= bound, `${name}: ${difference} above ${bound}`);
  }
}

const real = { kind: "real" } as const;

const linear: readonly Case[] = [
  over("matmul", 24, [[5, 24], [24, 7]], (b, [x, y]) => [
    b.add("matmul", [x, y], { transposeB: false, hasBias: false, result: real }),
  ]),
  over("matmul with bias of a transposed matrix", 24, [[2, 3, 5, 24], [7, 24], [7]], (b, [x, y, bias]) => [
    b.add("matmul", [x, y, bias], { transposeB: true, hasBias: true, result: real }),
  ]),
  over("matmul over broadcast batches", 8, [[2, 1, 5, 8], [3, 8, 7]], (b, [x, y]) => [
    b.add("matmul", [x, y], { transposeB: false, hasBias: false, result: real }),
  ]),
  over("attention", 12, [[2, 5, 4, 8], [2, 7, 2, 8], [2, 7, 2, 6]], (b, [q, k, v]) => [
    b.add("attention", [q, k, v], { scale: 0.4, causal: true, softcap: 3, window: 3 }),
    b.add("attention", [q, k, v], { scale: 0.4, causal: false, softcap: 0, window: 0 }),
  ]),
  over(
    "attention with an additive mask",
    12,
    [[1, 5, 4, 8], [1, 5, 4, 8], [1, 5, 4, 8], [4, 5, 5]],
    (b, [q, k, v, m]) => [
      b.add("attention", [q, k, v, m], { scale: 0.4, causal: false, softcap: 0, window: 0 }),
    ],
  ),
  over("rope", 2, [[2, 3, 4, 8], [6, 3], [6, 3]], (b, [x, cos, sin]) => [
    b.add("rope", [x, cos, sin], { extent: 6, interleaved: false, fromPast: false }),
    b.add("rope", [x, cos, sin], { extent: 6, interleaved: true, fromPast: false }),
  ]),
];

interface ConvCase {
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  readonly groups: number;
  readonly layout: "channelsFirst" | "channelsLast";
}

const convs: readonly ConvCase[] = [
  {
    x: [2, 6, 9, 8],
    w: [4, 6, 3, 2],
    strides: [1, 1],
    dilations: [1, 1],
    pads: [0, 0, 0, 0],
    groups: 1,
    layout: "channelsFirst",
  },
  {
    x: [2, 6, 9, 8],
    w: [4, 6, 3, 2],
    strides: [2, 3],
    dilations: [1, 1],
    pads: [1, 0, 2, 1],
    groups: 1,
    layout: "channelsFirst",
  },
  {
    x: [1, 9, 8, 6],
    w: [4, 3, 2, 6],
    strides: [1, 1],
    dilations: [2, 2],
    pads: [1, 1, 1, 1],
    groups: 1,
    layout: "channelsLast",
  },
  {
    x: [1, 6, 9, 8],
    w: [4, 3, 3, 3],
    strides: [2, 2],
    dilations: [2, 1],
    pads: [1, 1, 1, 1],
    groups: 2,
    layout: "channelsFirst",
  },
  {
    x: [1, 6, 9, 8],
    w: [12, 1, 3, 3],
    strides: [2, 1],
    dilations: [1, 1],
    pads: [1, 1, 1, 1],
    groups: 6,
    layout: "channelsFirst",
  },
  { x: [2, 4, 17], w: [6, 2, 5], strides: [3], dilations: [2], pads: [2, 1], groups: 2, layout: "channelsFirst" },
  {
    x: [1, 3, 5, 6, 4],
    w: [4, 3, 2, 3, 2],
    strides: [1, 2, 1],
    dilations: [1, 1, 2],
    pads: [1, 0, 1, 0, 1, 1],
    groups: 1,
    layout: "channelsFirst",
  },
];

const windows: readonly Case[] = [
  ...convs.map((conv, index) =>
    over(`conv ${index}`, sizeOf(conv.w.slice(1)), [conv.x, conv.w, [conv.w[0]]], (b, [x, w, bias]) => [
      b.add("conv", [x, w, bias], { ...conv, hasBias: true, result: real }),
    ])
  ),
  over("convTranspose", 40, [[2, 4, 5, 6], [4, 3, 3, 2], [6]], (b, [x, w, bias]) => [
    b.add("convTranspose", [x, w, bias], {
      strides: [2, 3],
      dilations: [1, 2],
      pads: [1, 0, 0, 1],
      outputPadding: [1, 0],
      groups: 2,
    }),
  ]),
  ...(["max", "average", "lp"] as const).flatMap((kind) =>
    [true, false].map((countPadding) =>
      over(`${kind} pool`, 6, [[2, 3, 7, 8]], (b, [x]) => [
        b.add("pool", [x], {
          kind,
          kernel: [3, 2],
          strides: [2, 2],
          dilations: [1, 2],
          pads: [1, 0, 1, 1],
          layout: "channelsFirst",
          outputExtents: [4, 4],
          countPadding,
          norm: 2,
        }),
      ])
    )
  ),
];

const axes: readonly Case[] = [
  ...(["sum", "prod", "max", "min"] as const).map((kind) =>
    over(`reduce ${kind}`, 24, [[2, 4, 3, 2]], (b, [x]) => [
      b.add("reduce", [x], { kind, axes: [1, 3], keepAxes: true }),
      b.add("reduce", [x], { kind, axes: [0, 1, 2, 3], keepAxes: false }),
    ])
  ),
  over("softmax", 5, [[3, 5, 4]], (b, [x]) => [
    b.add("softmax", [x], { axis: 2 }),
    b.add("softmax", [x], { axis: 1 }),
  ]),
  over("norm", 12, [[2, 3, 12], [12], [3, 12]], (b, [x, gain, bias]) => [
    b.add("norm", [x, gain, bias], { kind: "layer", axis: 2, epsilon: 1e-5 }),
    b.add("norm", [x, gain], { kind: "rms", axis: 2, epsilon: 1e-5 }),
    b.add("norm", [x], { kind: "layer", axis: 1, epsilon: 1e-3 }),
  ]),
  over("cumulative", 6, [[3, 6, 2]], (b, [x]) => [
    b.add("cumulative", [x], { kind: "sum", axis: 1, exclusive: true, reverse: false }),
    b.add("cumulative", [x], { kind: "prod", axis: 1, exclusive: false, reverse: true }),
  ]),
  over("argReduce and topK", 1, [[3, 6, 2]], (b, [x]) => [
    b.add("argReduce", [x], { kind: "max", axis: 1, keepAxes: false, last: false }),
    ...b.addAll("topK", [x], { axis: 1, count: 3, largest: true }),
  ]),
];

const views: readonly Case[] = [
  over("views", 1, [[2, 3, 4, 5]], (b, [x]) => [
    b.add("reshape", [x], { shape: [6, 20] }),
    b.add("transpose", [x], { permutation: [3, 1, 0, 2] }),
    b.add("slice", [x], { starts: [1, 2, 0, 4], steps: [1, -1, 2, -2], extents: [1, 3, 2, 2] }),
    b.add("slice", [x], { starts: [1, 0, 1, 1], steps: [1, 1, 1, 1], extents: [1, 3, 2, 4] }),
    b.add("pad", [x], { before: [0, 1, 0, 2], after: [1, 0, 0, 1], mode: "constant" }),
    b.add("pad", [x], { before: [0, 1, 0, 2], after: [1, 0, -1, 1], mode: "reflect" }),
    b.add("concat", [x, x], { axis: 2 }),
  ]),
  over("expand", 1, [[3, 1, 5]], (b, [x]) => [b.add("expand", [x], { shape: [2, 3, 4, 5] })]),
  over("gather", 1, [[4, 3]], (b, [x]) => {
    const indices = b.constant(plainTensor("i64", [2, 2], BigInt64Array.of(1n, -1n, 0n, 2n)));
    const same = b.constant(plainTensor("i64", [1, 3], BigInt64Array.of(3n, 0n, -2n)));
    return [
      b.add("gather", [x, indices], { axis: 0 }),
      b.add("gatherElements", [x, same], { axis: 0 }),
      b.add("gatherNd", [x, indices], { batchAxes: 0 }),
    ];
  }),
  over("scatter", 1, [[4, 3], [1, 3]], (b, [x, updates]) => {
    const indices = b.constant(plainTensor("i64", [1, 3], BigInt64Array.of(3n, 0n, 2n)));
    return [b.add("scatterElements", [x, indices, updates], { axis: 0, reduction: "add" })];
  }),
  over("resample", 2, [[2, 3, 4]], (b, [x]) => {
    const indices = b.constant(plainTensor("i32", [3, 2], Int32Array.of(0, 1, 2, 3, 3, 1)));
    const weights = b.constant(floatTensor([3, 2], [0.25, 0.75, 0.5, 0.5, 1, 0]));
    return [b.add("resample", [x, indices, weights], { axis: 2 })];
  }),
];

/** Arguments inside the domain of every unary operator. */
const unit: Tensor = floatTensor([40], Array.from({ length: 40 }, uniform(9)).map((value) => 0.05 + 0.9 * value));

function elementwise(name: string, expression: Expression): Case {
  const y = floatTensor([40], Array.from({ length: 40 }, uniform(5)).map((value) => 0.1 + value));
  return {
    name,
    terms: 4,
    inputs: { x: unit, y },
    build: (b) => [b.map(expression, [inputOf(b, "x", unit), inputOf(b, "y", y)])],
  };
}

const maps: readonly Case[] = [
  ...unaryOperators.filter((operator) => operator !== "acosh").map((operator) => {
    if (operator === "not") {
      return elementwise("not", select(unary("not", compare("lt", input(0), input(1))), input(0), input(1)));
    }
    const result = unary(operator, input(0));
    return elementwise(operator, operator === "isNaN" || operator === "isInf" ? cast("f32", result) : result);
  }),
  elementwise("acosh", unary("acosh", binary("add", input(0), literal(1.5)))),
  ...binaryOperators.filter((operator) => !["and", "or", "xor", "shl", "shr"].includes(operator))
    .map((operator) => elementwise(operator, binary(operator, input(0), input(1)))),
  ...(["and", "or", "xor"] as const).map((operator) =>
    elementwise(
      operator,
      select(
        binary(operator, compare("lt", input(0), input(1)), compare("gt", input(0), literal(0.5))),
        input(0),
        input(1),
      ),
    )
  ),
  ...comparisonOperators.map((operator) =>
    elementwise(operator, select(compare(operator, input(0), input(1)), input(0), literal(0)))
  ),
  elementwise("casts", cast("f32", cast("i32", binary("mul", input(0), literal(9))))),
  over(
    "broadcast map that leaves an operand out",
    1,
    [[3, 1], [1, 4]],
    (b, [x, y]) => [b.map(unary("neg", input(0)), [x, y])],
  ),
];

const recurrentCases: readonly Case[] = (["lstm", "gru", "rnn"] as const).flatMap((cell) =>
  (["forward", "reverse", "bidirectional"] as const).flatMap((direction) =>
    [false, true].map((variant) => {
      const gates = { lstm: 4, gru: 3, rnn: 1 }[cell];
      const directions = direction === "bidirectional" ? 2 : 1;
      const shapes = [[5, 2, 3], [directions, gates * 4, 3], [directions, gates * 4, 4], [directions, 2 * gates * 4], [
        directions,
        2,
        4,
      ]];
      if (cell === "lstm") shapes.push([directions, 2, 4], [directions, 12]);
      const names = { lstm: ["sigmoid", "tanh", "softsign"], gru: ["hardsigmoid", "tanh"], rnn: ["elu"] } as const;
      return over(`${cell} ${direction}${variant ? " variant" : ""}`, 60, shapes, (b, operands) => [
        ...b.addAll("recurrent", operands, {
          cell,
          direction,
          activations: Array.from({ length: directions }, () => [...names[cell]]).flat(),
          clip: variant ? 0.7 : 0,
          linearBeforeReset: variant,
          coupledGates: variant,
        }),
      ]);
    })
  )
);

for (const one of [...linear, ...windows, ...axes, ...views, ...maps, ...recurrentCases]) {
  Deno.test(`float reference agrees with the evaluator: ${one.name}`, () => check(one));
}

Deno.test("float reference computes quantized values as the reals that their codes stand for", async () => {
  const builder = new GraphBuilder("quantized");
  const x = random([4, 16], 3);
  const value = inputOf(builder, "x", x);
  const step = builder.constant(floatTensor([1, 1], [0.02]));
  const zero = builder.constant(plainTensor("i32", [1, 1], Int32Array.of(120)));
  const block = ["all", "all"] as const;
  const fixed = { format: uint8, block, step: "f32", zeroPoint: true, range: "static" } as const;
  const moving = { format: int8, block: [1, "all"], step: "f32", zeroPoint: false, range: "dynamic" } as const;
  builder.output(
    "static",
    builder.add("dequantize", [builder.add("quantize", [value, step, zero], { scheme: fixed })], {}),
  );
  const codes = builder.add("quantize", [value], { scheme: moving });
  builder.output("dynamic", builder.add("dequantize", [codes], {}));
  builder.output("codes", builder.add("toCodes", [codes], {}));
  const graph = builder.finish("quant");
  const wanted = evaluateGraph(graph, { x }).outputs;
  const actual = await runFloat(graph, { x });
  for (const name of ["static", "dynamic", "codes"]) assert.deepEqual(actual[name], wanted[name], name);
});

Deno.test("float reference carries states from run to run", async () => {
  const builder = new GraphBuilder("states");
  builder.symbol("seq", { min: 1, max: 4 });
  builder.symbol("past", { min: 0, max: 8 });
  builder.symbol("total", { min: 1, max: 8 });
  builder.state({ name: "rows", type: tensorType("f32", [8, 2]), axis: 0 });
  const x = builder.input("x", tensorType("f32", [symbolic("seq"), 2]));
  builder.output("y", builder.add("append", [x], { state: "rows", axis: 0 }));
  const graph = builder.finish();
  const sample = random([3, 2], 1);
  const result = await runFloat(graph, { x: sample });
  assert.deepEqual(result.y, sample);
});

/** Samples sum 64 terms at most. */
const sampleBound = (2 * 64 + 8) * 2 ** -23;

for (const sample of allSamples()) {
  Deno.test(`float reference agrees with the evaluator on the sample of every op: ${sample.name}`, async () => {
    const { graph } = sample;
    const [exact, float] = [1, 2].map(() => new StateMemory(graph.states, graph.symbols));
    const reference = await FloatReference.create(graph);
    for (const [index, symbols] of sample.runs.entries()) {
      const inputs = randomInputs(graph, index + 1, symbols);
      const wanted = evaluateGraph(graph, inputs, { states: exact }).outputs;
      const actual = reference.run(inputs, { states: float });
      for (const name of Object.keys(wanted)) assertAgrees(actual[name], wanted[name], name);
    }
    reference.dispose();
  });
}

function assertAgrees(actual: Tensor, wanted: Tensor, name: string): void {
  assert.deepEqual(typeOfTensor(actual), typeOfTensor(wanted), name);
  if (wanted.kind === "quantized" || wanted.element !== "f32") {
    assert.deepEqual(actual, wanted, name);
    return;
  }
  assert.ok(actual.kind === "plain");
  const difference = maxRelativeDifference(Array.from(wanted.data, Number), Array.from(actual.data, Number));
  assert.ok(difference <= sampleBound, `${name}: ${difference}`);
}
