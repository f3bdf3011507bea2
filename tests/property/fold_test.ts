/** Every fold and raise against its spelled-out form, with the classic mistakes as mutants of the reference. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { binary, type Expression, input, literal, unary } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, isPlain, type PlainTensor, sizeOf } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { type Pass, type PassResult, plainContext } from "../../compiler/rewrite/pass.ts";
import { mergeViews } from "../../passes/cleanup/merge_views.ts";
import { fuseMaps } from "../../passes/cleanup/fuse_maps.ts";
import { foldBatchNorm } from "../../passes/fold/fold_batch_norm.ts";
import { foldBias } from "../../passes/fold/fold_bias.ts";
import { foldPad } from "../../passes/fold/fold_pad.ts";
import { raiseAttention } from "../../passes/raise/raise_attention.ts";
import { raiseNorm } from "../../passes/raise/raise_norm.ts";
import { assertWithMutants } from "../support/mutants.ts";
import { normalArray } from "../support/random.ts";

type Inputs = Readonly<Record<string, PlainTensor<"f32">>>;

function random(shape: readonly number[], seed: number): PlainTensor<"f32"> {
  return floatTensor(shape, normalArray(sizeOf(shape), seed));
}

function outputs(graph: Graph, inputs: Inputs): Float32Array {
  const { y } = evaluateGraph(graph, inputs).outputs;
  assert.ok(isPlain(y, "f32"));
  return y.data;
}

/** Applies a pass that must rewrite at least once, and leave no node with `gone`. */
function rewritten(pass: Pass, graph: Graph, gone: readonly string[]): Graph {
  const result = pass.run(graph, plainContext());
  assert.ok(!(result instanceof Promise));
  // The assertion above leaves PassResult alone; the checker keeps the union.
  const { applied, graph: after } = result as PassResult;
  assert.ok(applied.length > 0, `${pass.name} did not fire`);
  for (const node of after.nodes) assert.ok(!gone.includes(node.op), `${node.op} is left`);
  return after;
}

function assertWithin(actual: Float32Array, wanted: Float32Array, bound: number): void {
  assert.equal(actual.length, wanted.length);
  actual.forEach((value, index) =>
    assert.ok(Math.abs(value - wanted[index]) <= bound, `${value} ${wanted[index]} ${bound}`)
  );
}

const unit = 2 ** -24;

function largest(...tensors: readonly { readonly data: Float32Array }[]): number {
  return tensors.reduce(
    (product, { data }) => product * data.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
    1,
  );
}

interface ContractionPlan {
  readonly kind: "conv" | "matmul" | "transposedMatmul" | "convTranspose";
  readonly groups: number;
  readonly seed: number;
}

const contractionPlans: fc.Arbitrary<ContractionPlan> = fc.record({
  kind: fc.constantFrom("conv", "matmul", "transposedMatmul", "convTranspose"),
  groups: fc.constantFrom(1, 2),
  seed: fc.integer({ min: 1, max: 1000 }),
});

/** A contraction of 4 input channels into 6 with a bias, then y = contraction * scale + shift. */
function scaled(
  plan: ContractionPlan,
  parts: { readonly bias: PlainTensor<"f32">; readonly scale: PlainTensor<"f32">; readonly shift: PlainTensor<"f32"> },
): { readonly graph: Graph; readonly inputs: Inputs; readonly terms: number } {
  const builder = new GraphBuilder("scaled");
  const isMatmul = plan.kind === "matmul" || plan.kind === "transposedMatmul";
  const xShape = isMatmul ? [3, 4] : [1, 4, 5, 5];
  const x = builder.input("x", tensorType("f32", xShape));
  const bias = builder.constant(parts.bias);
  const contraction = addContraction(builder, plan, x, bias);
  const along = (tensor: PlainTensor<"f32">) =>
    builder.constant(isMatmul ? tensor : { ...tensor, shape: [tensor.shape[0], 1, 1] });
  const line = binary("add", binary("mul", input(0), input(1)), input(2));
  builder.output("y", builder.map(line, [contraction, along(parts.scale), along(parts.shift)]));
  return { graph: builder.finish(), inputs: { x: random(xShape, plan.seed) }, terms: isMatmul ? 4 : 36 };
}

