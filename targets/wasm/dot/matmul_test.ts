import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, input, literal } from "../../../compiler/ir/expression.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import type { ContractionResult } from "../../../compiler/ir/node.ts";
import { floatTensor, plainTensor, type QuantizedTensor, type Tensor } from "../../../compiler/ir/tensor.ts";
import { quantizedType, tensorType } from "../../../compiler/ir/types.ts";
import { int4, int8, intFormat, uint4, uint8 } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { stepShape } from "../../../compiler/numeric/scheme.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertExact, randomFloats, randomQuantized, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { wasmVariants } from "../kernel.ts";
import { selectMatmul } from "./matmul.ts";

function assertClose(actual: Tensor, expected: Tensor, bound: (index: number) => number, what: string): void {
  assert.ok(actual.kind === "plain" && expected.kind === "plain");
  const [x, y] = [actual.data as Float32Array, expected.data as Float32Array];
  assert.equal(x.length, y.length);
  for (let index = 0; index < y.length; index++) {
    const limit = bound(index);
    assert.ok(
      Math.abs(x[index] - y[index]) <= limit,
      `${what}: ${x[index]} for ${y[index]} at ${index}, bound ${limit}`,
    );
  }
}

const unit = 2 ** -24;

interface FloatCase {
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
  readonly transposeB: boolean;
  readonly bias: boolean;
  readonly seed: number;
}

async function checkFloat({ rows, depth, columns, transposeB, bias, seed }: FloatCase): Promise<void> {
  const random = uniform(seed);
  const builder = new GraphBuilder("float");
  const x = builder.input("x", tensorType("f32", [rows, depth]));
  const w = randomFloats(random, transposeB ? [columns, depth] : [depth, columns]);
  const inputs = [x, builder.constant(w)];
  const offsets = randomFloats(random, [columns]);
  if (bias) inputs.push(builder.constant(offsets));
  builder.output("y", builder.add("matmul", inputs, { transposeB, hasBias: bias, result: { kind: "real" } }));
  const given = randomFloats(random, [rows, depth]);
  const run = await runKernels(builder.finish(), { x: given }, selectMatmul);
  // |error| <= gamma_(K+2) * (Σ |x||w| + |bias|) for any order of K products and sums (Higham 2002, eq. 3.5).
  const gamma = (depth + 2) * unit / (1 - (depth + 2) * unit);
  const bound = (index: number): number => {
    const [row, column] = [Math.floor(index / columns), index % columns];
    let sum = bias ? Math.abs(offsets.data[column]) : 0;
    for (let k = 0; k < depth; k++) {
      sum += Math.abs(given.data[row * depth + k] * w.data[transposeB ? column * depth + k : k * columns + column]);
    }
    return gamma * sum + unit * sum;
  };
  for (const variant of wasmVariants) assertClose(run.actual[variant].y, run.expected.y, bound, variant);
}

Deno.test("f32 matmul stays within the rounding bound on every tail", async () => {
  for (const rows of [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]) {
    for (const depth of [1, 2, 3, 4, 5, 7, 16, 33]) {
      const columns = 1 + ((rows * 7 + depth * 3) % 19);
      await checkFloat({ rows, depth, columns, transposeB: depth % 2 === 0, bias: rows % 2 === 0, seed: rows + depth });
    }
  }
});

interface IntegerCase {
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
  readonly left: QuantScheme;
  readonly right: QuantScheme;
  readonly result: "real" | "accumulator";
  readonly seed: number;
}

async function checkInteger(options: IntegerCase): Promise<void> {
  const { rows, depth, columns, left, right, seed } = options;
  const random = uniform(seed);
  const builder = new GraphBuilder("integer");
  const x = builder.input("x", quantizedType(left, [rows, depth]));
  const w = builder.constant(randomQuantized(random, [columns, depth], right));
  const result: ContractionResult = { kind: options.result };
  builder.output("y", builder.add("matmul", [x, w], { transposeB: true, hasBias: false, result }));
  const given = randomQuantized(random, [rows, depth], left);
  const run = await runKernels(builder.finish("quant"), { x: given }, selectMatmul);
  assertExact(run);
}

function scheme(format: QuantScheme["format"], block: QuantScheme["block"], zeroPoint: boolean): QuantScheme {
  return { format, block, step: "f32", zeroPoint, range: "static" };
}

