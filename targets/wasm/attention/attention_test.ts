import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { evaluateGraph } from "../../../compiler/ir/evaluate/mod.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import type { OpAttributes } from "../../../compiler/ir/node.ts";
import { type PlainTensor, plainTensor, sizeOf, type Tensor, typeOfTensor } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { intFormat } from "../../../compiler/numeric/number_format.ts";
import { perToken } from "../../../compiler/numeric/scheme.ts";
import { uniform } from "../../../tests/support/random.ts";
import { randomFloats, randomQuantized, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { wasmVariants } from "../kernel.ts";
import { mathLibrary } from "../math/library.ts";
import { lowerWasm } from "../program.ts";
import { startProgram } from "../run_program.ts";
import { selectKernel } from "../select.ts";
import { selectAttention } from "./select.ts";

const cases = fc.record({
  batch: fc.integer({ min: 1, max: 2 }),
  length: fc.integer({ min: 1, max: 7 }),
  keys: fc.integer({ min: 1, max: 23 }),
  groups: fc.integer({ min: 1, max: 3 }),
  shared: fc.integer({ min: 1, max: 6 }),
  width: fc.integer({ min: 1, max: 21 }),
  valueWidth: fc.integer({ min: 1, max: 37 }),
  causal: fc.boolean(),
  softcap: fc.constantFrom(0, 2),
  window: fc.constantFrom(0, 0, 1, 3, 9),
  mask: fc.constantFrom<"none" | "bool" | "f32">("none", "bool", "f32"),
  maskAxes: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
  seed: fc.nat(),
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

interface Operands {
  readonly q: PlainTensor<"f32">;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly mask?: PlainTensor;
}

function operandsOf(of: Case): Operands {
  const random = uniform(of.seed);
  const heads = of.groups * of.shared;
  const full = [of.batch, heads, of.length, of.keys];
  const shape = full.map((extent, axis) => (of.maskAxes[axis] ? extent : 1));
  const bits = Uint8Array.from({ length: sizeOf(shape) }, () => (random() < 0.7 ? 1 : 0));
  return {
    q: randomFloats(random, [of.batch, of.length, heads, of.width]),
    k: randomFloats(random, [of.batch, of.keys, of.groups, of.width]),
    v: randomFloats(random, [of.batch, of.keys, of.groups, of.valueWidth]),
    mask: of.mask === "none"
      ? undefined
      : of.mask === "f32"
      ? randomFloats(random, shape)
      : plainTensor("bool", shape, bits),
  };
}

function graphOf(operands: Operands, attributes: OpAttributes["attention"]) {
  const builder = new GraphBuilder("attention");
  const values = Object.entries(operands).flatMap(([name, tensor]) =>
    tensor === undefined ? [] : [builder.input(name, typeOfTensor(tensor))]
  );
  builder.output("y", builder.add("attention", values, attributes));
  return builder.finish("quant");
}

function floats(tensor: Tensor): Float32Array {
  assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
  return tensor.data;
}

const unit = 2 ** -24;

/**
 * A bound on |y - exact| for |q|, |k|, |v|, |mask| <= 1: scores err by delta, so weights by a factor of e^(2 delta) and
 * the exponential's own 4 ulps, and two sums of S terms follow; y is a mean of values of at most 1.
 */
function boundOf(of: Pick<Case, "width" | "softcap" | "keys">, scale: number): number {
  const gamma = (count: number): number => count * unit / (1 - count * unit);
  const score = Math.min(scale * of.width, of.softcap === 0 ? Infinity : of.softcap);
  const delta = gamma(of.width + 4) * scale * of.width + of.softcap * 8 * unit + unit * (score + 1);
  return 2 * (Math.expm1(2 * delta + 2 * unit * (score + 1)) + 4 * unit) + 2 * gamma(of.keys + 6);
}

Deno.test("attention stays within its rounding bound for any heads, masks, windows and tails", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (of) => {
      const scale = 0.75;
      const { causal, softcap, window } = of;
      const operands = operandsOf(of);
      const graph = graphOf(operands, { scale, causal, softcap, window });
      const inputs = Object.fromEntries(Object.entries(operands).filter(([, tensor]) => tensor !== undefined));
      const run = await runKernels(graph, inputs, selectAttention, mathLibrary);
      const bound = boundOf(of, scale);
      for (const variant of wasmVariants) {
        const wanted = floats(run.expected.y);
        floats(run.actual[variant].y).forEach((value, index) =>
          assert.ok(Math.abs(value - wanted[index]) <= bound, `${variant}[${index}]: ${value} for ${wanted[index]}`)
        );
      }
    }),
    { numRuns: 80 },
  );
});

const cacheForms = fc.record({
  bits: fc.constantFrom(2, 4, 8),
  signed: fc.boolean(),
  zeroPoint: fc.boolean(),
  /** Vectors of a row that share a step, where they fill it; the whole row otherwise. */
  blockVectors: fc.integer({ min: 0, max: 3 }),
});

type CacheForm = typeof cacheForms extends fc.Arbitrary<infer T> ? T : never;

