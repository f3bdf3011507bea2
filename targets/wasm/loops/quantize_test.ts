import assert from "node:assert/strict";
import fc from "fast-check";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { binary, input } from "../../../compiler/ir/expression.ts";
import { type Extent, isStatic, symbolic } from "../../../compiler/ir/extent.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import { floatTensor, plainTensor, sizeOf, type Tensor } from "../../../compiler/ir/tensor.ts";
import { quantizedType, tensorType } from "../../../compiler/ir/types.ts";
import { allocate } from "../../../compiler/numeric/element.ts";
import {
  e8m0,
  minifloat,
  type MinifloatFormat,
  minifloatName,
  type SpecialValues,
} from "../../../compiler/numeric/minifloat.ts";
import {
  codeElement,
  decodeCode,
  formatBits,
  int4,
  int8,
  intFormat,
  nf4,
  type NumberFormat,
  uint8,
} from "../../../compiler/numeric/number_format.ts";
import { perTensor, perToken, type QuantScheme, type StepFormat } from "../../../compiler/numeric/scheme.ts";
import { uniform } from "../../../tests/support/random.ts";
import { assertLoops, assertSeen, loopText } from "../../../tests/support/loop_kernels.ts";

function schemeOf(
  format: NumberFormat,
  block: QuantScheme["block"],
  range: QuantScheme["range"],
  zeroPoint = false,
  step: StepFormat = "f32",
): QuantScheme {
  return { format, block, step, zeroPoint, range };
}

/** quantize with the steps (and zero points) as inputs where they are static. */
function quantizeGraph(scheme: QuantScheme, shape: readonly Extent[], steps: readonly number[] = []): Graph {
  const builder = new GraphBuilder("quantize");
  if (!shape.every(isStatic)) builder.symbol("seq", { min: 1, max: 9 });
  const inputs = [builder.input("x", tensorType("f32", shape))];
  if (scheme.range === "static") {
    inputs.push(builder.input("step", tensorType("f32", steps)));
    if (scheme.zeroPoint) inputs.push(builder.input("zero", tensorType("i32", steps)));
  }
  builder.output("y", builder.add("quantize", inputs, { scheme }));
  return builder.finish("quant");
}

/** Numbers of every size, exact halves and special values among them. */
function wildFloats(shape: readonly number[], seed: number): Tensor {
  const next = uniform(seed);
  const special = [0, -0, NaN, Infinity, -Infinity, 0.5, 1.5, -2.5, 1e30, -1e30, 1e-42];
  return floatTensor(
    shape,
    Array.from({ length: sizeOf(shape) }, () => {
      if (next() < 0.05) return special[Math.floor(next() * special.length)];
      return next() < 0.3 ? Math.round(next() * 40 - 20) / 2 : (next() - 0.5) * 10 ** (next() * 4 - 1);
    }),
  );
}

const integerFormats = fc.constantFrom<NumberFormat>(
  int4,
  int8,
  uint8,
  intFormat(2, true),
  intFormat(12, false),
  intFormat(16, true),
);
const otherFormats = fc.constantFrom<NumberFormat>(
  nf4,
  minifloat(4, 3, "fn"),
  minifloat(2, 1),
  minifloat(5, 2, "ieee"),
  minifloat(3, 2),
);
const extent = fc.constantFrom(1, 2, 3, 5, 7, 15, 16, 17, 31, 33);

const quantizeCase = fc.record({
  shape: fc.tuple(fc.constantFrom(1, 2, 3), extent, extent),
  blocks: fc.tuple(...[0, 1, 2].map(() => fc.constantFrom<number | "all">(1, "all", "all", 4, 16))),
  zeroPoint: fc.boolean(),
  step: fc.constantFrom<StepFormat>("f32", "f32", "f16", "bf16", "e8m0", "e4m3fn"),
  seed: fc.nat(1000),
});

Deno.test("dynamic quantization to integers gives the evaluator's codes, steps and zero points for every block", async () => {
  await fc.assert(
    fc.asyncProperty(quantizeCase, integerFormats, async ({ shape, blocks, zeroPoint, step, seed }, format) => {
      const scheme = schemeOf(format, blocks, "dynamic", zeroPoint, step);
      await assertLoops(quantizeGraph(scheme, shape), { inputs: [{ x: wildFloats(shape, seed) }] });
    }),
    { numRuns: 80 },
  );
});

Deno.test("dynamic quantization to minifloats and codebooks gives the evaluator's codes", async () => {
  await fc.assert(
    fc.asyncProperty(quantizeCase, otherFormats, async ({ shape, blocks, step, seed }, format) => {
      const scheme = schemeOf(format, blocks, "dynamic", false, step);
      await assertLoops(quantizeGraph(scheme, shape), { inputs: [{ x: wildFloats(shape, seed) }] });
    }),
    { numRuns: 40 },
  );
});

