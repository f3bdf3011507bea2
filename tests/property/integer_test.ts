/**
 * Integer arithmetic against the float form that it replaces: codes may differ only where the value before rounding lies
 * within the stated error of a rounding boundary, and then by one.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import { evaluateGraph } from "../../compiler/ir/evaluate/mod.ts";
import { binary, type Expression, input, literal, unary } from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import type { ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, isPlain, type PlainTensor, plainTensor, sizeOf, type Tensor } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { verify } from "../../compiler/ir/verify.ts";
import { int8 } from "../../compiler/numeric/number_format.ts";
import { perTensor } from "../../compiler/numeric/scheme.ts";
import { sweep } from "../../compiler/rewrite/drive.ts";
import { type PassResult, plainContext } from "../../compiler/rewrite/pass.ts";
import { integerArithmetic } from "../../passes/integer/integer_arithmetic.ts";
import { encodeTensor } from "../../passes/quantize/encode_tensor.ts";
import { assertWithMutants } from "../support/mutants.ts";
import { normalArray } from "../support/random.ts";

const shape = [1, 3, 4, 4];

interface Plan {
  readonly seed: number;
  /** What stands between the convolution and the codes. */
  readonly form: "plain" | "relu" | "relu6" | "residual" | "residual relu" | "scaled residual" | "tanh";
  readonly bias: boolean;
  readonly zero: number;
  readonly outStep: number;
  readonly outZero: number;
}

const plans: fc.Arbitrary<Plan> = fc.record({
  seed: fc.integer({ min: 1, max: 100000 }),
  form: fc.constantFrom("plain", "relu", "relu6", "residual", "residual relu", "scaled residual", "tanh"),
  bias: fc.boolean(),
  zero: fc.integer({ min: -128, max: 127 }),
  outStep: fc.constantFrom(0.01, 0.03, 0.11, 0.5),
  outZero: fc.integer({ min: -128, max: 127 }),
});

const static8 = { format: int8, block: perTensor(4), step: "f32", zeroPoint: true, range: "static" } as const;

function grid(builder: GraphBuilder, step: number, zero: number): readonly ValueName[] {
  return [
    builder.constant(floatTensor([1, 1, 1, 1], [step])),
    builder.constant(plainTensor("i32", [1, 1, 1, 1], Int32Array.of(zero))),
  ];
}

const inStep = 0.05;

/** What a mutant of the reference does wrong. */
type Mutant =
  | "none"
  | "zero point dropped"
  | "bias dropped"
  | "steps of the channels turned about"
  | "residual subtracted"
  | "limit lost";

/** quantize(x) -> convolution [-> elementwise] -> quantize, all in float between the codes. */
function floatForm(plan: Plan, mutant: Mutant): Graph {
  const builder = new GraphBuilder("form");
  const x = builder.input("x", tensorType("f32", shape));
  const zero = mutant === "zero point dropped" ? Math.min(127, plan.zero + 9) : plan.zero;
  const codes = builder.add("quantize", [x, ...grid(builder, inStep, plan.zero)], { scheme: static8 });
  const read = mutant === "zero point dropped"
    ? builder.add("fromCodes", [builder.add("toCodes", [codes], {}), ...grid(builder, inStep, zero)], {
      scheme: static8,
      element: "f32",
    })
    : codes;
  const product = convolution(builder, plan, read, mutant);
  const value = between(builder, plan, product, builder.add("dequantize", [codes], {}), mutant);
  const out = builder.add("quantize", [value, ...grid(builder, plan.outStep, plan.outZero)], { scheme: static8 });
  builder.output("y", builder.add("toCodes", [out], {}));
  builder.output("real", builder.map(unary("neg", unary("neg", input(0))), [value]));
  return builder.finish("quant");
}

function convolution(builder: GraphBuilder, plan: Plan, codes: ValueName, mutant: Mutant): ValueName {
  const real = floatTensor(
    [3, 3, 3, 3],
    normalArray(81, plan.seed).map((value, index) => value * (1 + Math.floor(index / 27))),
  );
  const w = encodeTensor(real, {
    scheme: { format: int8, block: [1, "all", "all", "all"], step: "f32", zeroPoint: false, range: "static" },
    clip: "none",
  });
  const steps: PlainTensor<"f32"> = { ...w.steps, data: w.steps.data.slice().reverse() };
  const weights = builder.constant(mutant === "steps of the channels turned about" ? { ...w, steps } : w);
  const hasBias = plan.bias && mutant !== "bias dropped";
  const bias = builder.constant(floatTensor([3], normalArray(3, plan.seed + 1)));
  return builder.add("conv", hasBias ? [codes, weights, bias] : [codes, weights], {
    strides: [1, 1],
    dilations: [1, 1],
    pads: [1, 1, 1, 1],
    layout: "channelsFirst",
    groups: 1,
    hasBias,
    result: { kind: "real" },
  });
}

function between(
  builder: GraphBuilder,
  plan: Plan,
  product: ValueName,
  residual: ValueName,
  mutant: Mutant,
): ValueName {
  const sum = binary(mutant === "residual subtracted" ? "sub" : "add", input(0), input(1));
  const relu = (x: Expression) => (mutant === "limit lost" ? x : binary("max", x, literal(0)));
  switch (plan.form) {
    case "plain":
      return product;
    case "relu":
      return builder.map(relu(input(0)), [product]);
    case "relu6":
      return builder.map(binary("min", relu(input(0)), literal(6)), [product]);
    case "residual":
      return builder.map(sum, [product, residual]);
    case "residual relu":
      return builder.map(relu(sum), [residual, product]);
    case "scaled residual":
      return builder.map(binary("add", binary("mul", input(1), literal(0.3)), binary("sub", literal(0.7), input(0))), [
        product,
        residual,
      ]);
    case "tanh":
      return builder.map(unary("tanh", input(0)), [product]);
  }
}

