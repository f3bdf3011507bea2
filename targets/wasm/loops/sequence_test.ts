import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, input } from "../../../compiler/ir/expression.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import type { OpAttributes, RecurrentActivation } from "../../../compiler/ir/node.ts";
import { floatTensor, plainTensor, sizeOf } from "../../../compiler/ir/tensor.ts";
import { quantizedType, type TensorType, tensorType } from "../../../compiler/ir/types.ts";
import { int8, uint8 } from "../../../compiler/numeric/number_format.ts";
import { perToken, type QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { randomInputs } from "../../../tests/support/op_samples.ts";
import { normalArray } from "../../../tests/support/random.ts";
import { assertLoops, assertSeen, gamma, unit } from "../../../tests/support/loop_kernels.ts";

const f32 = (...shape: number[]): TensorType => tensorType("f32", shape);

function constantOf(builder: GraphBuilder, shape: readonly number[], seed: number, scale = 1) {
  return builder.constant(floatTensor(shape, normalArray(sizeOf(shape), seed).map((value) => value * scale)));
}

const attentionCase = fc.record({
  queries: fc.constantFrom(1, 2, 5),
  more: fc.constantFrom(0, 1, 4),
  heads: fc.constantFrom<readonly [number, number]>([1, 1], [4, 2], [3, 1]),
  width: fc.constantFrom(1, 3, 8, 17),
  valueWidth: fc.constantFrom(1, 4, 7),
  causal: fc.boolean(),
  softcap: fc.constantFrom(0, 5),
  window: fc.constantFrom(0, 0, 2),
  mask: fc.constantFrom("none", "bool", "float" as const),
  element: fc.constantFrom("f32", "f16" as const),
  seed: fc.nat(1000),
});

/**
 * attention: with D products of entries below 1, a score errs by scale (gamma(D + 1) D) and the roundings of softcap and
 * mask; a weight by twice that, exp's two units and the roundings of x - max; sums over S keys add gamma(S + 2) each.
 */
function attentionBound(width: number, keys: number, element: "f32" | "f16"): () => number {
  const score = gamma(width + 8) * (width + 8) * 2;
  const rounding = element === "f16" ? 2 ** -10 : 0;
  return () => 2 * (2 * score + gamma(2 * keys + 10)) + rounding;
}

Deno.test("attention with groups, masks, causality, windows and softcaps lies within its derived bound", async () => {
  await fc.assert(
    fc.asyncProperty(attentionCase, async (one) => {
      const { queries, more, heads: [heads, groups], width, valueWidth, mask, element, seed } = one;
      const keys = queries + more;
      const builder = new GraphBuilder("attention");
      const inputs = [
        builder.input("q", tensorType(element, [2, queries, heads, width])),
        builder.input("k", tensorType(element, [2, keys, groups, width])),
        builder.input("v", tensorType(element, [2, keys, groups, valueWidth])),
        ...(mask === "bool" ? [builder.input("mask", tensorType("bool", [2, 1, queries, keys]))] : []),
        ...(mask === "float"
          ? [
            builder.input(
              "mask",
              tensorType(element, [heads, queries, keys].map((size, axis) => axis === 0 ? 1 : size)),
            ),
          ]
          : []),
      ];
      const attributes = { scale: 1 / Math.sqrt(width), causal: one.causal, softcap: one.softcap, window: one.window };
      builder.output("y", builder.add("attention", inputs, attributes));
      await assertLoops(builder.finish(), { seed, tolerance: attentionBound(width, keys, element) });
    }),
    { numRuns: 60 },
  );
});

Deno.test("attention over quantized keys and values decodes them as it reads", async () => {
  const builder = new GraphBuilder("cache");
  const scheme: QuantScheme = { format: uint8, block: perToken(4), step: "f32", zeroPoint: true, range: "static" };
  const inputs = [
    builder.input("q", f32(1, 3, 4, 16)),
    builder.input("k", quantizedType(scheme, [1, 9, 2, 16])),
    builder.input("v", quantizedType({ ...scheme, format: int8, zeroPoint: false }, [1, 9, 2, 16])),
  ];
  builder.output("y", builder.add("attention", inputs, { scale: 0.02, causal: true, softcap: 0, window: 0 }));
  // Values reach 255/32 = 8: scores 0.02 * 16 * 8, results 8.
  await assertLoops(builder.finish("quant"), { tolerance: () => 8 * 16 * gamma(40) });
});

Deno.test("rope of every kind lies within three roundings", async () => {
  for (const interleaved of [false, true]) {
    for (const [width, extent] of [[8, 8], [16, 6], [34, 34]]) {
      const builder = new GraphBuilder("rope");
      const tables = [constantOf(builder, [20, extent / 2], 1), constantOf(builder, [20, extent / 2], 2)];
      const x = builder.input("x", f32(2, 5, 3, width));
      builder.output("y", builder.add("rope", [x, ...tables], { extent, interleaved, fromPast: false }));
      // Tables of normal numbers stay below 6.
      await assertLoops(builder.finish(), { tolerance: () => 12 * 3 * unit });
    }
  }
});

const seq = symbolic("seq");

/** A decoder step: rope from the past, appended keys and values, attention over all of them. */
function decoder(scheme?: QuantScheme): Graph {
  const builder = new GraphBuilder("decoder");
  builder.symbol("seq", { min: 1, max: 6 });
  builder.symbol("past", { min: 0, max: 15 });
  builder.symbol("total", { min: 1, max: 16 });
  const held = (heads: number) =>
    scheme === undefined ? f32(1, 16, heads, 8) : quantizedType(scheme, [1, 16, heads, 8]);
  builder.state({ name: "keys", type: held(2), axis: 1 });
  builder.state({ name: "values", type: held(2), axis: 1 });
  const tables = [constantOf(builder, [16, 4], 1), constantOf(builder, [16, 4], 2)];
  const rows = (name: string, heads: number) => builder.input(name, tensorType("f32", [1, seq, heads, 8]));
  const rope = { extent: 8, interleaved: false, fromPast: true } as const;
  const q = builder.add("rope", [rows("q", 4), ...tables], rope);
  const k = builder.add("rope", [rows("k", 2), ...tables], rope);
  const code = (value: string) => scheme === undefined ? value : builder.add("quantize", [value], { scheme });
  const keys = builder.add("append", [code(k)], { state: "keys", axis: 1 });
  const values = builder.add("append", [code(rows("v", 2))], { state: "values", axis: 1 });
  const y = builder.add("attention", [q, keys, values], { scale: 0.35, causal: true, softcap: 0, window: 0 });
  builder.output("y", y);
  return builder.finish(scheme === undefined ? "float" : "quant");
}

Deno.test("a cache that grows gives what the evaluator's gives, step after step, plain and quantized", async () => {
  const runs = [{ seq: 4 }, { seq: 1 }, { seq: 6 }, { seq: 1 }];
  // Rotated entries reach 12, scores 0.35 * 8 * 144; a code may differ where a quotient lies on a boundary, by one step.
  await assertLoops(decoder(), { runs, tolerance: () => 403 * gamma(40) });
  const scheme: QuantScheme = { format: int8, block: perToken(4), step: "f32", zeroPoint: false, range: "dynamic" };
  await assertLoops(decoder(scheme), { runs, tolerance: () => 403 * gamma(40) + 12 / 127 });
});

Deno.test("appended rows in front of other axes are copied where the state's layout is not the result's", async () => {
  const builder = new GraphBuilder("inner");
  builder.symbol("seq", { min: 1, max: 4 });
  builder.symbol("past", { min: 0, max: 11 });
  builder.symbol("total", { min: 1, max: 9 });
  builder.state({ name: "rows", type: f32(3, 12, 5), axis: 1 });
  const x = builder.input("x", tensorType("f32", [3, seq, 5]));
  builder.output("y", builder.add("append", [x], { state: "rows", axis: 1 }));
  await assertLoops(builder.finish(), { runs: [{ seq: 4 }, { seq: 1 }, { seq: 3 }] });
});

Deno.test("states that are replaced whole keep their value from run to run, a quantized one with its steps", async () => {
  const scheme: QuantScheme = { format: int8, block: perToken(2), step: "f32", zeroPoint: true, range: "dynamic" };
  const builder = new GraphBuilder("kept");
  builder.state({ name: "sum", type: f32(3, 7), axis: -1 });
  builder.state({ name: "codes", type: quantizedType(scheme, [3, 7]), axis: -1 });
  const x = builder.input("x", f32(3, 7));
  const old = builder.add("readState", [], { state: "sum" });
  const next = builder.map(binary("add", input(0), input(1)), [old, x]);
  builder.output("next", builder.add("writeState", [next], { state: "sum" }));
  builder.output("old", old);
  builder.output("held", builder.add("dequantize", [builder.add("readState", [], { state: "codes" })], {}));
  builder.add("writeState", [builder.add("quantize", [x], { scheme })], { state: "codes" });
  await assertLoops(builder.finish("quant"), { runs: [{}, {}, {}] });
});

const gates = { lstm: 4, gru: 3, rnn: 1 } as const;
const counts = { lstm: 3, gru: 2, rnn: 1 } as const;

const recurrentCase = fc.record({
  cell: fc.constantFrom("lstm", "gru", "rnn" as const),
  direction: fc.constantFrom("forward", "reverse", "bidirectional" as const),
  hidden: fc.constantFrom(1, 3, 4, 9),
  width: fc.constantFrom(1, 5, 8),
  extras: fc.nat(2),
  clip: fc.constantFrom(0, 0.5),
  linearBeforeReset: fc.boolean(),
  coupledGates: fc.boolean(),
  activations: fc.array(
    fc.constantFrom<RecurrentActivation>(
      "sigmoid",
      "tanh",
      "relu",
      "hardsigmoid",
      "softsign",
      "softplus",
      "affine",
      "elu",
    ),
    { minLength: 6, maxLength: 6 },
  ),
  seed: fc.nat(1000),
});

type RecurrentCase = typeof recurrentCase extends fc.Arbitrary<infer Case> ? Case : never;

function recurrentGraph(one: RecurrentCase, attributes: OpAttributes["recurrent"]): Graph {
  const { cell, direction, hidden, width, extras, seed } = one;
  const directions = direction === "bidirectional" ? 2 : 1;
  const [steps, batch] = [4, 2];
  const rows = gates[cell] * hidden;
  // Rows of weights are scaled so that a state's error does not grow from one step to the next by more than half.
  const scale = 0.25 / (hidden + width);
  const builder = new GraphBuilder("recurrent");
  const shapes = [[directions, rows, width], [directions, rows, hidden], [directions, 2 * rows], [
    directions,
    batch,
    hidden,
  ]];
  if (cell === "lstm" && extras > 0) shapes.push([directions, batch, hidden]);
  if (cell === "lstm" && extras > 1) shapes.push([directions, 3 * hidden]);
  const operands = shapes.map((shape, index) => constantOf(builder, shape, seed + index, index < 2 ? scale : 0.25));
  const results = builder.addAll("recurrent", [builder.input("x", f32(steps, batch, width)), ...operands], attributes);
  results.forEach((value, index) => builder.output(`y${index}`, value));
  return builder.finish();
}

function attributesOf(one: RecurrentCase): OpAttributes["recurrent"] {
  const { cell, direction, clip, linearBeforeReset, coupledGates, activations } = one;
  const used = counts[cell] * (direction === "bidirectional" ? 2 : 1);
  return { cell, direction, clip, linearBeforeReset, coupledGates, activations: activations.slice(0, used) };
}

/**
 * One step of a cell: a pre-activation sums I + H products and two biases of sizes below 4 in all, so it errs by
 * 4 gamma(I + H + 4) and by what the state brought; activations have slopes up to 1 and add 4 units (of values up to 8);
 * products of gates and memory up to 8 pass errors on 8-fold; weights keep the state's share below a half. Four steps.
 */
function recurrentBound({ width, hidden }: RecurrentCase): () => number {
  const own = 4 * gamma(width + hidden + 4) + 32 * unit;
  return () => [0, 1, 2, 3].reduce((error) => 3 * (8 * own + error), 0);
}

Deno.test("recurrent cells of every kind lie within the bound that their steps give", async () => {
  await fc.assert(
    fc.asyncProperty(recurrentCase, async (one) => {
      const graph = recurrentGraph(one, attributesOf(one));
      await assertLoops(graph, { seed: one.seed, tolerance: recurrentBound(one) });
    }),
    { numRuns: 60 },
  );
});

Deno.test("transforms of every core and width lie within the sum's bound", async () => {
  for (
    const [core, doublings, stride] of [
      ...[[1, 0, 1], [1, 1, 1], [1, 6, 1], [3, 0, 1], [3, 2, 1], [5, 3, 1], [12, 1, 1]],
      ...[[1, 0, 3], [1, 3, 2], [3, 0, 7], [3, 2, 4]],
    ]
  ) {
    const mixed = core * 2 ** doublings;
    const run = mixed * stride;
    const builder = new GraphBuilder("transform");
    const x = builder.input("x", f32(2, 3, 2 * run));
    builder.output(
      "y",
      builder.add("transform", [x, constantOf(builder, [core, core], 3, 0.2)], { doublings, stride }),
    );
    // Entries below 1 times a core below 1.2: C * 2^doublings terms, doublings + core roundings each.
    await assertLoops(builder.finish(), { tolerance: () => gamma(doublings + core + 2) * mixed * 1.2 });
  }
});

Deno.test("resampling by a table of taps lies within the sum's bound, and taps of weight 0 are not read", async () => {
  for (const axis of [0, 1, 2]) {
    const shape = [4, 5, 6];
    const builder = new GraphBuilder("resample");
    const taps = Int32Array.of(0, 1, 3, 2, 1, 0, 3, 3, 2, 2);
    const indices = builder.constant(plainTensor("i32", [5, 2], taps));
    const weights = builder.constant(floatTensor([5, 2], [0.5, 0.5, 1, 0, 0.25, 0.75, 0, 1, -0.1, 1.1]));
    builder.output("y", builder.add("resample", [builder.input("x", f32(...shape)), indices, weights], { axis }));
    const x = floatTensor(shape, normalArray(sizeOf(shape), axis));
    x.data[0] = Infinity;
    await assertLoops(builder.finish(), {
      inputs: [{ x }],
      tolerance: (expected) => gamma(4) * (Math.abs(expected) + 6),
    });
  }
});

Deno.test("the comparison sees a wrong window, group, direction, gate order and past", async () => {
  const attention = (window: number, scale = 0.5) => {
    const builder = new GraphBuilder("attention");
    const inputs = [
      builder.input("q", f32(1, 5, 4, 8)),
      builder.input("k", f32(1, 5, 2, 8)),
      builder.input("v", f32(1, 5, 2, 8)),
    ];
    builder.output("y", builder.add("attention", inputs, { scale, causal: true, softcap: 0, window }));
    return builder.finish();
  };
  const tolerance = attentionBound(8, 5, "f32");
  await assertSeen(attention(0), attention(2), { tolerance });
  await assertSeen(attention(2, 0.51), attention(2), { tolerance });
  const one: RecurrentCase = {
    cell: "gru",
    direction: "forward",
    hidden: 4,
    width: 5,
    extras: 0,
    clip: 0,
    linearBeforeReset: false,
    coupledGates: false,
    activations: ["sigmoid", "tanh", "sigmoid", "tanh", "sigmoid", "tanh"],
    seed: 3,
  };
  const graph = recurrentGraph(one, attributesOf(one));
  const bound = recurrentBound(one);
  for (const changed of [{ direction: "reverse" }, { linearBeforeReset: true }, { clip: 0.01 }] as const) {
    const mutant = recurrentGraph(one, { ...attributesOf(one), ...changed });
    await assertSeen(mutant, graph, { inputs: [randomInputs(graph, 1)], tolerance: bound });
  }
});