Deno.test("static quantization gives the evaluator's codes, one step for all or one a block", async () => {
  await fc.assert(
    fc.asyncProperty(
      quantizeCase,
      integerFormats,
      fc.boolean(),
      async ({ shape, blocks, zeroPoint, seed }, format, one) => {
        const scheme = schemeOf(format, blocks, "static", zeroPoint);
        const grid = shape.map((size, axis) => {
          const block = blocks[axis];
          return block === "all" ? 1 : Math.ceil(size / block);
        });
        const steps = one ? [] : grid;
        const next = uniform(seed);
        const step = floatTensor(
          steps,
          Array.from({ length: sizeOf(steps) }, () => 2 ** Math.floor(next() * 6 - 3) * (1 + next())),
        );
        const span = 2 ** formatBits(format);
        const low = format.kind === "int" && format.signed ? -span / 2 : 0;
        const zero = plainTensor(
          "i32",
          steps,
          Int32Array.from({ length: sizeOf(steps) }, () => low + Math.floor(next() * span)),
        );
        const inputs = { x: wildFloats(shape, seed), step, ...(zeroPoint ? { zero } : {}) };
        await assertLoops(quantizeGraph(scheme, shape, steps), { inputs: [inputs] });
      },
    ),
    { numRuns: 80 },
  );
});

Deno.test("quantization over symbolic rows gives the evaluator's codes at every length", async () => {
  const seq = symbolic("seq");
  for (
    const [shape, block] of [[[2, seq, 16], perToken(3)], [[seq, 3, 8], [1, "all", 4]], [[2, 4, seq], [
      1,
      1,
      "all",
    ]]] as const
  ) {
    const runs = [{ seq: 1 }, { seq: 4 }, { seq: 9 }];
    await assertLoops(quantizeGraph(schemeOf(int8, block, "dynamic"), shape), { runs });
    await assertLoops(quantizeGraph(schemeOf(uint8, block, "dynamic", true), shape), { runs });
  }
});

/** All eXmY formats of up to eight bits, with every policy of special values that has room in them. */
function minifloats(): readonly MinifloatFormat[] {
  const formats: MinifloatFormat[] = [e8m0, { ...minifloat(4, 3), bias: 9 }, { ...minifloat(3, 2), bias: -4 }];
  for (let exponentBits = 1; exponentBits <= 7; exponentBits++) {
    for (let mantissaBits = 0; exponentBits + mantissaBits <= 7; mantissaBits++) {
      for (const specials of ["none", "fn", "fnuz", "ieee"] as readonly SpecialValues[]) {
        if (specials === "ieee" && (exponentBits < 2 || mantissaBits < 1)) continue;
        if (specials === "fn" && exponentBits + mantissaBits < 2) continue;
        formats.push(minifloat(exponentBits, mantissaBits, specials));
      }
    }
  }
  return formats;
}

function decodeGraph(format: NumberFormat, count: number): Graph {
  const builder = new GraphBuilder("decode");
  const scheme = schemeOf(format, ["all"], "static");
  builder.output("y", builder.add("dequantize", [builder.input("x", quantizedType(scheme, [count]))], {}));
  return builder.finish("quant");
}

/** Every code of a format with a step of 1. */
function everyCode(format: NumberFormat): Tensor {
  const count = format.kind === "codebook" ? format.values.length : 2 ** formatBits(format);
  const low = format.kind === "int" && format.signed ? -count / 2 : 0;
  const codes = allocate(codeElement(format), count);
  for (let index = 0; index < count; index++) codes[index] = low + index;
  return {
    kind: "quantized",
    scheme: schemeOf(format, ["all"], "static"),
    element: "f32",
    shape: [count],
    codes: plainTensor(codeElement(format), [count], codes),
    steps: floatTensor([1], [1]),
  };
}

/** Around every value of a format and every midpoint: what must round down, tie and round up. */
function aroundValues(format: NumberFormat): Float32Array<ArrayBuffer> {
  const count = format.kind === "codebook" ? format.values.length : 2 ** formatBits(format);
  const values = Array.from({ length: count }, (_, code) => decodeCode(format, code)).filter(Number.isFinite).sort((
    a,
    b,
  ) => a - b);
  const places = values.flatMap((value, index) => [value, (value + (values[index + 1] ?? 2 * value)) / 2]);
  const near = places.flatMap((place) => [place, place * (1 + 2 ** -22), place * (1 - 2 ** -22)]);
  return Float32Array.from([...near, 0, -0, NaN, Infinity, -Infinity, 1e30, -1e30, 2 ** -149, -(2 ** -140)]);
}

Deno.test("every code of every format of up to eight bits decodes to its value", async () => {
  for (const format of [...minifloats(), nf4, int4, int8, uint8, minifloat(5, 10, "ieee"), minifloat(8, 7, "ieee")]) {
    const x = everyCode(format);
    await assertLoops(decodeGraph(format, x.shape[0]), { inputs: [{ x }] });
  }
});