function addContraction(builder: GraphBuilder, plan: ContractionPlan, x: ValueName, bias: ValueName): ValueName {
  const { kind, groups, seed } = plan;
  const result = { kind: "real" } as const;
  if (kind === "matmul" || kind === "transposedMatmul") {
    const transposeB = kind === "transposedMatmul";
    const w = builder.constant(random(transposeB ? [6, 4] : [4, 6], seed + 1));
    return builder.add("matmul", [x, w, bias], { transposeB, hasBias: true, result });
  }
  const window = { strides: [1, 1], dilations: [1, 1], pads: [1, 0, 1, 0], groups };
  if (kind === "convTranspose") {
    const w = builder.constant(random([4, 6 / groups, 3, 3], seed + 1));
    return builder.add("convTranspose", [x, w, bias], { ...window, outputPadding: [0, 0] });
  }
  const w = builder.constant(random([6, 4 / groups, 3, 3], seed + 1));
  return builder.add("conv", [x, w, bias], { ...window, layout: "channelsFirst", hasBias: true, result });
}

Deno.test("fold-batch-norm folds scale and shift into every kind of contraction", () => {
  const mutants = ["scale in another order", "shift dropped", "bias not scaled", "scale dropped"] as const;
  assertWithMutants(contractionPlans, mutants, (plan, mutant) => {
    const [bias, scale, shift] = [2, 3, 4].map((offset) => random([6], plan.seed + offset));
    const original = scaled(plan, { bias, scale, shift });
    const folded = rewritten(foldBatchNorm, original.graph, ["map"]);
    const faulty = {
      bias: mutant === "bias not scaled" ? quotient(bias, scale) : bias,
      scale: mutant === "scale in another order" ? reversed(scale) : mutant === "scale dropped" ? ones(scale) : scale,
      shift: mutant === "shift dropped" ? zeros(shift) : shift,
    };
    const wanted = outputs(scaled(plan, faulty).graph, original.inputs);
    // Each of the terms, the bias, the scale and the shift rounds at most twice in either form.
    const size = original.terms * 16 * largest(scale, original.inputs.x) + largest(bias, scale) + largest(shift);
    assertWithin(outputs(folded, original.inputs), wanted, (4 * original.terms + 16) * unit * size);
  });
});

function reversed(tensor: PlainTensor<"f32">): PlainTensor<"f32"> {
  return { ...tensor, data: tensor.data.slice().reverse() };
}

function zeros(tensor: PlainTensor<"f32">): PlainTensor<"f32"> {
  return { ...tensor, data: tensor.data.map(() => 0) };
}

function ones(tensor: PlainTensor<"f32">): PlainTensor<"f32"> {
  return { ...tensor, data: tensor.data.map(() => 1) };
}

function quotient(a: PlainTensor<"f32">, b: PlainTensor<"f32">): PlainTensor<"f32"> {
  return { ...a, data: a.data.map((value, index) => value / b.data[index]) };
}

Deno.test("fold-bias adds to a bias that is there", () => {
  assertWithMutants(contractionPlans, ["bias replaced", "shift dropped"], (plan, mutant) => {
    const [bias, shift] = [2, 4].map((offset) => random([6], plan.seed + offset));
    const original = scaled(plan, { bias, scale: ones(bias), shift });
    const folded = rewritten(foldBias, original.graph, ["map"]);
    const wanted = outputs(
      scaled(plan, {
        bias: mutant === "bias replaced" ? zeros(bias) : bias,
        scale: ones(bias),
        shift: mutant === "shift dropped" ? zeros(shift) : shift,
      }).graph,
      original.inputs,
    );
    const size = original.terms * 16 * largest(original.inputs.x) + largest(bias) + largest(shift);
    assertWithin(outputs(folded, original.inputs), wanted, (4 * original.terms + 16) * unit * size);
  });
});

