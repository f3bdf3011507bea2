import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { OpAttributes } from "../../compiler/ir/node.ts";
import { floatTensor, type PlainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { uniform } from "../../tests/support/random.ts";
import { transposedConvPhases } from "./transposed_conv.ts";

/** Small integers, so that every order of summation gives the same floats. */
function integers(shape: readonly number[], seed: number): PlainTensor<"f32"> {
  const next = uniform(seed);
  return floatTensor(shape, Float32Array.from({ length: sizeOf(shape) }, () => Math.round(6 * next() - 3)));
}

interface Case {
  readonly spatial: readonly number[];
  readonly kernel: readonly number[];
  readonly attributes: OpAttributes["convTranspose"];
  readonly hasBias: boolean;
  readonly seed: number;
}

function graphOf({ spatial, kernel, attributes, hasBias, seed }: Case): Graph {
  const builder = new GraphBuilder("transposed");
  const x = builder.input("x", tensorType("f32", [2, 4, ...spatial]));
  const w = builder.constant(integers([4, 6 / attributes.groups, ...kernel], seed));
  const bias = hasBias ? [builder.constant(integers([6], seed + 1))] : [];
  builder.output("y", builder.add("convTranspose", [x, w, ...bias], attributes));
  return builder.finish();
}

const axisCase = fc.record({
  extent: fc.constantFrom(1, 2, 5),
  kernel: fc.constantFrom(1, 2, 3, 4, 5),
  stride: fc.constantFrom(1, 2, 3),
  dilation: fc.constantFrom(1, 1, 2, 3),
  before: fc.nat(4),
  after: fc.nat(4),
  more: fc.nat(2),
});

const cases: fc.Arbitrary<Case> = fc.record({
  axes: fc.array(axisCase, { minLength: 1, maxLength: 2 }),
  groups: fc.constantFrom(1, 2),
  hasBias: fc.boolean(),
  seed: fc.nat(1000),
}).map(({ axes, groups, hasBias, seed }) => ({
  spatial: axes.map((axis) => axis.extent),
  kernel: axes.map((axis) => axis.kernel),
  attributes: {
    strides: axes.map((axis) => axis.stride),
    dilations: axes.map((axis) => axis.dilation),
    pads: [...axes.map((axis) => axis.before), ...axes.map((axis) => axis.after)],
    outputPadding: axes.map((axis) => Math.min(axis.more, Math.max(axis.stride, axis.dilation) - 1)),
    groups,
  },
  hasBias,
  seed,
})).filter(({ spatial, kernel, attributes: { strides, dilations, pads, outputPadding } }) =>
  spatial.every((extent, axis) =>
    (extent - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1 + outputPadding[axis] - pads[axis] -
        pads[axis + spatial.length] > 0
  )
);

async function rewritten(graph: Graph): Promise<Graph> {
  const result = await transposedConvPhases.run(graph, plainContext());
  assert.deepEqual(verify(result.graph), []);
  return result.graph;
}

Deno.test("transposed-conv-phases leaves a conv that gives the same result, for every stride, dilation, pad and group", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (one) => {
      const graph = graphOf(one);
      const after = await rewritten(graph);
      assert.ok(!after.nodes.some((node) => node.op === "convTranspose"));
      const x = integers([2, 4, ...one.spatial], one.seed + 2);
      assert.deepEqual(evaluateGraph(after, { x }).outputs, evaluateGraph(graph, { x }).outputs);
    }),
    { numRuns: 300 },
  );
});

Deno.test("the property sees a shift by one place", async () => {
  const one: Case = {
    spatial: [5],
    kernel: [4],
    attributes: { strides: [2], dilations: [1], pads: [1, 1], outputPadding: [0], groups: 1 },
    hasBias: true,
    seed: 1,
  };
  const after = await rewritten(graphOf(one));
  const shifted = graphOf({ ...one, attributes: { ...one.attributes, pads: [0, 2] } });
  const x = integers([2, 4, 5], 3);
  assert.notDeepEqual(evaluateGraph(after, { x }).outputs, evaluateGraph(shifted, { x }).outputs);
});

Deno.test("transposed-conv-phases declines weights that are not constant", async () => {
  const builder = new GraphBuilder("dynamic");
  const inputs = [builder.input("x", tensorType("f32", [1, 2, 4])), builder.input("w", tensorType("f32", [2, 3, 2]))];
  const attributes = { strides: [2], dilations: [1], pads: [0, 0], outputPadding: [0], groups: 1 };
  builder.output("y", builder.add("convTranspose", inputs, attributes));
  const graph = builder.finish();
  const result = await transposedConvPhases.run(graph, plainContext());
  assert.deepEqual(result.declined.map(({ reason }) => reason), ["the weights are not constant"]);
  assert.equal(result.graph.nodes.length, graph.nodes.length);
});