const integerCase = fc.record({
  rows: fc.integer({ min: 1, max: 12 }),
  depth: fc.integer({ min: 1, max: 70 }),
  columns: fc.integer({ min: 1, max: 35 }),
  leftFormat: fc.constantFrom(int8, uint8, intFormat(4, true)),
  leftPerRow: fc.boolean(),
  leftZero: fc.boolean(),
  rightFormat: fc.constantFrom(int8, uint8, intFormat(6, true), intFormat(5, false)),
  rightPerRow: fc.boolean(),
  rightZero: fc.boolean(),
  result: fc.constantFrom("real" as const, "accumulator" as const),
  seed: fc.nat(),
});

Deno.test("int8 matmul equals the evaluator for any steps, zero points and tails", async () => {
  await fc.assert(
    fc.asyncProperty(integerCase, async (options) => {
      await checkInteger({
        ...options,
        left: scheme(options.leftFormat, [options.leftPerRow ? 1 : "all", "all"], options.leftZero),
        right: scheme(options.rightFormat, [options.rightPerRow ? 1 : "all", "all"], options.rightZero),
      });
    }),
    { numRuns: 60 },
  );
});

Deno.test("int8 matmul equals the evaluator over blocks of the depth", async () => {
  for (const [depth, block] of [[32, 16], [64, 32], [96, 32], [48, 8], [256, 128], [70, 32], [41, 16]]) {
    for (const rows of [1, 3, 7]) {
      for (const zero of [false, true]) {
        const left = scheme(zero ? uint8 : int8, [1, "all"], zero);
        const right = scheme(int8, [1, block], zero);
        await checkInteger({ rows, depth, columns: 13, left, right, result: "real", seed: depth + rows });
      }
    }
  }
});

Deno.test("the comparison of integer kernels sees one code, one step and one zero point", async () => {
  for (const format of [int8, uint4]) {
    const left = scheme(int8, [1, "all"], false);
    const right = scheme(format, [1, 32], format === uint4);
    const w = randomQuantized(uniform(6), [9, 64], right);
    const given = randomQuantized(uniform(7), [3, 64], left);
    const build = (weights: QuantizedTensor) => {
      const builder = new GraphBuilder("integer");
      const operands = [builder.input("x", quantizedType(left, [3, 64])), builder.constant(weights)];
      builder.output(
        "y",
        builder.add("matmul", operands, { transposeB: true, hasBias: false, result: { kind: "real" } }),
      );
      return builder.finish("quant");
    };
    const { expected } = await runKernels(build(w), { x: given }, selectMatmul);
    const spoil = <T extends ArrayLike<number>>(data: T, at: number, value: number): T =>
      Object.assign(data, { [at]: value });
    const codes = w.codes.data.slice();
    const mutants: QuantizedTensor[] = [
      { ...w, codes: { ...w.codes, data: spoil(codes as Uint8Array<ArrayBuffer>, 100, Number(codes[100]) ^ 1) } },
      { ...w, steps: { ...w.steps, data: spoil(w.steps.data.slice(), 5, 2 * w.steps.data[5]) } },
    ];
    if (w.zeros !== undefined) {
      mutants.push({ ...w, zeros: { ...w.zeros, data: spoil(w.zeros.data.slice(), 5, w.zeros.data[5] ^ 1) } });
    }
    for (const mutant of mutants) {
      const run = await runKernels(build(mutant), { x: given }, selectMatmul);
      assert.throws(() => assertExact({ ...run, expected }), assert.AssertionError);
    }
  }
});

Deno.test("int8 matmul requantizes with half to even, zero points and a clamp", async () => {
  for (const perChannel of [false, true]) {
    for (const zero of [false, true]) {
      for (const columns of [3, 8, 14]) {
        const random = uniform(columns);
        const builder = new GraphBuilder("requantize");
        const left = scheme(uint8, ["all", "all"], true);
        const x = builder.input("x", quantizedType(left, [5, 24]));
        const w = builder.constant(randomQuantized(random, [columns, 24], scheme(int8, [1, "all"], false)));
        const bias = plainTensor(
          "i32",
          [columns],
          Int32Array.from({ length: columns }, () => Math.floor(random() * 2000 - 1000)),
        );
        const multiplier = Float32Array.from(
          { length: perChannel ? columns : 1 },
          () => 2 ** -9 * (1 + Math.floor(random() * 3)),
        );
        const outScheme = scheme(zero ? uint8 : int8, ["all", "all"], zero);
        const result: ContractionResult = {
          kind: "quantized",
          scheme: outScheme,
          low: zero ? 3 : -128,
          high: zero ? 250 : 127,
        };
        const operands = [x, w, builder.constant(bias), builder.constant(floatTensor([multiplier.length], multiplier))];
        operands.push(builder.constant(floatTensor([1, 1], [0.25])));
        if (zero) operands.push(builder.constant(plainTensor("i32", [1, 1], Int32Array.of(3))));
        builder.output("y", builder.add("matmul", operands, { transposeB: true, hasBias: true, result }));
        const given = randomQuantized(random, [5, 24], left);
        const run = await runKernels(builder.finish("quant"), { x: given }, selectMatmul);
        assertExact(run);
      }
    }
  }
});

