import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, input, literal } from "../../../compiler/ir/expression.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import type { ContractionResult, WindowAttributes } from "../../../compiler/ir/node.ts";
import { floatTensor, plainTensor, type Tensor } from "../../../compiler/ir/tensor.ts";
import { quantizedType, tensorType } from "../../../compiler/ir/types.ts";
import { int8, uint8 } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertExact, randomFloats, randomQuantized, runKernels } from "../../../tests/support/wasm_kernels.ts";
import { selectTuned } from "../select.ts";
import { wasmVariants } from "../kernel.ts";

/** Shapes of a conv over one or two spatial axes whose windows fit. */
const convCase = fc.record({
  spatial: fc.constantFrom(1, 2),
  extent: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 11 })),
  kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 5 })),
  strides: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 3 })),
  dilations: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
  pads: fc.tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 0, max: 3 }))),
  batch: fc.integer({ min: 1, max: 2 }),
  groups: fc.integer({ min: 1, max: 3 }),
  perGroup: fc.integer({ min: 1, max: 9 }),
  outPerGroup: fc.integer({ min: 1, max: 11 }),
  depthwise: fc.boolean(),
  bias: fc.boolean(),
  seed: fc.nat(),
});

type ConvCase = typeof convCase extends fc.Arbitrary<infer T> ? T : never;

interface ConvShapes {
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly window: WindowAttributes;
  readonly groups: number;
}

/** The shapes of a case, or undefined when a window is larger than the padded image. */
function shapesOf(options: ConvCase): ConvShapes | undefined {
  const { spatial, batch } = options;
  const last = <T>(pair: readonly T[]): readonly T[] => pair.slice(2 - spatial);
  const [groups, perGroup, outPerGroup] = options.depthwise
    ? [options.groups * options.perGroup, 1, 1]
    : [options.groups, options.perGroup, options.outPerGroup];
  const pads = [...last(options.pads.slice(0, 2)), ...last(options.pads.slice(2))];
  const extents = last(options.extent);
  const kernel = last(options.kernel);
  const fits = extents.every((extent, axis) =>
    extent + pads[axis] + pads[axis + spatial] >= (kernel[axis] - 1) * last(options.dilations)[axis] + 1
  );
  if (!fits) return undefined;
  return {
    x: [batch, ...extents, groups * perGroup],
    w: [groups * outPerGroup, ...kernel, perGroup],
    window: { strides: last(options.strides), dilations: last(options.dilations), pads, layout: "channelsLast" },
    groups,
  };
}

function floats(tensor: Tensor): Float32Array {
  assert.ok(tensor.kind === "plain" && tensor.data instanceof Float32Array);
  return tensor.data;
}

Deno.test("f32 conv stays within the rounding bound for any window, groups and padding", async () => {
  await fc.assert(
    fc.asyncProperty(convCase, async (options) => {
      const shapes = shapesOf(options);
      fc.pre(shapes !== undefined);
      const random = uniform(options.seed);
      const w = randomFloats(random, shapes.w);
      const bias = randomFloats(random, [shapes.w[0]]);
      const build = (weights: typeof w, offsets: typeof bias) => {
        const builder = new GraphBuilder("conv");
        const x = builder.input("x", tensorType("f32", shapes.x));
        const operands = [x, builder.constant(weights)];
        if (options.bias) operands.push(builder.constant(offsets));
        const attributes = {
          ...shapes.window,
          groups: shapes.groups,
          hasBias: options.bias,
          result: { kind: "real" } as const,
        };
        builder.output("y", builder.add("conv", operands, attributes));
        return builder.finish();
      };
      const x = randomFloats(random, shapes.x);
      const run = await runKernels(build(w, bias), { x }, selectTuned);
      // The bound is gamma_n Σ |x| |w| + |bias| (Higham 2002, eq. 3.5): the conv of the magnitudes.
      const magnitude = (tensor: typeof w) => floatTensor(tensor.shape, tensor.data.map(Math.abs));
      const sizes = await runKernels(build(magnitude(w), magnitude(bias)), { x: magnitude(x) }, selectTuned);
      const depth = shapes.w.slice(1).reduce((product, extent) => product * extent, 1) + 3;
      const gamma = depth * 2 ** -24 / (1 - depth * 2 ** -24);
      for (const variant of wasmVariants) {
        const [y, wanted, size] = [run.actual[variant].y, run.expected.y, sizes.expected.y].map(floats);
        y.forEach((value, index) =>
          assert.ok(Math.abs(value - wanted[index]) <= gamma * size[index], `${variant} ${index}`)
        );
      }
    }),
    { numRuns: 60 },
  );
});