/** Codes of a cache whose entries are at most 1. */
function coded(random: () => number, shape: readonly number[], form: CacheForm | undefined): Tensor {
  if (form === undefined) return randomFloats(random, shape);
  const { bits, signed, zeroPoint, blockVectors } = form;
  const rows = perToken(4);
  const isEven = blockVectors > 0 && shape[3] % (4 * blockVectors) === 0;
  const block = !isEven ? rows : [...rows.slice(0, 3), 4 * blockVectors];
  const tensor = randomQuantized(random, shape, {
    format: intFormat(bits, signed),
    block,
    step: "f32",
    zeroPoint,
    range: "dynamic",
  });
  const steps = tensor.steps.data.map(() => (0.1 + 0.9 * random()) / 2 ** bits);
  return { ...tensor, steps: plainTensor("f32", tensor.steps.shape, steps) };
}

Deno.test("attention over caches of codes stays within the bound of attention over what they stand for", async () => {
  const forms = fc.tuple(cases, fc.option(cacheForms, { nil: undefined }), cacheForms, fc.boolean());
  await fc.assert(
    fc.asyncProperty(forms, async ([of, first, second, swap]) => {
      const random = uniform(of.seed + 1);
      const [keyForm, valueForm] = swap ? [second, first] : [first, second];
      const [width, valueWidth] = swap ? [of.width, of.valueWidth] : [8, 24];
      const plain = operandsOf({ ...of, width, valueWidth });
      const operands: Operands = {
        ...plain,
        k: coded(random, [of.batch, of.keys, of.groups, width], keyForm),
        v: coded(random, [of.batch, of.keys, of.groups, valueWidth], valueForm),
      };
      const { causal, softcap, window } = of;
      const graph = graphOf(operands, { scale: 0.75, causal, softcap, window });
      const inputs = Object.fromEntries(Object.entries(operands).filter(([, tensor]) => tensor !== undefined));
      const run = await runKernels(graph, inputs, selectAttention, mathLibrary);
      const bound = boundOf({ ...of, width }, 0.75);
      for (const variant of wasmVariants) {
        const wanted = floats(run.expected.y);
        floats(run.actual[variant].y).forEach((value, index) =>
          assert.ok(Math.abs(value - wanted[index]) <= bound, `${variant}[${index}]: ${value} for ${wanted[index]}`)
        );
      }
    }),
    { numRuns: 40 },
  );
});

Deno.test("the bound of attention sees a key that one row should not see", async () => {
  const of: Case = {
    batch: 1,
    length: 4,
    keys: 9,
    groups: 1,
    shared: 3,
    width: 8,
    valueWidth: 8,
    causal: true,
    softcap: 0,
    window: 0,
    mask: "none",
    maskAxes: [false, false, false, false],
    seed: 5,
  };
  const { q, k, v } = operandsOf(of);
  const operands = { q, k, v };
  const { expected } = await runKernels(
    graphOf(operands, { scale: 0.75, causal: true, softcap: 0, window: 8 }),
    operands,
    selectAttention,
    mathLibrary,
  );
  const { actual } = await runKernels(
    graphOf(operands, { scale: 0.75, causal: true, softcap: 0, window: 0 }),
    operands,
    selectAttention,
    mathLibrary,
  );
  const wanted = floats(expected.y);
  const bound = boundOf(of, 0.75);
  assert.ok(floats(actual.relaxed.y).some((value, index) => Math.abs(value - wanted[index]) > bound));
});

Deno.test("attention prefills and decodes over a cache along a dynamic axis", async () => {
  const [groups, shared, width] = [2, 3, 8];
  const builder = new GraphBuilder("cache");
  builder.symbol("seq", { min: 1, max: 6 });
  builder.symbol("past", { min: 0, max: 15 });
  builder.symbol("total", { min: 1, max: 16 });
  const rows = symbolic("seq");
  const q = builder.input("q", tensorType("f32", [1, rows, groups * shared, width]));
  const cached = (name: string) => {
    const type = tensorType("f32", [1, symbolic("total"), groups, width]);
    builder.state({ name, type, axis: 1 });
    const x = builder.input(name, tensorType("f32", [1, rows, groups, width]));
    return builder.add("append", [x], { state: name, axis: 1 });
  };
  const values = [q, cached("k"), cached("v")];
  builder.output("y", builder.add("attention", values, { scale: 0.5, causal: true, softcap: 0, window: 0 }));
  const graph = builder.finish();
  for (const variant of wasmVariants) {
    const choice = { canFuseEpilogue: () => false, selectKernel };
    const running = await startProgram(lowerWasm(graph, choice), variant, mathLibrary);
    const random = uniform(9);
    let states: ReturnType<typeof evaluateGraph>["states"] | undefined;
    for (const count of [5, 1, 1, 3, 6]) {
      const inputs = {
        q: randomFloats(random, [1, count, groups * shared, width]),
        k: randomFloats(random, [1, count, groups, width]),
        v: randomFloats(random, [1, count, groups, width]),
      };
      const expected = evaluateGraph(graph, inputs, { states });
      states = expected.states;
      const { y } = await running.run(inputs);
      const wanted = floats(expected.outputs.y);
      // Scores below 0.5 * 8, sums of at most 16 keys: the bound of the property above.
      const bound = boundOf({ width, softcap: 0, keys: 16 }, 0.5);
      floats(y).forEach((value, index) => assert.ok(Math.abs(value - wanted[index]) <= bound, `${variant} ${index}`));
    }
  }
});