Deno.test("matmul runs an epilogue over full, per-column and per-row operands along a dynamic axis", async () => {
  const random = uniform(5);
  const builder = new GraphBuilder("epilogue");
  builder.symbol("seq", { min: 1, max: 9 });
  const rows = symbolic("seq");
  const left = scheme(int8, ["all", 1, "all"], false);
  const x = builder.input("x", quantizedType(left, [1, rows, 16]));
  const w = builder.constant(randomQuantized(random, [10, 16], scheme(int8, [1, "all"], false)));
  const full = builder.input("full", tensorType("f32", [1, rows, 10]));
  const column = builder.input("column", tensorType("f32", [10]));
  const row = builder.input("row", tensorType("f32", [1, rows, 1]));
  const product = builder.add("matmul", [x, w], { transposeB: true, hasBias: false, result: { kind: "real" } });
  const moved = builder.map(binary("add", binary("mul", input(0), input(1)), input(2)), [product, row, column]);
  const clipped = builder.map(binary("max", input(0), literal(0)), [moved]);
  builder.output("y", builder.map(binary("sub", input(0), input(1)), [clipped, full]));
  const graph = builder.finish("quant");
  for (const count of [1, 2, 6, 9]) {
    const run = await runKernels(graph, {
      x: randomQuantized(random, [1, count, 16], left),
      full: randomFloats(random, [1, count, 10]),
      column: randomFloats(random, [10]),
      row: randomFloats(random, [1, count, 1]),
    }, selectMatmul);
    assert.equal(run.program.steps.length, 1);
    assertExact(run);
  }
});

const nibbleCase = fc.record({
  rows: fc.integer({ min: 1, max: 9 }),
  depth: fc.integer({ min: 1, max: 140 }),
  columns: fc.integer({ min: 1, max: 21 }),
  leftFormat: fc.constantFrom(int8, uint8, intFormat(4, true)),
  leftPerRow: fc.boolean(),
  leftZero: fc.boolean(),
  rightFormat: fc.constantFrom(int4, uint4, intFormat(3, true), intFormat(2, false)),
  rightPerRow: fc.boolean(),
  rightZero: fc.boolean(),
  result: fc.constantFrom("real" as const, "accumulator" as const),
  seed: fc.nat(),
});

Deno.test("int4 matmul equals the evaluator for any steps, zero points and tails", async () => {
  await fc.assert(
    fc.asyncProperty(nibbleCase, async (options) => {
      await checkInteger({
        ...options,
        left: scheme(options.leftFormat, [options.leftPerRow ? 1 : "all", "all"], options.leftZero),
        right: scheme(options.rightFormat, [options.rightPerRow ? 1 : "all", "all"], options.rightZero),
      });
    }),
    { numRuns: 60 },
  );
});

Deno.test("int4 matmul equals the evaluator over blocks of the depth", async () => {
  for (
    const [depth, block] of [[32, 16], [64, 32], [96, 48], [80, 40], [48, 8], [256, 128], [192, 64], [70, 32], [
      172,
      32,
    ]]
  ) {
    for (const rows of [1, 2, 7]) {
      for (const zero of [false, true]) {
        for (const step of ["f32", "f16"] as const) {
          const left = scheme(zero && rows === 2 ? uint8 : int8, [1, "all"], zero && rows !== 1);
          const right = { ...scheme(zero ? uint4 : int4, [1, block], zero), step };
          await checkInteger({ rows, depth, columns: 13, left, right, result: "real", seed: depth + rows });
        }
      }
    }
  }
});

interface WeightOnlyCase {
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
  readonly right: QuantScheme;
  readonly transposeB: boolean;
  readonly seed: number;
}

