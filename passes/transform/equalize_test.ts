/** Equalization leaves the function unchanged on random conv nets and on real ones; each classic mistake changes it. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { importModel } from "../../compiler/import/mod.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { isStatic } from "../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../compiler/ir/graph.ts";
import { isPlain, type Tensor } from "../../compiler/ir/tensor.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { FloatReference } from "../../compiler/reference/tfjs.ts";
import { type Pass, type PassResult, plainContext } from "../../compiler/rewrite/pass.ts";
import { findRegions } from "../../compiler/rewrite/region/find.ts";
import type { ChannelTensor, Region } from "../../compiler/rewrite/region/region.ts";
import { maxRelativeDifference } from "../../tests/support/compare.ts";
import { sharedTest } from "../../tests/support/models.ts";
import { assertWithMutants } from "../../tests/support/mutants.ts";
import { uniform } from "../../tests/support/random.ts";
import { type GraphPlan, magnitudes, type PlannedGraph, plannedGraph } from "../../tests/support/random_graph.ts";
import { zooFile, zooModel } from "../../tests/support/zoo.ts";
import { preparation } from "../mod.ts";
import { equalize } from "./equalize.ts";
import { liftLimits } from "./lift_limits.ts";
import { scaleRegion } from "./scale_region.ts";
import { WeightEditor } from "./weight_editor.ts";

/** Convolutions in a row, with what may stand between them. */
const convNets: fc.Arbitrary<GraphPlan> = fc.record({
  seed: fc.integer({ min: 1, max: 1 << 20 }),
  steps: fc.array(fc.constantFrom("conv" as const, "depthwise" as const), { minLength: 2, maxLength: 4 }).chain((
    convs,
  ) =>
    fc.array(fc.constantFrom("relu" as const, "limit" as const, "pad" as const, undefined), {
      minLength: convs.length,
      maxLength: convs.length,
    }).map((between) =>
      convs.flatMap((conv, index) => (between[index] === undefined ? [conv] : [conv, between[index]]))
    )
  ),
});

function outputOf(graph: Graph, inputs: Readonly<Record<string, Tensor>>): Float32Array {
  const { y } = evaluateGraph(graph, inputs).outputs;
  assert.ok(isPlain(y, "f32"));
  return y.data;
}

function run(pass: Pass, graph: Graph): PassResult {
  const result = pass.run(graph, plainContext());
  assert.ok(!(result instanceof Promise));
  // The assertion above leaves PassResult alone; the checker keeps the union.
  const made = result as PassResult;
  assert.deepEqual(verify(made.graph), []);
  return made;
}

/**
 * 2 γ_k M as in the tests of preparation: scaling by s and 1 / s leaves every product of the real function as it is, so M bounds
 * the scaled graph's sums too; folding rounds each weight, bias and limit once, which the doubled k covers.
 */
function holds(planned: PlannedGraph, actual: Float32Array, wanted: Float32Array): boolean {
  const k = 2 * planned.roundings + 8;
  const gamma = k * 2 ** -24 / (1 - k * 2 ** -24);
  const bound = outputOf(planned.magnitude, magnitudes(planned.inputs));
  return actual.every((value, index) => Math.abs(value - wanted[index]) <= 2 * gamma * bound[index]);
}

const faults = [
  "forgotten reader",
  "wrong axis of depthwise weights",
  "bias not scaled",
  "limit not scaled",
  "negative factor",
] as const;
type Fault = typeof faults[number];

function convRegions(graph: Graph): readonly Region[] {
  return findRegions(graph).regions.filter(({ kind }) => kind === "convConv");
}

function isDepthwise({ node }: ChannelTensor): boolean {
  return node.op === "conv" && node.attributes.groups > 1;
}

/** Scales every region by random factors, with one mistake. */
function faulty(graph: Graph, fault: Fault, seed: number): Graph {
  const lifted = liftLimits(graph, () => true);
  const editor = new WeightEditor(lifted);
  const next = uniform(seed);
  for (const region of convRegions(lifted)) {
    const factors = Float64Array.from({ length: region.channels }, () => Math.exp(2 * next() - 1));
    if (fault === "negative factor" && region.positiveOnly) factors[0] *= -1;
    const sources = region.sources.filter(({ node, operand }) =>
      !(fault === "bias not scaled" && node.op !== "map" && operand === 2) &&
      !(fault === "limit not scaled" && node.op === "map")
    );
    const sinks = fault === "forgotten reader" ? region.sinks.slice(1) : region.sinks;
    for (const source of sources) editor.scale(source, factors.map((factor) => 1 / factor));
    for (const sink of sinks) {
      const turned = fault === "wrong axis of depthwise weights" && isDepthwise(sink);
      editor.scale(turned ? { ...sink, axis: 1 } : sink, factors);
    }
  }
  return editor.finish();
}

