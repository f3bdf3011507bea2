import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { evaluateGraph } from "../../../compiler/ir/evaluate/mod.ts";
import { binary, input, literal } from "../../../compiler/ir/expression.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../../compiler/ir/graph.ts";
import type { ContractionResult, OpAttributes, OpName } from "../../../compiler/ir/node.ts";
import { plainTensor, type QuantizedTensor, type Tensor } from "../../../compiler/ir/tensor.ts";
import { quantizedType, type TensorType, tensorType } from "../../../compiler/ir/types.ts";
import { minifloat } from "../../../compiler/numeric/minifloat.ts";
import { int4, int8, intFormat, nf4, type NumberFormat, uint8 } from "../../../compiler/numeric/number_format.ts";
import { perBlock, perTensor, perToken, type QuantScheme, stepShape } from "../../../compiler/numeric/scheme.ts";
import { randomInputs } from "../../../tests/support/op_samples.ts";
import { assertLoops, assertSeen, gamma, type Tensors, type Tolerance } from "../../../tests/support/loop_kernels.ts";

/** A graph of one op over inputs of these types. */
function graphOf<Op extends OpName>(op: Op, types: readonly TensorType[], attributes: OpAttributes[Op]): Graph {
  const builder = new GraphBuilder(op);
  const inputs = types.map((type, index) => builder.input(`x${index}`, type));
  builder.output("y", builder.add(op, inputs, attributes));
  return builder.finish("quant");
}

const f32 = (...shape: number[]): TensorType => tensorType("f32", shape);

/** |error| <= gamma(terms + 2) * Σ |a| |b| for any order of the sum (Higham 2002, eq. 3.5); the sum is taken by the op itself. */
function sumBound(graph: Graph, inputs: Tensors, terms: number): Tolerance {
  const sizes = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, absolute(tensor)]));
  const { y } = evaluateGraph(graph, sizes).outputs;
  assert.ok(y.kind === "plain");
  return (_, index) => gamma(terms + 2) * Number(y.data[index]) + 1e-40;
}

function absolute(tensor: Tensor): Tensor {
  assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
  return plainTensor("f32", tensor.shape, tensor.data.map(Math.abs));
}

async function assertSum(graph: Graph, terms: number, seed: number): Promise<void> {
  const inputs = randomInputs(graph, seed);
  await assertLoops(graph, { inputs: [inputs], tolerance: sumBound(graph, inputs, terms) });
}

const extent = fc.constantFrom(1, 2, 3, 5, 7, 15, 16, 17, 31, 33);

const matmulCase = fc.record({
  rows: extent,
  depth: extent,
  columns: extent,
  batch: fc.constantFrom<readonly (readonly number[])[]>([[], []], [[3], [3]], [[3], []], [[2, 1], [3]], [[], [2]]),
  transposeB: fc.boolean(),
  hasBias: fc.boolean(),
  seed: fc.nat(1000),
});

Deno.test("float and integer matmuls agree with the evaluator over batches, layouts and biases", async () => {
  await fc.assert(
    fc.asyncProperty(matmulCase, async ({ rows, depth, columns, batch, transposeB, hasBias, seed }) => {
      const shapes = [
        [...batch[0], rows, depth],
        [...batch[1], ...(transposeB ? [columns, depth] : [depth, columns])],
        ...(hasBias ? [[columns]] : []),
      ];
      const attributes = { transposeB, hasBias, result: { kind: "real" } } as const;
      await assertSum(graphOf("matmul", shapes.map((shape) => f32(...shape)), attributes), depth, seed);
      const element = seed % 2 === 0 ? "i32" : "i64";
      await assertLoops(graphOf("matmul", shapes.map((shape) => tensorType(element, shape)), attributes), { seed });
    }),
    { numRuns: 40 },
  );
});