/** Runs a weight-only matmul and says how far, in units of its bound, the worst entry is. */
async function weightOnlyError(options: WeightOnlyCase, spoil: (w: QuantizedTensor) => QuantizedTensor = (w) => w) {
  const { rows, depth, columns, right, transposeB, seed } = options;
  const random = uniform(seed);
  const shape = transposeB ? [columns, depth] : [depth, columns];
  const w = randomQuantized(random, shape, right);
  const build = (weights: QuantizedTensor) => {
    const builder = new GraphBuilder("weights");
    const x = builder.input("x", tensorType("f32", [rows, depth]));
    const operands = [x, builder.constant(weights)];
    builder.output("y", builder.add("matmul", operands, { transposeB, hasBias: false, result: { kind: "real" } }));
    return builder.finish("quant");
  };
  const given = randomFloats(random, [rows, depth]);
  const { expected } = await runKernels(build(w), { x: given }, selectMatmul);
  const { actual } = await runKernels(build(spoil(w)), { x: given }, selectMatmul);
  // No entry meets more than depth + 16 roundings; each multiplies a term of at most |a| (|step| (|q| + |z|) + |offset|).
  const gamma = (depth + 16) * unit / (1 - (depth + 16) * unit);
  const grid = stepShape(right, shape);
  const terms = new Float64Array(rows * columns);
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < depth; k++) {
      const [i, j] = transposeB ? [column, k] : [k, column];
      const index = stepAt(right, i, 0) * grid[1] + stepAt(right, j, 1);
      const code = Number(w.codes.data[i * shape[1] + j]);
      const size = Math.abs(w.steps.data[index]) * (Math.abs(code) + 256) + Math.abs(w.offsets?.data[index] ?? 0);
      for (let row = 0; row < rows; row++) {
        terms[row * columns + column] += Math.abs(given.data[row * depth + k]) * size;
      }
    }
  }
  let worst = 0;
  for (const variant of wasmVariants) {
    const [y, wanted] = [floats(actual[variant].y), floats(expected.y)];
    y.forEach((value, index) => worst = Math.max(worst, Math.abs(value - wanted[index]) / (gamma * terms[index])));
  }
  return worst;
}

function stepAt(right: QuantScheme, index: number, axis: number): number {
  const block = right.block[axis];
  return block === "all" ? 0 : Math.floor(index / block);
}

function floats(tensor: Tensor): Float32Array {
  assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
  return tensor.data;
}

const weightOnlyCase = fc.record({
  rows: fc.integer({ min: 1, max: 7 }),
  blocks: fc.integer({ min: 1, max: 4 }),
  block: fc.constantFrom(8, 16, 32, 40),
  whole: fc.boolean(),
  tail: fc.integer({ min: 0, max: 9 }),
  columns: fc.integer({ min: 1, max: 19 }),
  format: fc.constantFrom(int4, uint4, int8, uint8, intFormat(5, false), intFormat(5, true)),
  zero: fc.boolean(),
  offset: fc.boolean(),
  step: fc.constantFrom("f32" as const, "f16" as const),
  transposeB: fc.boolean(),
  seed: fc.nat(),
});

Deno.test("int8 x quantized matmul equals the evaluator where blocks have real offsets", async () => {
  for (const format of [uint4, intFormat(5, false), intFormat(3, false)]) {
    for (const [depth, block] of [[64, 32], [96, 48], [40, 40], [256, 128], [70, 32]] as const) {
      for (const zero of [false, true]) {
        for (const step of ["f32", "f16"] as const) {
          const right = {
            ...scheme(format, [1, depth === Number(block) ? "all" : block], false),
            step,
            offset: true as const,
          };
          const left = scheme(zero ? uint8 : int8, [1, "all"], zero);
          const rows = 1 + (depth + block) % 7;
          await checkInteger({ rows, depth, columns: 11, left, right, result: "real", seed: depth });
        }
      }
    }
  }
});

Deno.test("weight-only matmul stays within the rounding bound for every code, zero point and offset", async () => {
  await fc.assert(
    fc.asyncProperty(weightOnlyCase, async ({ blocks, block, whole, tail, transposeB, ...more }) => {
      const depth = blocks * block + tail;
      const along = whole ? "all" as const : block;
      const right: QuantScheme = {
        ...scheme(more.format, transposeB ? [1, along] : [along, 1], more.zero),
        step: more.step,
        ...(more.offset ? { offset: true } : {}),
      };
      const worst = await weightOnlyError({ ...more, depth, right, transposeB });
      assert.ok(worst <= 1, `${worst} bounds away`);
    }),
    { numRuns: 60 },
  );
});

Deno.test("the bound of weight-only matmul sees one code that is one step off", async () => {
  for (const rows of [1, 4]) {
    const right = { ...scheme(uint4, [1, 32], false), offset: true as const };
    const options = { rows, depth: 128, columns: 9, right, transposeB: true, seed: 3 };
    const spoil = (w: QuantizedTensor): QuantizedTensor => {
      const data = Uint8Array.from(w.codes.data, Number);
      data[200] ^= 1;
      return { ...w, codes: plainTensor("u8", w.shape, data) };
    };
    assert.ok(await weightOnlyError(options) <= 1);
    assert.ok(await weightOnlyError(options, spoil) > 1);
  }
});
