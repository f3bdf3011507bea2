/** The passes that prepare a graph leave its function as it was: exactly, or within the forward error bound. */

import assert from "node:assert/strict";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { floatTensor, isPlain, type Tensor } from "../../compiler/ir/tensor.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { type Pass, type PassResult, plainContext } from "../../compiler/rewrite/pass.ts";
import { preparation } from "../../passes/mod.ts";
import { assertWithMutants } from "../support/mutants.ts";
import { graphPlans, magnitudes, type PlannedGraph, plannedGraph } from "../support/random_graph.ts";

function outputOf(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Float32Array {
  const { y } = evaluateGraph(graph, inputs).outputs;
  assert.ok(isPlain(y, "f32"));
  return y.data;
}

/** All preparation passes are synchronous. */
function run(pass: Pass, graph: Graph): Graph {
  const result = pass.run(graph, plainContext());
  assert.ok(!(result instanceof Promise));
  // The assertion above leaves PassResult alone; the checker keeps the union.
  const { graph: after } = result as PassResult;
  assert.deepEqual(verify(after), []);
  return after;
}

/**
 * |y' - y| <= 2 γ_k M with γ_k = k u / (1 - k u): both graphs compute the same real function, each with at most k roundings
 * on a path, and M bounds the sum of magnitudes (Higham, "Accuracy and Stability", section 3). Folded constants add one
 * rounding each, hence twice the roundings of the graph.
 */
function bounds(planned: PlannedGraph): Float64Array {
  const k = 2 * planned.roundings + 8;
  const unit = 2 ** -24;
  const gamma = k * unit / (1 - k * unit);
  return Float64Array.from(outputOf(planned.magnitude, magnitudes(planned.inputs)), (value) => 2 * gamma * value);
}

function assertWithin(actual: Float32Array, wanted: Float32Array, bound: Float64Array): void {
  assert.equal(actual.length, wanted.length);
  actual.forEach((value, index) => assert.ok(Math.abs(value - wanted[index]) <= bound[index]));
}

/** One entry of the input changed by a share of 2^-10: far above every bound, far below any wrong fold. */
function disturbed(inputs: PlannedGraph["inputs"]): PlannedGraph["inputs"] {
  const data = inputs.x.data.map((value, index) => (index === 0 ? value * (1 + 2 ** -10) + 2 ** -10 : value));
  return { x: floatTensor(inputs.x.shape, data) };
}

for (const pass of new Set(preparation)) {
  Deno.test(`${pass.name} is ${pass.exactness} on random graphs`, () => {
    assertWithMutants(graphPlans, ["disturbed input"], (plan, mutant) => {
      const planned = plannedGraph(plan);
      const given = mutant === "none" ? planned.inputs : disturbed(planned.inputs);
      const wanted = outputOf(planned.graph, given);
      const actual = outputOf(run(pass, planned.graph), planned.inputs);
      if (pass.exactness === "exact") assert.deepEqual(actual, wanted);
      else assertWithin(actual, wanted, bounds(planned));
    }, 60);
  });
}

Deno.test("the whole preparation keeps the function within its bound", () => {
  assertWithMutants(graphPlans, ["disturbed input"], (plan, mutant) => {
    const planned = plannedGraph(plan);
    const given = mutant === "none" ? planned.inputs : disturbed(planned.inputs);
    const prepared = preparation.reduce((graph, pass) => run(pass, graph), planned.graph);
    assertWithin(outputOf(prepared, planned.inputs), outputOf(planned.graph, given), bounds(planned));
  }, 200);
});