const windowCase = fc.record({
  spatial: fc.constantFrom<readonly number[]>([9], [5, 6], [1, 17], [3, 4, 5]),
  kernel: fc.constantFrom(1, 2, 3),
  stride: fc.constantFrom(1, 2),
  dilation: fc.constantFrom(1, 2),
  pad: fc.constantFrom(0, 1, 2),
  groups: fc.constantFrom(1, 2, 4),
  hasBias: fc.boolean(),
  last: fc.boolean(),
  seed: fc.nat(1000),
});

type WindowCase = typeof windowCase extends fc.Arbitrary<infer Case> ? Case : never;

/** Attributes and shapes of a conv; undefined where the window does not fit. */
function convOf({ spatial, kernel, stride, dilation, pad, groups, hasBias, last }: WindowCase) {
  const rank = spatial.length;
  const taps = spatial.map((size) => Math.min(kernel, size));
  if (spatial.some((size, axis) => size + 2 * pad < dilation * (taps[axis] - 1) + 1)) return undefined;
  const [channels, perGroup, out] = [4, 4 / groups, 8];
  const placed = (first: number, channel: number, rest: readonly number[]) =>
    last ? [first, ...rest, channel] : [first, channel, ...rest];
  return {
    attributes: {
      strides: spatial.map(() => stride),
      dilations: spatial.map(() => dilation),
      pads: new Array<number>(2 * rank).fill(pad),
      layout: last ? "channelsLast" : "channelsFirst",
      groups,
      hasBias,
    } as const,
    x: placed(2, channels, spatial),
    w: placed(out, perGroup, taps),
    bias: hasBias ? [[out]] : [],
    terms: perGroup * taps.reduce((product, size) => product * size, 1),
  };
}

Deno.test("float convs of one, two and three axes lie within the sum's bound, both layouts", async () => {
  await fc.assert(
    fc.asyncProperty(windowCase, async (window) => {
      const conv = convOf(window);
      if (conv === undefined) return;
      const types = [conv.x, conv.w, ...conv.bias].map((shape) => f32(...shape));
      const attributes = { ...conv.attributes, result: { kind: "real" } } as const;
      await assertSum(graphOf("conv", types, attributes), conv.terms, window.seed);
    }),
    { numRuns: 50 },
  );
});

Deno.test("transposed convs lie within the sum's bound", async () => {
  await fc.assert(
    fc.asyncProperty(windowCase, async ({ spatial, kernel, stride, dilation, pad, groups, hasBias, seed }) => {
      const outputPadding = spatial.map(() => seed % stride);
      const extents = spatial.map((size) =>
        (size - 1) * stride + dilation * (kernel - 1) + 1 + seed % stride - 2 * pad
      );
      if (extents.some((size) => size < 1)) return;
      const types = [
        f32(2, 4, ...spatial),
        f32(4, 6 / Math.min(2, groups), ...spatial.map(() => kernel)),
        ...(hasBias ? [f32(6)] : []),
      ];
      await assertSum(
        graphOf("convTranspose", types, {
          strides: spatial.map(() => stride),
          dilations: spatial.map(() => dilation),
          pads: new Array<number>(2 * spatial.length).fill(pad),
          outputPadding,
          groups: Math.min(2, groups),
        }),
        4 * kernel ** spatial.length,
        seed,
      );
    }),
    { numRuns: 40 },
  );
});