Deno.test("equalize keeps the function of random conv nets within its bound; classic mistakes do not", () => {
  assertWithMutants(convNets, faults, (plan, mutant) => {
    const planned = plannedGraph(plan);
    const changed = mutant === "none" ? run(equalize, planned.graph).graph : faulty(planned.graph, mutant, plan.seed);
    assert.ok(holds(planned, outputOf(changed, planned.inputs), outputOf(planned.graph, planned.inputs)));
  }, 200);
});

Deno.test("regions of random conv nets are found and moved", () => {
  let found = 0;
  fc.assert(
    fc.property(convNets, (plan) => {
      const { graph } = plannedGraph(plan);
      const regions = convRegions(liftLimits(graph, () => true));
      found += regions.length;
      assert.equal(run(equalize, graph).metrics.regions, regions.length);
    }),
    { numRuns: 50 },
  );
  assert.ok(found > 25, `only ${found} regions`);
});

Deno.test("after equalization a channel's weights are as large where it is written as where it is read", () => {
  fc.assert(
    fc.property(convNets, (plan) => {
      const { graph } = run(equalize, plannedGraph(plan).graph);
      const editor = new WeightEditor(graph);
      const largest = (places: readonly ChannelTensor[], channel: number) => {
        let most = 0;
        for (const place of places) {
          const { shape, entries } = editor.tensor(place);
          const inner = shape.slice(place.axis + 1).reduce((product, extent) => product * extent, 1);
          entries.forEach((entry, index) => {
            const at = place.channels[Math.floor(index / inner) % shape[place.axis]];
            if (at === channel) most = Math.max(most, Math.abs(entry));
          });
        }
        return most;
      };
      for (const region of convRegions(graph)) {
        const weights = region.sources.filter(({ node, operand }) => node.op === "conv" && operand === 1);
        for (let channel = 0; channel < region.channels; channel++) {
          const [written, read] = [largest(weights, channel), largest(region.sinks, channel)];
          // Factors settle to e^±1e-4, and each cast to float32 adds 2^-24.
          if (written > 0 && read > 0) assert.ok(Math.abs(Math.log(written / read)) < 1e-3, `${written} and ${read}`);
        }
      }
    }),
    { numRuns: 50 },
  );
});

Deno.test("the engine refuses a negative factor past an activation", () => {
  const { graph } = plannedGraph({ seed: 4, steps: ["conv", "relu", "conv"] });
  const [region] = convRegions(graph);
  assert.ok(region.positiveOnly);
  const factors = new Float64Array(region.channels).fill(-1);
  assert.throws(() => scaleRegion(new WeightEditor(graph), region, factors), /wrong sign/);
});

/**
 * Σ over the contractions of sqrt(K) 2^-24: roundings of a sum of K terms are as good as independent, and the norms
 * that were folded into these nets keep a value's size from layer to layer. Twice that, for both graphs.
 */
function roundingBound(graph: Graph): number {
  const terms = graph.nodes.map((node) => {
    if (node.op !== "conv" && node.op !== "matmul") return 0;
    const { shape } = typeOf(graph, node.inputs[1]);
    const whole = shape.reduce<number>((product, extent) => product * (isStatic(extent) ? extent : 1), 1);
    const [outputs] = node.op === "conv" ? shape : [shape[shape.length - 1]];
    return Math.sqrt(whole / (isStatic(outputs) ? outputs : 1));
  });
  return 2 * 2 ** -24 * terms.reduce((sum, term) => sum + term, 0);
}

for (const [name, regions] of [["resnet20", 9], ["vww-mobilenetv1-025", 27], ["mobilenetv1-025", 27]] as const) {
  const model = zooModel(name);
  sharedTest(`equalize keeps the outputs of ${name}`, [model.path, ...model.data], async () => {
    const imported = await importModel(zooFile(model) ?? "", { bind: model.bind });
    assert.ok(imported.ok);
    const graph = preparation.reduce((before, pass) => run(pass, before).graph, imported.value.graph);
    const equalized = run(equalize, graph);
    assert.ok(equalized.metrics.regions >= regions, `${equalized.metrics.regions} regions`);
    const [sample] = model.samples(1);
    const difference = async (other: Graph) => maxRelativeDifference(await outputs(graph), await outputs(other));
    const outputs = async (which: Graph) => {
      const reference = await FloatReference.create(which);
      const [output] = Object.values(reference.run(sample));
      reference.dispose();
      assert.ok(isPlain(output, "f32"));
      return output.data;
    };
    const moved = await difference(equalized.graph);
    assert.ok(moved <= roundingBound(graph), `${moved} is above ${roundingBound(graph)}`);
    for (const fault of ["forgotten reader", "bias not scaled"] as const) {
      assert.ok(await difference(faulty(graph, fault, 1)) > 100 * roundingBound(graph), fault);
    }
  });
}
