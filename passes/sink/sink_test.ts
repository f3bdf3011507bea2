/** Rows at the sink: whose step is whose, across runs; and what a massive first token costs with and without it. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { symbolic } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { type Pass, type PassContext, plainContext } from "../../compiler/rewrite/pass.ts";
import type { Json } from "../../compiler/rewrite/options.ts";
import { sqnr } from "../../tests/support/compare.ts";
import { decoderText, decoderTokens, randomDecoder } from "../../tests/support/decoders.ts";
import { assertWithMutants } from "../../tests/support/mutants.ts";
import { normalArray } from "../../tests/support/random.ts";
import { calibrate } from "../calibrate/calibrate.ts";
import { encodeMigrated } from "../migrate/encode_migrated.ts";
import { migrateQuantStep } from "../migrate/migrate_quant_step.ts";
import { quantizeActivations } from "../quantize/quantize_activations.ts";
import { quantizeWeights } from "../quantize/quantize_weights.ts";
import { foldNormGain } from "../transform/fold_norm_gain.ts";
import { rotate } from "../transform/rotate.ts";
import { positionAxis, positionsOf, withoutFirst } from "./positions.ts";
import { rowSteps } from "./row_steps.ts";

const [width, context] = [4, 16];

/** x is appended to a state, so that positions go on from run to run; the steps of its rows are the output. */
function stepsGraph(sink: number, top: number): Graph {
  const builder = new GraphBuilder("steps");
  builder.symbol("seq", { min: 1, max: 8 });
  builder.symbol("past", { min: 0, max: context - 1 });
  builder.symbol("total", { min: 1, max: context });
  const shape = [1, symbolic("seq"), width];
  const x = builder.input("x", tensorType("f32", shape));
  builder.state({ name: "held", type: tensorType("f32", [1, context, width]), axis: 1 });
  builder.output("held", builder.add("append", [x], { state: "held", axis: 1 }));
  const positions = positionsOf(builder.finish());
  assert.ok(positions !== undefined);
  const { steps } = rowSteps(
    {
      constant: (tensor, name) => builder.constant(tensor, { name }),
      add: (op, inputs, attributes, name) => builder.add(op, inputs, attributes, { name }),
    },
    x,
    shape,
    positions,
    0.25,
    { sink, top },
  );
  builder.output("steps", steps);
  return builder.finish();
}

function numbers(tensor: Tensor): Float32Array {
  assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
  return tensor.data;
}

const runs = fc.record({
  sink: fc.integer({ min: 1, max: 5 }),
  lengths: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 4 }),
  seed: fc.nat(1000),
});

Deno.test("a row has its own step where past + t is a sink, the static one elsewhere", () => {
  assertWithMutants(
    runs,
    ["position without past", "one more position", "the static step everywhere"],
    ({ sink, lengths, seed }, mutant) => {
      const graph = stepsGraph(sink, 127);
      let states: ReturnType<typeof evaluateGraph>["states"] | undefined;
      let past = 0;
      for (const length of lengths) {
        const data = normalArray(length * width, seed + past);
        const run = evaluateGraph(
          graph,
          { x: floatTensor([1, length, width], data) },
          states === undefined ? {} : { states },
        );
        states = run.states;
        numbers(run.outputs.steps).forEach((step, t) => {
          const position = mutant === "position without past" ? t : past + t;
          const last = mutant === "one more position" ? sink + 1 : sink;
          const largest = Math.max(...data.subarray(t * width, (t + 1) * width).map(Math.abs));
          const own = position < last && mutant !== "the static step everywhere";
          assert.equal(step, own ? Math.fround(largest / 127) : 0.25, `run at ${past}, row ${t}`);
        });
        past += length;
      }
    },
  );
});

Deno.test("withoutFirst drops positions along any axis and keeps the last", () => {
  const tensor = floatTensor([2, 3, 2], Float32Array.from({ length: 12 }, (_, index) => index));
  assert.deepEqual(withoutFirst(tensor, 1, 1), floatTensor([2, 2, 2], [2, 3, 4, 5, 8, 9, 10, 11]));
  assert.deepEqual(withoutFirst(tensor, 1, 9), floatTensor([2, 1, 2], [4, 5, 10, 11]));
  assert.deepEqual(withoutFirst(tensor, 0, 1).shape, [1, 3, 2]);
});