Deno.test("pools agree with the evaluator in floor and ceil mode, both layouts, integers too", async () => {
  await fc.assert(
    fc.asyncProperty(
      windowCase,
      fc.boolean(),
      async ({ spatial, kernel, stride, dilation, pad, last, hasBias, seed }, ceil) => {
        const reach = dilation * (kernel - 1) + 1;
        if (pad >= kernel || spatial.some((size) => size + 2 * pad < reach)) return;
        const outputExtents = spatial.map((size) => {
          const room = size + 2 * pad - reach;
          const count = (ceil ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
          // A window has to start inside the input or the padding before it.
          return (count - 1) * stride >= size + pad ? count - 1 : count;
        });
        const common = {
          strides: spatial.map(() => stride),
          dilations: spatial.map(() => dilation),
          pads: new Array<number>(2 * spatial.length).fill(pad),
          layout: last ? "channelsLast" : "channelsFirst",
          kernel: spatial.map(() => kernel),
          outputExtents,
        } as const;
        const shape = last ? [2, ...spatial, 19] : [2, 3, ...spatial];
        const pool = (kind: "max" | "average" | "lp", element: "f32" | "i8" | "f16") =>
          graphOf("pool", [tensorType(element, shape)], { ...common, kind, countPadding: hasBias, norm: 1 + seed % 3 });
        await assertLoops(pool("max", "f32"), { seed });
        await assertLoops(pool("max", "i8"), { seed });
        const terms = kernel ** spatial.length;
        await assertLoops(pool("average", "f32"), { seed, tolerance: () => gamma(terms + 2) });
        // Powers and roots go through f64 or are exact; the sum of terms below 1 keeps its relative error.
        const tolerance = (expected: number) => gamma(2 * terms + 4) * expected + 1e-12;
        await assertLoops(pool("lp", "f32"), { seed, tolerance });
        if (!last) {
          await assertLoops(graphOf("poolIndices", [f32(...shape)], { ...common, columnMajor: hasBias }), {
            seed,
          });
        }
      },
    ),
    { numRuns: 40 },
  );
});

function scheme(format: NumberFormat, block: QuantScheme["block"], zeroPoint = false, offset = false): QuantScheme {
  const step = "f32";
  return { format, block, step, zeroPoint, range: "static", ...(offset ? { offset: true as const } : {}) };
}

const formats = fc.constantFrom<NumberFormat>(int8, uint8, int4, intFormat(3, false), intFormat(16, true));

/** Operands of the result `quantized`: bias, multipliers, step and zero. */
function resultTypes(result: ContractionResult, channels: number, hasBias: boolean): readonly TensorType[] {
  const bias = hasBias ? [tensorType(result.kind === "real" ? "f32" : "i32", [channels])] : [];
  if (result.kind !== "quantized") return bias;
  return [...bias, f32(channels), f32(), ...(result.scheme.zeroPoint ? [tensorType("i32", [])] : [])];
}

/** Random inputs with multipliers that bring sums of `size` into the range of the codes. */
function resultInputs(graph: Graph, seed: number, size: number): Tensors {
  const inputs = randomInputs(graph, seed);
  return Object.fromEntries(graph.inputs.map(({ name, value }) => {
    const tensor = inputs[name];
    const type = typeOf(graph, value);
    const isMultiplier = type.element === "f32" && type.encoding.kind === "plain" && type.shape.length === 1;
    if (!isMultiplier || tensor.kind !== "plain" || !(tensor.data instanceof Float32Array)) return [name, tensor];
    return [name, plainTensor("f32", tensor.shape, tensor.data.map((entry) => (Math.abs(entry) + 0.1) * 100 / size))];
  }));
}

function results(rank: number): readonly ContractionResult[] {
  return [
    { kind: "real" },
    { kind: "accumulator" },
    { kind: "quantized", scheme: scheme(uint8, perTensor(rank), true), low: 3, high: 250 },
    { kind: "quantized", scheme: scheme(int8, perTensor(rank)), low: -128, high: 127 },
    { kind: "quantized", scheme: scheme(int4, perTensor(rank), true), low: -8, high: 7 },
  ];
}

const quantizedCase = fc.record({
  rows: fc.constantFrom(1, 2, 5),
  depth: fc.constantFrom(1, 7, 16, 33, 64),
  columns: fc.constantFrom(1, 3, 8),
  left: formats,
  right: formats,
  leftBlock: fc.constantFrom<number | "all">("all", 16, 24),
  rightBlock: fc.constantFrom<number | "all">("all", 8, 16, 12),
  zeros: fc.tuple(fc.boolean(), fc.boolean()),
  hasBias: fc.boolean(),
  result: fc.nat(4),
  seed: fc.nat(1000),
});

Deno.test("quantized matmuls equal the evaluator's integers and its f32 order, for every format, block and result", async () => {
  await fc.assert(
    fc.asyncProperty(quantizedCase, async (one) => {
      const { rows, depth, columns, left, right, leftBlock, rightBlock, zeros, hasBias, seed } = one;
      const result = results(2)[one.result];
      const types = [
        quantizedType(scheme(left, [1, leftBlock], zeros[0]), [rows, depth]),
        quantizedType(scheme(right, [1, rightBlock], zeros[1]), [columns, depth]),
        ...resultTypes(result, columns, hasBias),
      ];
      const graph = graphOf("matmul", types, { transposeB: true, hasBias, result });
      await assertLoops(graph, { inputs: [resultInputs(graph, seed, 2 ** 12 * depth)] });
    }),
    { numRuns: 80 },
  );
});

Deno.test("offsets, minifloats and codebooks in matmuls equal the evaluator's", async () => {
  const real = { transposeB: true, hasBias: false, result: { kind: "real" } } as const;
  const left = quantizedType(scheme(int8, perToken(2), true), [3, 48]);
  const offsets = quantizedType(scheme(int4, perBlock(2, 1, 16), false, true), [5, 48]);
  await assertLoops(graphOf("matmul", [left, offsets], real));
  for (const format of [minifloat(4, 3, "fn"), minifloat(2, 1), minifloat(5, 2, "ieee"), nf4]) {
    // Sums of products of values in f64, where the order of the evaluator is kept.
    const right = quantizedType(scheme(format, [1, 16]), [5, 48]);
    await assertLoops(graphOf("matmul", [left, right], real));
    const terms = 48;
    const inputs = (graph: Graph) => [randomInputs(graph, 3)];
    const weightOnly = graphOf("matmul", [f32(3, 48), right], real);
    const tolerance = () => gamma(terms + 2) * terms * 2 ** 16 / 64;
    await assertLoops(weightOnly, { inputs: inputs(weightOnly), tolerance });
  }
});

Deno.test("quantized convs equal the evaluator's for every result, groups, pads and both layouts", async () => {
  await fc.assert(
    fc.asyncProperty(
      windowCase,
      formats,
      fc.nat(4),
      fc.tuple(fc.boolean(), fc.boolean()),
      async (window, format, index, zeros) => {
        const conv = convOf(window);
        if (conv === undefined) return;
        const rank = conv.x.length;
        const result = results(rank)[index];
        const perChannel = conv.w.map((_, axis): 1 | "all" => (axis === 0 ? 1 : "all"));
        const types = [
          quantizedType(scheme(uint8, perTensor(rank), zeros[0]), conv.x),
          quantizedType(scheme(format, perChannel, zeros[1]), conv.w),
          ...resultTypes(result, conv.w[0], window.hasBias),
        ];
        const graph = graphOf("conv", types, { ...conv.attributes, result });
        await assertLoops(graph, { inputs: [resultInputs(graph, window.seed, 2 ** 12 * conv.terms)] });
      },
    ),
    { numRuns: 50 },
  );
});

Deno.test("convs whose steps change with the channel equal the evaluator's", async () => {
  for (const layout of ["channelsFirst", "channelsLast"] as const) {
    const placed = (
      first: number,
      channel: number,
    ) => (layout === "channelsFirst" ? [first, channel, 5, 5] : [first, 5, 5, channel]);
    const kernel = layout === "channelsFirst" ? [3, 4, 3, 3] : [3, 3, 3, 4];
    const blocks = (shape: readonly number[]): QuantScheme["block"] =>
      shape.map((_, axis) => (axis === (layout === "channelsFirst" ? 1 : 3) ? 2 : "all"));
    const types = [
      quantizedType(scheme(uint8, blocks(kernel), true), placed(2, 4)),
      quantizedType(scheme(int8, blocks(kernel)), kernel),
    ];
    await assertLoops(graphOf("conv", types, {
      strides: [1, 2],
      dilations: [1, 1],
      pads: [1, 1, 1, 1],
      layout,
      groups: 1,
      hasBias: false,
      result: { kind: "real" },
    }));
  }
});

Deno.test("sums of wide codes do not wrap in real results", async () => {
  const wide = scheme(intFormat(16, true), [1, "all"]);
  const shape = [1, 64];
  const codes = (value: number): QuantizedTensor => ({
    kind: "quantized",
    scheme: wide,
    element: "f32",
    shape,
    codes: plainTensor("i16", shape, new Int16Array(64).fill(value)),
    steps: plainTensor("f32", stepShape(wide, shape), Float32Array.of(1)),
  });
  const types = [quantizedType(wide, shape), quantizedType(wide, shape)];
  const graph = graphOf("matmul", types, { transposeB: true, hasBias: false, result: { kind: "real" } });
  await assertLoops(graph, { inputs: [{ x0: codes(-32768), x1: codes(-32768) }] });
});

Deno.test("contractions over symbolic rows and depth agree with the evaluator", async () => {
  const builder = new GraphBuilder("symbolic");
  builder.symbol("seq", { min: 1, max: 9 });
  const seq = symbolic("seq");
  const x = builder.input("x", tensorType("i32", [2, seq, 6]));
  const w = builder.input("w", tensorType("i32", [6, 5]));
  const real = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;
  const product = builder.add("matmul", [x, w], real);
  const square = builder.add("matmul", [product, product], { ...real, transposeB: true });
  builder.output("y", builder.add("matmul", [square, product], real));
  await assertLoops(builder.finish(), { runs: [{ seq: 1 }, { seq: 5 }, { seq: 9 }] });
});

Deno.test("epilogues of contractions run on each entry as it is stored", async () => {
  const builder = new GraphBuilder("epilogue");
  const x = builder.input("x", tensorType("i32", [3, 4, 8]));
  const w = builder.input("w", tensorType("i32", [8, 5]));
  const product = builder.add("matmul", [x, w], { transposeB: false, hasBias: false, result: { kind: "real" } });
  const shifted = builder.map(binary("add", input(0), input(1)), [
    product,
    builder.input("r", tensorType("i32", [4, 1])),
  ]);
  builder.output("y", builder.map(binary("max", input(0), literal(0, "i32")), [shifted]));
  await assertLoops(builder.finish(), { fuse: true });
});

Deno.test("the comparison sees wrong pads, strides, zero points, clamps and layouts", async () => {
  const conv = (pads: readonly number[], result: ContractionResult, zero = true) => {
    const types = [
      quantizedType(scheme(uint8, perTensor(4), zero), [1, 3, 6, 6]),
      quantizedType(scheme(int8, perTensor(4)), [4, 3, 3, 3]),
      ...resultTypes(result, 4, false),
    ];
    return graphOf("conv", types, {
      strides: [1, 1],
      dilations: [1, 1],
      pads,
      layout: "channelsFirst",
      groups: 1,
      hasBias: false,
      result,
    });
  };
  const sums = { kind: "accumulator" } as const;
  await assertSeen(conv([1, 0, 1, 2], sums), conv([1, 1, 1, 1], sums));
  const clamped = (low: number): ContractionResult => ({
    kind: "quantized",
    scheme: scheme(uint8, perTensor(4), true),
    low,
    high: 255,
  });
  const inputs = [resultInputs(conv([1, 1, 1, 1], clamped(0)), 1, 2 ** 14)];
  await assertSeen(conv([1, 1, 1, 1], clamped(200)), conv([1, 1, 1, 1], clamped(0)), { inputs });
  const product = (transposeB: boolean) =>
    graphOf("matmul", [f32(4, 4), f32(4, 4)], { transposeB, hasBias: false, result: { kind: "real" } });
  const given = randomInputs(product(true), 1);
  await assertSeen(product(false), product(true), { inputs: [given], tolerance: sumBound(product(true), given, 4) });
});
