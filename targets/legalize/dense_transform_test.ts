import assert from "node:assert/strict";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { symbolic } from "../../compiler/ir/extent.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, isPlain } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { plainContext } from "../../compiler/rewrite/pass.ts";
import { uniform } from "../../tests/support/random.ts";
import { denseTransform } from "./dense_transform.ts";

function graphOf(core: number, doublings: number, stride: number, runs: number): Graph {
  const random = uniform(core);
  const builder = new GraphBuilder("transform");
  builder.symbol("rows", { min: 1, max: 4 });
  const x = builder.input("x", tensorType("f32", [2, symbolic("rows"), core * 2 ** doublings * stride * runs]));
  // Small integers, so that every order of summation gives the same floats.
  const entries = Float32Array.from({ length: core * core }, () => Math.round(6 * random() - 3));
  const matrix = builder.constant(floatTensor([core, core], entries));
  builder.output("y", builder.add("transform", [x, matrix], { doublings, stride }));
  return builder.finish();
}

function outputOf(graph: Graph): Float32Array {
  const width = graph.types.get(graph.inputs[0].value)?.shape[2];
  assert.ok(typeof width === "number");
  const random = uniform(width);
  const x = floatTensor([2, 3, width], Float32Array.from({ length: 6 * width }, () => Math.round(8 * random() - 4)));
  const { y } = evaluateGraph(graph, { x }).outputs;
  assert.ok(isPlain(y, "f32"));
  return y.data;
}

Deno.test("transforms without butterflies over whole vectors become one product, the others stay", async () => {
  for (const [core, doublings, stride, runs] of [[172, 0, 1, 1], [3, 0, 1, 4], [5, 1, 1, 1], [5, 1, 1, 3]]) {
    const graph = graphOf(core, doublings, stride, runs);
    const { graph: after } = await denseTransform.run(graph, plainContext());
    assert.ok(after.nodes.every(({ op }) => op !== "transform"));
    assert.equal(after.nodes.filter(({ op }) => op === "matmul").length, 1);
    assert.deepEqual(outputOf(after), outputOf(graph));
  }
  for (const [core, doublings, stride] of [[1, 4, 1], [3, 2, 1], [3, 0, 8], [5, 1, 4]]) {
    const graph = graphOf(core, doublings, stride, 1);
    assert.equal((await denseTransform.run(graph, plainContext())).applied.length, 0);
  }
});