const padPlans = fc.record({
  before: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 })),
  after: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 })),
  own: fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 1 })),
  seed: fc.integer({ min: 1, max: 1000 }),
}).filter(({ before, after }) => before.join() !== after.join());

Deno.test("fold-pad keeps begins and ends apart and adds to the convolution's own padding", () => {
  assertWithMutants(padPlans, ["begins and ends swapped", "axes swapped", "own padding dropped"], (plan, mutant) => {
    const build = (before: readonly number[], after: readonly number[], own: readonly number[]) => {
      const builder = new GraphBuilder("pad");
      const x = builder.input("x", tensorType("f32", [1, 2, 5, 5]));
      const padded = builder.add("pad", [x], { before: [0, 0, ...before], after: [0, 0, ...after], mode: "constant" });
      const w = builder.constant(random([3, 2, 2, 2], plan.seed));
      builder.output(
        "y",
        builder.add("conv", [padded, w], {
          strides: [1, 1],
          dilations: [1, 1],
          pads: [...own, 0, 0],
          layout: "channelsFirst",
          groups: 1,
          hasBias: false,
          result: { kind: "real" },
        }),
      );
      return builder.finish();
    };
    const { before, after, own } = plan;
    const x = random([1, 2, 5, 5], plan.seed + 1);
    const faulty = mutant === "begins and ends swapped"
      ? build(after, before, own)
      : mutant === "axes swapped"
      ? build([...before].reverse(), [...after].reverse(), own)
      : build(before, after, mutant === "own padding dropped" ? [0, 0] : own);
    const folded = rewritten(foldPad, build(before, after, own), ["pad"]);
    assert.deepEqual(outputs(folded, { x }), outputs(faulty, { x }));
  });
});

const permutations = fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4, maxLength: 4 });

Deno.test("merge-views composes transposes in their order", () => {
  assertWithMutants(
    fc.tuple(permutations, permutations),
    ["composed the other way round", "inverse"],
    ([p, q], mutant) => {
      const shape = [2, 3, 4, 5];
      const build = (...orders: readonly (readonly number[])[]) => {
        const builder = new GraphBuilder("transposes");
        let value = builder.input("x", tensorType("f32", shape));
        for (const permutation of orders) value = builder.add("transpose", [value], { permutation });
        const flat = builder.add("reshape", [value], { shape: [120] });
        builder.output("y", builder.map(unary("neg", input(0)), [flat]));
        return builder.finish();
      };
      const x = random(shape, 1);
      const result = mergeViews.run(build(p, q), plainContext());
      assert.ok(!(result instanceof Promise));
      const faulty = mutant === "inverse"
        ? build(p, q.map((_, axis) => q.indexOf(axis)))
        : mutant === "none"
        ? build(p, q)
        : build(q, p);
      assert.deepEqual(outputs((result as PassResult).graph, { x }), outputs(faulty, { x }));
    },
  );
});

Deno.test("fuse-maps keeps operands in their places", () => {
  const plans = fc.record({ seed: fc.integer({ min: 1, max: 1000 }), left: fc.boolean() });
  assertWithMutants(plans, ["operands swapped", "broadcast along another axis"], ({ seed, left }, mutant) => {
    const build = (swapped: boolean, row: boolean) => {
      const builder = new GraphBuilder("maps");
      const x = builder.input("x", tensorType("f32", [3, 3]));
      const c = builder.constant({ ...random([3], seed), shape: row ? [3, 1] : [3] });
      const inner = builder.map(binary("sub", input(0), input(1)), left ? [x, c] : [c, x]);
      const operands = swapped ? [x, inner] : [inner, x];
      builder.output("y", builder.map(binary("sub", input(0), binary("mul", input(1), literal(2))), operands));
      return builder.finish();
    };
    const x = random([3, 3], seed + 1);
    const fused = rewritten(fuseMaps, build(false, false), []);
    assert.equal(fused.nodes.filter((node) => node.op === "map").length, 1);
    const faulty = build(mutant === "operands swapped", mutant === "broadcast along another axis");
    assert.deepEqual(outputs(fused, { x }), outputs(faulty, { x }));
  });
});

