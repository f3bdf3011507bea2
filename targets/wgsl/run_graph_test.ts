import assert from "node:assert/strict";
import { evaluateGraph, StateMemory } from "../../compiler/ir/evaluate/mod.ts";
import { GraphBuilder } from "../../compiler/ir/build.ts";
import {
  binary,
  type BinaryOperator,
  type Expression,
  input,
  unary,
  type UnaryOperator,
} from "../../compiler/ir/expression.ts";
import type { Graph } from "../../compiler/ir/graph.ts";
import { plainTensor, sizeOf, tensorParts } from "../../compiler/ir/tensor.ts";
import { tensorType } from "../../compiler/ir/types.ts";
import { difference, toleranceOf } from "../../tests/conformance/compare.ts";
import { allSamples, randomInputs } from "../../tests/support/op_samples.ts";
import { gpuTest } from "../../tests/support/gpu.ts";
import { uniform } from "../../tests/support/random.ts";
import { lowerWgsl } from "./program.ts";
import { runOnGpu, startOnGpu } from "./run_graph.ts";
import { wgslKernels } from "./select.ts";
import { shaderFile } from "./spec.ts";

for (const { name, graph, runs } of allSamples()) {
  await gpuTest(`${name} on the GPU agrees with the evaluator`, async () => {
    const running = await startOnGpu(graph);
    const states = new StateMemory(graph.states, graph.symbols);
    for (const [index, symbols] of runs.entries()) {
      const inputs = randomInputs(graph, index + 1, symbols);
      const { outputs } = evaluateGraph(graph, inputs, { states });
      const actual = await running.run(inputs);
      // No sum of these graphs has more terms than an input or constant has entries.
      const terms = Math.max(256, ...Object.values(inputs).map(({ shape }) => sizeOf(shape)));
      for (const [output, expected] of Object.entries(outputs)) {
        const parts = tensorParts(actual[output]);
        tensorParts(expected).forEach(({ role, tensor }, part) => {
          assert.equal(parts[part].role, role);
          assert.equal(difference(parts[part].tensor, tensor, toleranceOf(tensor.element, terms)), undefined);
        });
      }
    }
    running.dispose();
  });
}

function mapGraph(expression: Expression, element: "f32" | "f64", operands: number): Graph {
  const b = new GraphBuilder("map");
  const inputs = Array.from({ length: operands }, (_, index) => b.input(`x${index}`, tensorType(element, [count])));
  b.output("y", b.add("map", inputs, { expression }));
  return b.finish();
}

const count = 4096;

/** Random bits: every exponent, subnormal numbers, infinities and NaN among them. */
function randomBits(element: "f32" | "f64", seed: number) {
  const next = uniform(seed);
  const words = Uint32Array.from({ length: element === "f32" ? count : 2 * count }, () => next() * 2 ** 32);
  return element === "f32"
    ? plainTensor("f32", [count], new Float32Array(words.buffer))
    : plainTensor("f64", [count], new Float64Array(words.buffer));
}

const exact: readonly BinaryOperator[] = ["add", "sub", "mul", "div"];

for (const element of ["f32", "f64"] as const) {
  await gpuTest(`sums, products, quotients and roots of ${element} are correctly rounded for random bits`, async () => {
    const operators = element === "f64" ? exact : (["div"] as const);
    const inputs = { x0: randomBits(element, 1), x1: randomBits(element, 2) };
    for (const operator of operators) {
      await assertEqual(mapGraph(binary(operator, input(0), input(1)), element, 2), inputs);
    }
    await assertEqual(mapGraph(unary("sqrt", unary("abs", input(0))), element, 1), { x0: inputs.x0 });
  });
}

async function assertEqual(graph: Graph, inputs: Parameters<typeof runOnGpu>[1]): Promise<void> {
  const [[expected], [actual]] = [
    Object.values(evaluateGraph(graph, inputs).outputs),
    Object.values(await runOnGpu(graph, inputs)),
  ].map((tensors) => tensors.map((tensor) => Array.from(tensorParts(tensor)[0].tensor.data, Number)));
  const wrong = expected.flatMap((value, index) =>
    Object.is(value, actual[index]) ? [] : [[index, value, actual[index]]]
  );
  assert.deepEqual(wrong.slice(0, 3), []);
}