Deno.test("values around every code and tie of every format of up to eight bits encode as the evaluator's", async () => {
  for (const format of [...minifloats(), nf4, int4, int8, uint8]) {
    const data = aroundValues(format);
    const shape = [data.length];
    const scheme = schemeOf(format, ["all"], "static");
    const inputs = [{ x: plainTensor("f32", shape, data), step: floatTensor([], [1]) }];
    await assertLoops(quantizeGraph(scheme, shape), { inputs }).catch((error) => {
      throw new Error(`${format.kind === "minifloat" ? minifloatName(format) : format.kind}: ${error.message}`, {
        cause: error,
      });
    });
  }
});

Deno.test("codes wider than 16 bits quantize and decode as the evaluator's", async () => {
  for (const format of [intFormat(20, true), intFormat(24, false), intFormat(32, true), intFormat(32, false)]) {
    const shape = [40];
    const x = floatTensor(shape, Array.from({ length: 40 }, (_, index) => (index - 20) * 1.37e8 / 2 ** (index % 9)));
    const scheme = schemeOf(format, ["all"], "static", true);
    const inputs = [{ x, step: floatTensor([], [0.75]), zero: plainTensor("i32", [], Int32Array.of(1000)) }];
    await assertLoops(quantizeGraph(scheme, shape), { inputs });
    await assertLoops(quantizeGraph(schemeOf(format, ["all"], "dynamic"), shape), { inputs: [{ x }] });
  }
});

Deno.test("dequantize, fromCodes, toCodes and toSteps equal the evaluator's for every block", async () => {
  await fc.assert(
    fc.asyncProperty(
      quantizeCase,
      fc.oneof(integerFormats, otherFormats),
      async ({ shape, blocks, zeroPoint, seed }, format) => {
        const offset = seed % 3 === 0 ? { offset: true as const } : {};
        const scheme = { ...schemeOf(format, blocks, "static", zeroPoint && format.kind === "int"), ...offset };
        const builder = new GraphBuilder("parts");
        const q = builder.input("x", quantizedType(scheme, shape));
        const real = builder.add("dequantize", [q], {});
        builder.output("real", builder.map(binary("add", input(0), input(0)), [real]));
        builder.output("codes", builder.add("toCodes", [q], {}));
        builder.output("steps", builder.add("toSteps", [q], {}));
        await assertLoops(builder.finish("quant"), { seed, fuse: seed % 2 === 0 });
      },
    ),
    { numRuns: 40 },
  );
  const builder = new GraphBuilder("named");
  const scheme = { ...schemeOf(int8, [1, "all"], "static", true), offset: true as const };
  const parts = [
    builder.input("codes", tensorType("i8", [3, 7])),
    builder.input("steps", tensorType("f32", [3, 1])),
    builder.input("zeros", tensorType("i32", [3, 1])),
    builder.input("offsets", tensorType("f32", [3, 1])),
  ];
  builder.output("y", builder.add("fromCodes", parts, { scheme, element: "f32" }));
  await assertLoops(builder.finish("quant"));
});

Deno.test("the comparison sees a wrong rounding, a dropped zero point, another block and another format", async () => {
  const x = wildFloats([4, 32], 2);
  const graph = (scheme: QuantScheme) => quantizeGraph(scheme, [4, 32]);
  const rows = schemeOf(int8, perToken(2), "dynamic");
  await assertSeen(graph(schemeOf(int8, perTensor(2), "dynamic")), graph(rows), { inputs: [{ x }] });
  const zeros = schemeOf(uint8, perToken(2), "dynamic", true);
  await assertSeen(graph({ ...zeros, step: "f16" }), graph(zeros), { inputs: [{ x }] });
  await assertSeen(graph({ ...rows, format: intFormat(7, true) }), graph(rows), { inputs: [{ x }] });
  const e4m3 = minifloat(4, 3, "fn");
  const codes = everyCode(e4m3);
  assert.ok(codes.kind === "quantized");
  const other = { ...e4m3, bias: 8 };
  const wrong = decodeGraph(other, 256);
  await assertSeen({ ...wrong, types: decodeGraph(other, 256).types }, decodeGraph(e4m3, 256), {
    inputs: [{ x: codes }],
  });
});

Deno.test("rows quantize in lanes: extremes, then codes that saturating instructions narrow", () => {
  const dynamic = loopText(quantizeGraph(schemeOf(int8, perToken(2), "dynamic"), [8, 64]));
  assert.match(dynamic, /f32x4\.pmax/);
  assert.match(dynamic, /f32x4\.nearest/);
  assert.match(dynamic, /i8x16\.narrow_i16x8_s/);
  assert.doesNotMatch(dynamic, /i32x4\.(?:min|max|shl)/);
  const fixed = loopText(quantizeGraph(schemeOf(uint8, perTensor(2), "static", true), [8, 64]));
  assert.match(fixed, /i8x16\.narrow_i16x8_u/);
});