/** The pass's result for the output `y` alone: the other one reads the float value, which would keep it. */
function integerForm(plan: Plan): Graph {
  const graph = floatForm(plan, "none");
  const { graph: codesOnly } = sweep(Object.freeze({ ...graph, outputs: graph.outputs.slice(0, 1) }), []);
  const result = integerArithmetic.run(codesOnly, plainContext());
  assert.ok(!(result instanceof Promise));
  // The assertion above leaves PassResult alone; the checker keeps the union.
  const { graph: after, applied } = result as PassResult;
  assert.equal(applied.length, 1);
  assert.deepEqual(verify(after), []);
  assert.ok(!after.nodes.some((node) => node.op === "dequantize"), "a dequantize is left");
  assert.equal(after.nodes.filter((node) => node.op === "quantize").length, 1);
  return after;
}

function codesOf(tensor: Tensor): Int8Array {
  assert.ok(isPlain(tensor, "i8"));
  return tensor.data;
}

/**
 * Steps of the result that the two forms may lie apart before the last rounding. The bias is rounded to a unit of
 * inStep * weightStep. Fixed point keeps at least 13 bits: a factor is off by 2^-14 for each of at most 255 steps, and
 * two more terms round. Each form rounds f32 at most eight times; a value within 256 steps of the result is a sum of
 * terms no larger than that and the residual's 256 input steps.
 */
function slack({ form, outStep }: Plan, weightStep: number): number {
  const bias = 0.5 * inStep * weightStep / outStep;
  const fixedPoint = form.includes("residual") ? (255 / 2 + 1) * 2 ** -13 : 0;
  const float = 8 * 2 ** -24 * 256 * (1 + inStep / outStep);
  return bias + fixedPoint + float;
}

Deno.test("integer arithmetic gives the codes of the float form, but for values at a rounding boundary", () => {
  const mutants = [
    "zero point dropped",
    "bias dropped",
    "steps of the channels turned about",
    "residual subtracted",
    "limit lost",
  ] as const;
  assertWithMutants(plans, mutants, (plan, mutant: Mutant) => {
    const x = floatTensor(shape, normalArray(sizeOf(shape), plan.seed + 2));
    const wanted = evaluateGraph(floatForm(plan, mutant), { x }).outputs;
    const actual = codesOf(evaluateGraph(integerForm(plan), { x }).outputs.y);
    assert.ok(isPlain(wanted.real, "f32"));
    const real = wanted.real.data;
    const codes = codesOf(wanted.y);
    actual.forEach((code, index) => {
      if (code === codes[index]) return;
      const place = real[index] / plan.outStep;
      const boundary = Math.abs(place - Math.floor(place) - 0.5);
      assert.equal(Math.abs(code - codes[index]), 1, `${code} for ${codes[index]}`);
      // Weights are normal times at most 3: 5 sigma over 127 codes.
      assert.ok(boundary <= slack(plan, 15 / 127), `${code} for ${codes[index]} at ${place}`);
    });
  }, 300);
});

Deno.test("an average of codes and a sum along axes are exact before their one rounding", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 10000 }), fc.integer({ min: -128, max: 127 }), (seed, zero) => {
    const outStep = 0.013;
    const build = (withReals: boolean) => {
      const builder = new GraphBuilder("averages");
      const x = builder.input("x", tensorType("f32", shape));
      const codes = builder.add("quantize", [x, ...grid(builder, inStep, zero)], { scheme: static8 });
      const decoded = builder.add("dequantize", [codes], {});
      const pooled = builder.add("pool", [decoded], {
        kind: "average",
        kernel: [2, 2],
        strides: [2, 2],
        dilations: [1, 1],
        pads: [0, 0, 0, 0],
        layout: "channelsFirst",
        outputExtents: [2, 2],
        countPadding: false,
        norm: 2,
      });
      const sum = builder.add("reduce", [decoded], { kind: "sum", axes: [2, 3], keepAxes: true });
      const mean = builder.map(binary("div", input(0), literal(16)), [sum]);
      [pooled, mean].forEach((value, index) => {
        const out = builder.add("quantize", [value, ...grid(builder, outStep, 5)], { scheme: static8 });
        builder.output(`y${index}`, builder.add("toCodes", [out], {}));
        if (withReals) builder.output(`real${index}`, value);
      });
      return builder.finish("quant");
    };
    const result = integerArithmetic.run(build(false), plainContext());
    assert.ok(!(result instanceof Promise));
    const after = (result as PassResult).graph;
    assert.ok(!after.nodes.some((node) => node.op === "dequantize" || node.op === "pool"));
    const x = floatTensor(shape, normalArray(sizeOf(shape), seed));
    const wanted = evaluateGraph(build(true), { x }).outputs;
    const actual = evaluateGraph(after, { x }).outputs;
    // Each form rounds f32 at most eight times values of at most 256 input steps: a code may tip at a boundary alone.
    const nearness = 8 * 2 ** -24 * 256 * (1 + inStep / outStep);
    for (const index of [0, 1]) {
      const real = wanted[`real${index}`];
      assert.ok(isPlain(real, "f32"));
      const [a, b] = [codesOf(wanted[`y${index}`]), codesOf(actual[`y${index}`])];
      a.forEach((code, place) => {
        if (code === b[place]) return;
        const steps = real.data[place] / outStep;
        const boundary = Math.abs(steps - Math.floor(steps) - 0.5);
        assert.equal(Math.abs(code - b[place]), 1, `${b[place]} for ${code}`);
        assert.ok(boundary <= nearness, `${b[place]} for ${code} at ${steps}`);
      });
    }
  }));
});