interface NormPlan {
  readonly kind: "layer" | "rms";
  readonly root: "sqrt" | "power" | "reciprocal";
  readonly seed: number;
}

/** A norm over the last 16 entries, as exporters spell it. */
function spelledNorm(plan: NormPlan, count: number, epsilonInside: boolean, centred: boolean): Graph {
  const builder = new GraphBuilder("norm");
  const x = builder.input("x", tensorType("f32", [4, 16]));
  const mean = (value: ValueName) => {
    const sum = builder.add("reduce", [value], { kind: "sum", axes: [1], keepAxes: true });
    return builder.map(binary("div", input(0), literal(count)), [sum]);
  };
  const difference = centred ? builder.map(binary("sub", input(0), input(1)), [x, mean(x)]) : x;
  const variance = mean(builder.map(binary("pow", input(0), literal(2)), [difference]));
  const inside = epsilonInside ? builder.map(binary("add", input(0), literal(0.125)), [variance]) : variance;
  const rooted: Expression = plan.root === "power" ? binary("pow", input(0), literal(-0.5)) : unary("sqrt", input(0));
  const root = builder.map(rooted, [inside]);
  const shifted = epsilonInside ? root : builder.map(binary("add", input(0), literal(0.125)), [root]);
  const divided = plan.root === "power"
    ? builder.map(binary("mul", input(0), input(1)), [difference, shifted])
    : plan.root === "sqrt"
    ? builder.map(binary("div", input(0), input(1)), [difference, shifted])
    : builder.map(binary("mul", binary("div", literal(1), input(1)), input(0)), [difference, shifted]);
  const gained = builder.map(binary("mul", input(0), input(1)), [divided, builder.constant(random([16], plan.seed))]);
  builder.output(
    "y",
    builder.map(binary("add", input(0), input(1)), [gained, builder.constant(random([16], plan.seed + 1))]),
  );
  return builder.finish();
}

Deno.test("raise-norm raises layer and rms norms in every spelling", () => {
  const plans: fc.Arbitrary<NormPlan> = fc.record({
    kind: fc.constantFrom("layer", "rms"),
    root: fc.constantFrom("sqrt", "power", "reciprocal"),
    seed: fc.integer({ min: 1, max: 1000 }),
  });
  const mutants = ["divided by n - 1", "epsilon outside the root", "mean kept or taken", "gain dropped"] as const;
  assertWithMutants(plans, mutants, (plan, mutant) => {
    const isLayer = plan.kind === "layer";
    const raised = rewritten(raiseNorm, spelledNorm(plan, 16, true, isLayer), ["reduce", "map"]);
    const x = random([4, 16], plan.seed + 2);
    const reference = mutant === "gain dropped"
      ? spelledNorm({ ...plan, seed: plan.seed + 500 }, 16, true, isLayer)
      : spelledNorm(
        plan,
        mutant === "divided by n - 1" ? 15 : 16,
        mutant !== "epsilon outside the root",
        mutant === "mean kept or taken" ? !isLayer : isLayer,
      );
    // The quotient is at most x's largest entry over sqrt(epsilon); sums of 16 terms round 16 times.
    const quotientBound = 2 * largest(x) / Math.sqrt(0.125);
    const bound = (4 * 16 + 32) * unit * (quotientBound * largest(random([16], plan.seed)) + 8);
    assertWithin(outputs(raised, { x }), outputs(reference, { x }), bound);
  });
});

interface AttentionPlan {
  readonly seed: number;
  readonly masked: boolean;
  readonly repeats: 1 | 2;
  readonly divides: boolean;
}