Deno.test("kernels are named after source nodes and no region takes more dispatches than it has dependent loops", () => {
  for (const { name, graph } of allSamples()) {
    const program = lowerWgsl(graph, wgslKernels);
    const text = shaderFile(program);
    for (const shader of program.shaders) {
      assert.ok(text.includes(`// kernel: ${shader.name}\n`), name);
      for (const variant of shader.variants) assert.match(variant.text, new RegExp(`^// .*[^]*fn ${shader.name}\\(`));
      assert.deepEqual(shader.variants[shader.variants.length - 1].needs, [], name);
    }
    assert.ok(program.steps.every(({ windows }) => windows.length <= 6), name);
  }
});

const circular: readonly UnaryOperator[] = [
  ...["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"] as const,
];

await gpuTest(
  "circular and hyperbolic functions of f32 stay within 4 ulp, large arguments of sin, cos and tan too",
  async () => {
    const next = uniform(3);
    const spread = [1, 10, 100];
    const x = plainTensor(
      "f32",
      [count],
      Float32Array.from(
        { length: count },
        (_, index) =>
          index % 4 < 3 ? (2 * next() - 1) * spread[index % 4] : (next() < 0.5 ? -1 : 1) * 2 ** (80 * next() - 40),
      ),
    );
    x.data.set([0, -0, 1, -1, Infinity, -Infinity, NaN, 0.5, -0.5, 1e30, -1e30, 88.9, 89.2, -89.2]);
    for (const operator of circular) {
      const graph = mapGraph(unary(operator, input(0)), "f32", 1);
      const [{ data: wanted }, { data: actual }] = [
        evaluateGraph(graph, { x0: x }).outputs.y,
        (await runOnGpu(graph, { x0: x })).y,
      ].map((tensor) => tensorParts(tensor)[0].tensor);
      for (let index = 0; index < count; index++) {
        const [want, got] = [Number(wanted[index]), Number(actual[index])];
        if (Object.is(want, got) || want === got) continue;
        // An ulp is at most 2^-23 of the number.
        const error = Math.abs(want - got) / Math.max(Math.abs(want), 2 ** -126);
        assert.ok(error <= 4 * 2 ** -23, `${operator}(${x.data[index]}) is ${got}, wants ${want}`);
      }
    }
  },
);

/** Bases and exponents of every size, near 1 and near overflow, whole and not, and the special cases of IEEE 754. */
function powerOperands(): readonly (readonly [number, number])[] {
  const next = uniform(7);
  const special = [0, -0, 1, -1, 2, -2, 0.5, 3, -3, Infinity, -Infinity, NaN, 1e308, -1e308, 5e-324, 2 ** 53 + 2];
  const pairs = special.flatMap((x) => special.map((y) => [x, y] as const));
  const kinds: readonly (() => readonly [number, number])[] = [
    () => [2 ** (2000 * next() - 1000), 4 * next() - 2],
    () => [next() * 100, 300 * next() - 150],
    () => [1 + (next() - 0.5) * 2 ** (-52 * next()), (next() - 0.5) * 2 ** (60 * next())],
    () => [Math.floor(40 * next()) - 20, Math.floor(24 * next()) - 12],
    () => [2 ** (-1022 - 52 * next()), next()],
  ];
  while (pairs.length < count) pairs.push(kinds[pairs.length % kinds.length]());
  return pairs;
}

await gpuTest("powers of f64 stay within 2 ulp, and whole powers that f64 holds are exact", async () => {
  const pairs = powerOperands();
  const operand = (index: 0 | 1) => plainTensor("f64", [count], Float64Array.from(pairs, (pair) => pair[index]));
  const graph = mapGraph(binary("pow", input(0), input(1)), "f64", 2);
  const [{ data }] = tensorParts((await runOnGpu(graph, { x0: operand(0), x1: operand(1) })).y).map((part) =>
    part.tensor
  );
  pairs.forEach(([x, y], index) => {
    const [want, got] = [x ** y, Number(data[index])];
    // JavaScript has NaN where IEEE 754 has 1.
    if (Object.is(want, got) || (Math.abs(x) === 1 && !Number.isFinite(y)) || x === 1) return;
    const isExact = Number.isInteger(x) && Number.isInteger(y) && y > 0 && Math.abs(want) <= 2 ** 53;
    // An ulp is at most 2^-52 of a normal number; the reference errs by one as well.
    const bound = isExact ? 0 : Math.max(2 * 2 ** -52 * Math.abs(want), 2 * 2 ** -1074);
    assert.ok(Math.abs(want - got) <= bound, `${x} ** ${y} is ${got}, wants ${want}`);
  });
});