Deno.test("positions run along the one axis that grows with the text", () => {
  const positions = positionsOf(randomDecoder({}, 1));
  assert.ok(positions !== undefined);
  assert.deepEqual([positions.fromPast, positions.context], [true, 32]);
  assert.equal(positionAxis([1, symbolic("seq"), 16], positions), 1);
  assert.equal(positionAxis([1, symbolic("total"), 16], positions), undefined);
  assert.equal(positionAxis([symbolic("seq"), symbolic("seq")], positions), undefined);
});

/**
 * A decoder in which the text's first token alone excites one channel of the first down projection, some hundreds of
 * times more than all others: residual channel 3 belongs to that token, and gate and up read it by large weights.
 */
function massiveDecoder(seed: number): Graph {
  const graph = randomDecoder({ tiedHead: false }, seed);
  const [first] = decoderText().ids.data;
  const changes: Readonly<Record<string, (data: Float32Array, columns: number) => void>> = {
    "embedding": (data, columns) => {
      for (let at = 3; at < data.length; at += columns) data[at] = Math.floor(at / columns) === first ? 8 : 0;
    },
    "layer.0.output": (data, columns) => data.fill(0, 3 * columns, 4 * columns),
    "layer.0.gate": (data) => data[3] = 12,
    "layer.0.up": (data) => data[3] = 12,
  };
  const nodes = graph.nodes.map((node) => {
    const change = changes[node.outputs[0]];
    if (node.op !== "constant" || change === undefined) return node;
    const tensor = graph.constants.get(node.attributes.hash);
    const data = numbers(tensor).slice();
    change(data, tensor.shape[1]);
    return { ...node, attributes: { hash: graph.constants.add(floatTensor(tensor.shape, data)) } };
  });
  return { ...graph, nodes };
}

async function run(graph: Graph, steps: readonly (readonly [Pass, Readonly<Record<string, Json>>])[]): Promise<Graph> {
  let current = graph;
  let context: Omit<PassContext, "options"> = { ...plainContext({}), seed: 3, calibration: [decoderText()] };
  for (const [pass, options] of steps) {
    const result = await pass.run(current, { ...context, options });
    current = result.graph;
    if (result.statistics !== undefined) context = { ...context, statistics: result.statistics };
  }
  return current;
}

const weights = { format: "int8", granularity: "channel", head: "float" };

const recipes = {
  "static activations": (sink: number) =>
    [
      [calibrate, { sink }],
      [quantizeWeights, weights],
      [quantizeActivations, { range: "static", observer: "min-max", sink }],
    ] as const,
  "migrated steps": (sink: number) =>
    [
      [migrateQuantStep, { bits: 8, granularity: "tensor", clip: "none", sink }],
      [quantizeWeights, weights],
      [encodeMigrated, {}],
    ] as const,
  "migrated steps after rotations": (sink: number) =>
    [
      [foldNormGain, {}],
      [rotate, { down: "hadamard" }],
      [migrateQuantStep, { bits: 8, granularity: "channel", clip: "none", sink }],
      [quantizeWeights, weights],
      [encodeMigrated, {}],
    ] as const,
};

/** Signal to noise of the logits behind the first token. */
function quality(reference: Graph, graph: Graph): number {
  const rows = (of: Graph) => {
    const logits = numbers(evaluateGraph(of, decoderText()).outputs.logits);
    return logits.slice(logits.length / decoderTokens);
  };
  return sqnr(rows(reference), rows(graph));
}

for (const [name, steps] of Object.entries(recipes)) {
  Deno.test(`${name}: a step of its own for a massive first token wins later rows a bit at least`, async () => {
    const graph = massiveDecoder(2);
    const without = quality(graph, await run(graph, steps(0)));
    const withSink = quality(graph, await run(graph, steps(1)));
    // One bit more is 6 dB; the first token alone takes several bits of the range.
    assert.ok(withSink > without + 6, `${withSink} dB with, ${without} dB without a sink`);
  });

  Deno.test(`${name}: a text in two runs gives the logits of one run, bit for bit`, async () => {
    const graph = await run(massiveDecoder(2), steps(1));
    const { ids } = decoderText();
    const part = (from: number, to: number) => ({ ids: plainTensor("i32", [1, to - from], ids.data.slice(from, to)) });
    const whole = numbers(evaluateGraph(graph, { ids }).outputs.logits);
    const first = evaluateGraph(graph, part(0, 3));
    const rest = numbers(evaluateGraph(graph, part(3, ids.data.length), { states: first.states }).outputs.logits);
    assert.deepEqual(rest, whole.slice(whole.length - rest.length));
  });
}