function perTensor(format: QuantScheme["format"], rank: number, zeroPoint: boolean): QuantScheme {
  return { format, block: new Array<"all">(rank).fill("all"), step: "f32", zeroPoint, range: "static" };
}

Deno.test("int8 conv equals the evaluator for any window, groups, padding and zero point", async () => {
  const integerCase = fc.record({
    conv: convCase,
    unsigned: fc.boolean(),
    zero: fc.boolean(),
    weightZero: fc.boolean(),
    kind: fc.constantFrom("real" as const, "accumulator" as const, "quantized" as const),
    perChannel: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(integerCase, async ({ conv, unsigned, zero, weightZero, kind, perChannel }) => {
      const shapes = shapesOf(conv);
      fc.pre(shapes !== undefined);
      const random = uniform(conv.seed);
      const rank = shapes.x.length;
      const left = perTensor(unsigned ? uint8 : int8, rank, zero);
      const right = {
        ...perTensor(int8, rank, weightZero),
        block: shapes.w.map((_, axis) => axis === 0 ? 1 : "all" as const),
      };
      const builder = new GraphBuilder("conv");
      const operands = [
        builder.input("x", quantizedType(left, shapes.x)),
        builder.constant(randomQuantized(random, shapes.w, right)),
      ];
      const channels = shapes.w[0];
      const hasBias = conv.bias;
      if (hasBias) {
        const bias = Array.from({ length: channels }, () => Math.floor(4000 * random() - 2000));
        operands.push(
          builder.constant(
            kind === "real" ? floatTensor([channels], bias) : plainTensor("i32", [channels], Int32Array.from(bias)),
          ),
        );
      }
      const outScheme = perTensor(uint8, rank, true);
      const result: ContractionResult = kind === "quantized"
        ? { kind, scheme: outScheme, low: 7, high: 255 }
        : { kind };
      if (kind === "quantized") {
        const multiplier = Float32Array.from(
          { length: perChannel ? channels : 1 },
          () => 2 ** -9 * Math.ceil(4 * random()),
        );
        operands.push(builder.constant(floatTensor([multiplier.length], multiplier)));
        operands.push(builder.constant(floatTensor(new Array(rank).fill(1), [0.5])));
        operands.push(builder.constant(plainTensor("i32", new Array(rank).fill(1), Int32Array.of(7))));
      }
      builder.output("y", builder.add("conv", operands, { ...shapes.window, groups: shapes.groups, hasBias, result }));
      assertExact(
        await runKernels(builder.finish("quant"), { x: randomQuantized(random, shapes.x, left) }, selectTuned),
      );
    }),
    { numRuns: 60 },
  );
});

Deno.test("conv runs an epilogue with a residual over a dynamic batch", async () => {
  const random = uniform(11);
  const builder = new GraphBuilder("residual");
  builder.symbol("batch", { min: 1, max: 3 });
  const x = builder.input("x", tensorType("f32", [symbolic("batch"), 5, 6, 4]));
  const residual = builder.input("residual", tensorType("f32", [symbolic("batch"), 5, 6, 8]));
  const scale = builder.constant(floatTensor([1, 1, 1, 8], Array.from({ length: 8 }, (_, index) => 2 ** (index % 3))));
  const w = builder.constant(floatTensor([8, 3, 3, 4], Array.from({ length: 288 }, (_, index) => (index % 7) - 3)));
  const conv = builder.add("conv", [x, w], {
    strides: [1, 1],
    dilations: [1, 1],
    pads: [1, 1, 1, 1],
    layout: "channelsLast",
    groups: 1,
    hasBias: false,
    result: { kind: "real" },
  });
  const moved = builder.map(binary("add", binary("mul", input(0), input(1)), input(2)), [conv, scale, residual]);
  builder.output("y", builder.map(binary("max", input(0), literal(0)), [moved]));
  const graph = builder.finish();
  for (const batch of [1, 3]) {
    // Small integers, so that every order of summation gives the same floats.
    const integers = (shape: readonly number[]) =>
      floatTensor(shape, randomFloats(random, shape).data.map((value) => Math.round(8 * value)));
    const run = await runKernels(
      graph,
      { x: integers([batch, 5, 6, 4]), residual: integers([batch, 5, 6, 8]) },
      selectTuned,
    );
    assert.equal(run.program.steps.length, 1);
    assertExact(run);
  }
});