interface AttentionFault {
  readonly scale: number;
  readonly maskSign: 1 | -1;
  readonly tiled: boolean;
}

/** Attention of 4 heads over 2 or 4 key heads, spelled out with the heads outside. */
function spelledAttention(plan: AttentionPlan, fault: AttentionFault): Graph {
  const builder = new GraphBuilder("attention");
  const heads = 4;
  const groups = heads / plan.repeats;
  const q = builder.input("q", tensorType("f32", [1, 3, heads, 8]));
  const k = builder.input("k", tensorType("f32", [1, 5, groups, 8]));
  const v = builder.input("v", tensorType("f32", [1, 5, groups, 8]));
  const outside = (value: ValueName) => builder.add("transpose", [value], { permutation: [0, 2, 1, 3] });
  const repeated = (value: ValueName) => {
    if (plan.repeats === 1) return value;
    const [single, whole] = fault.tiled
      ? [[1, 1, groups, 5, 8], [1, plan.repeats, groups, 5, 8]]
      : [[1, groups, 1, 5, 8], [1, groups, plan.repeats, 5, 8]];
    const split = builder.add("reshape", [value], { shape: single });
    return builder.add("reshape", [builder.add("expand", [split], { shape: whole })], { shape: [1, heads, 5, 8] });
  };
  const keys = builder.add("transpose", [repeated(outside(k))], { permutation: [0, 1, 3, 2] });
  const plain = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;
  const product = builder.add("matmul", [outside(q), keys], plain);
  const scaledProduct = builder.map(
    plan.divides ? binary("div", input(0), literal(1 / fault.scale)) : binary("mul", literal(fault.scale), input(0)),
    [product],
  );
  const mask = builder.constant(random([1, 1, 3, 5], plan.seed));
  const scores = plan.masked
    ? builder.map(binary(fault.maskSign === 1 ? "add" : "sub", input(0), input(1)), [scaledProduct, mask])
    : scaledProduct;
  const weights = builder.add("softmax", [scores], { axis: 3 });
  const mixed = builder.add("matmul", [weights, repeated(outside(v))], plain);
  builder.output("y", builder.map(unary("neg", input(0)), [outside(mixed)]));
  return builder.finish();
}

Deno.test("raise-attention raises scaled, masked and grouped attention", () => {
  const plans: fc.Arbitrary<AttentionPlan> = fc.record({
    seed: fc.integer({ min: 1, max: 1000 }),
    masked: fc.boolean(),
    repeats: fc.constantFrom(1, 2),
    divides: fc.boolean(),
  });
  const mutants = ["scale inverted", "mask subtracted", "heads tiled instead of repeated"] as const;
  assertWithMutants(plans, mutants, (plan, mutant) => {
    const right: AttentionFault = { scale: 0.25, maskSign: 1, tiled: false };
    const raised = rewritten(raiseAttention, spelledAttention(plan, right), ["softmax", "matmul", "expand"]);
    const groups = 4 / plan.repeats;
    const inputs = {
      q: random([1, 3, 4, 8], plan.seed + 1),
      k: random([1, 5, groups, 8], plan.seed + 2),
      v: random([1, 5, groups, 8], plan.seed + 3),
    };
    const reference = spelledAttention(plan, {
      scale: mutant === "scale inverted" ? 4 : 0.25,
      maskSign: mutant === "mask subtracted" ? -1 : 1,
      tiled: mutant === "heads tiled instead of repeated",
    });
    // Scores of 8 terms are off by (8 + 4) u of their magnitude, weights by twice that and (5 + 4) u, sums of 5 by 5 u more.
    const scoreError = 12 * unit * (8 * 0.25 * largest(inputs.q, inputs.k) + 4);
    const bound = (2 * scoreError + 24 * unit) * 5 * largest(inputs.v);
    assertWithin(outputs(raised, inputs), outputs(reference, inputs), bound);
  });
});
