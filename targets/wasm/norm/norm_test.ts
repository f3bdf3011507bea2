import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, cast, type Expression, input, literal, unary } from "../../../compiler/ir/expression.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import { isPlain, type PlainTensor, plainTensor } from "../../../compiler/ir/tensor.ts";
import { tensorType } from "../../../compiler/ir/types.ts";
import { uniform } from "../../../tests/support/random.ts";
import { randomFloats, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { wasmVariants } from "../kernel.ts";
import { lowerWasm } from "../program.ts";
import { canFuseEpilogue, selectKernel } from "../select.ts";
import { selectNorm } from "./select.ts";

const cases = fc.record({
  kind: fc.constantFrom<"rms" | "layer">("rms", "layer"),
  affine: fc.constantFrom(0, 1, 2),
  width: fc.oneof(fc.integer({ min: 1, max: 41 }), fc.constantFrom(64, 172, 352, 576)),
  rows: fc.integer({ min: 1, max: 7 }),
  batch: fc.integer({ min: 1, max: 2 }),
  end: fc.constantFrom<"floats" | "codes" | "divided codes">("floats", "codes", "divided codes"),
  seed: fc.nat(),
});

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

/** The migrated rounding: codes of 4 bits held in bytes. */
function codesOf(x: Expression): Expression {
  return cast("i8", binary("min", binary("max", unary("round", x), literal(-8)), literal(7)));
}

interface Built {
  readonly graph: Graph;
  readonly x: PlainTensor<"f32">;
  readonly affine: readonly PlainTensor<"f32">[];
  /** What each channel is multiplied by in front of the rounding. */
  readonly factors: PlainTensor<"f32"> | undefined;
}

function build(of: Case): Built {
  const random = uniform(of.seed);
  const builder = new GraphBuilder("norm");
  builder.symbol("rows", { min: 1, max: 9 });
  const input0 = builder.input("x", tensorType("f32", [of.batch, symbolic("rows"), of.width]));
  const affine = Array.from({ length: of.affine }, () => randomFloats(random, [of.width]));
  const scaled = affine.map((tensor) => plainTensor("f32", tensor.shape, tensor.data.map((value) => 4 * value)));
  const values = scaled.map((tensor) => builder.constant(tensor));
  let y = builder.add("norm", [input0, ...values], { kind: of.kind, axis: 2, epsilon: 1e-5 });
  const factors = of.end === "divided codes" ? randomFloats(random, [of.width]) : undefined;
  if (of.end === "codes") y = builder.map(codesOf(input(0)), [y]);
  if (factors !== undefined) {
    y = builder.map(codesOf(binary("mul", input(0), input(1))), [y, builder.constant(factors)]);
  }
  builder.output("y", y);
  return { graph: builder.finish(), x: randomFloats(random, [of.batch, of.rows, of.width]), affine: scaled, factors };
}

/** One entry in float64, and how far a float32 kernel may be from it. */
interface Exact {
  readonly value: number;
  readonly bound: number;
}

/**
 * In units of 2^-24. Terms of the square are rounded by the difference (twice in the square) and the product, and four are
 * added by three sums: 6, of which the root keeps 3; the scale, the difference, two products: 7 of the scaled difference.
 * Terms of the mean are added by three sums and the mean rounded: 4 of the mean magnitude at that scale. The sum with the
 * bias: 1. The evaluator rounds once; a factor behind the norm rounds on both sides.
 */
function exactRow(of: Case, built: Built, row: number): readonly Exact[] {
  const values = Array.from(built.x.data.subarray(row * of.width, (row + 1) * of.width));
  const mean = of.kind === "layer" ? values.reduce((a, b) => a + b, 0) / of.width : 0;
  const magnitude = of.kind === "layer" ? values.reduce((a, b) => a + Math.abs(b), 0) / of.width : 0;
  const square = values.reduce((total, value) => total + (value - mean) ** 2, 0) / of.width;
  const scale = 1 / Math.sqrt(square + 1e-5);
  return values.map((value, column) => {
    const gain = built.affine.at(0)?.data[column] ?? 1;
    const shift = built.affine.at(1)?.data[column] ?? 0;
    const factor = built.factors?.data[column] ?? 1;
    const product = (value - mean) * scale * gain;
    const reach = 7 * Math.abs(product) + 4 * magnitude * Math.abs(scale * gain) + Math.abs(product + shift);
    const exact = (product + shift) * factor;
    // Second-order terms are below a thousandth of the first ones.
    return { value: exact, bound: 1.001 * 2 ** -24 * (reach * Math.abs(factor) + 2 * Math.abs(exact)) };
  });
}

function assertFloats(actual: number, { value, bound }: Exact, what: string): void {
  assert.ok(Math.abs(actual - value) <= bound, `${what} is ${actual}, wants ${value} within ${bound}`);
}

/** The code of the exact value, or its neighbour where the value lies within the bound of the boundary between the two. */
function assertCode(actual: number, { value, bound }: Exact, what: string): void {
  const clamp = (code: number) => Math.min(7, Math.max(-8, code));
  const [low, high] = [clamp(Math.round(value - bound)), clamp(Math.round(value + bound))];
  assert.ok(actual >= low && actual <= high && high - low <= 1, `${what} is ${actual}, wants ${low} to ${high}`);
}

Deno.test("norms of every width equal the evaluator's within their roundings, and end in the same codes", async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (of) => {
      const built = build(of);
      const { program, expected, actual } = await runKernels(built.graph, { x: built.x }, selectNorm);
      assert.equal(program.steps.length, 1);
      const reference = expected.y;
      assert.ok(isPlain(reference, of.end === "floats" ? "f32" : "i8"));
      for (const variant of wasmVariants) {
        const { y } = actual[variant];
        assert.ok(isPlain(y, of.end === "floats" ? "f32" : "i8"));
        assert.equal(y.data.length, reference.data.length);
        for (let row = 0; row < of.batch * of.rows; row++) {
          exactRow(of, built, row).forEach((exact, column) => {
            const what = `${JSON.stringify(of)}: y[${row}, ${column}]`;
            for (const data of [y.data, reference.data]) {
              const check = of.end === "floats" ? assertFloats : assertCode;
              check(Number(data[row * of.width + column]), exact, what);
            }
          });
        }
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("a norm that feeds codes is one kernel, and its text says what it computes", () => {
  const { graph } = build({ kind: "rms", affine: 1, width: 64, rows: 1, batch: 1, end: "codes", seed: 1 });
  const { steps } = lowerWasm(graph, { canFuseEpilogue, selectKernel });
  assert.equal(steps.length, 1);
  assert.match(steps[0].kernel.id, /^norm\.f32\(/);
  assert.match(steps[0].kernel.wat("norm", "simd128"), /;; y = i8\(min\(max\(round\(/);
});

Deno.test("norms over several axes and gains by row are declined, and the loop form takes them", () => {
  const decline = (axis: number, gain: readonly number[]) => {
    const builder = new GraphBuilder("norm");
    const x = builder.input("x", tensorType("f32", [2, 3, 8]));
    const values = [x, builder.input("gain", tensorType("f32", gain))];
    builder.output("y", builder.add("norm", values, { kind: "rms", axis, epsilon: 1e-5 }));
    const graph = builder.finish();
    const node = graph.nodes[0];
    const chosen = selectNorm({ main: node }, { graph, symbols: graph.symbols });
    assert.equal(lowerWasm(graph, { canFuseEpilogue, selectKernel }).steps.length, 1);
    return "declined" in chosen ? chosen.declined : chosen.id;
  };
  assert.equal(decline(1, [3, 8]), "a norm over several axes");
  assert.match(decline(2, [1]), /gain or bias/);
});
