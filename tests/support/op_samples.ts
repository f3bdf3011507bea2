/** Small graphs for every op: what tests over all ops run on. A new op does not type-check until it stands here. */

import { GraphBuilder } from "../../compiler/ir/build.ts";
import { randomStream } from "../../compiler/ir/constant_text.ts";
import { binary, cast, compare, input, literal, select, unary } from "../../compiler/ir/expression.ts";
import { evaluateShape, symbolic, type SymbolValues } from "../../compiler/ir/extent.ts";
import { type Graph, type Level, typeOf } from "../../compiler/ir/graph.ts";
import type { OpAttributes, OpName, ValueName } from "../../compiler/ir/node.ts";
import { randomTensor } from "./random_tensor.ts";
import { plainTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { quantizedType, type TensorType, tensorType } from "../../compiler/ir/types.ts";
import { minifloat } from "../../compiler/numeric/minifloat.ts";
import { int4, int8, nf4, type NumberFormat, uint4, uint8 } from "../../compiler/numeric/number_format.ts";
import { perBlock, perTensor, perToken, type QuantScheme } from "../../compiler/numeric/scheme.ts";

export interface OpSample {
  readonly name: string;
  readonly graph: Graph;
  /** Values for the symbols in the inputs' types; each entry is one run. */
  readonly runs: readonly SymbolValues[];
}

type Make = (builder: GraphBuilder) => readonly ValueName[];

interface Plan {
  readonly name: string;
  readonly make: Make;
  readonly level?: Level;
  readonly runs?: readonly SymbolValues[];
}

function staticScheme(format: NumberFormat, block: QuantScheme["block"], zeroPoint = false): QuantScheme {
  return { format, block, step: "f32", zeroPoint, range: "static" };
}

function dynamicScheme(format: NumberFormat, block: QuantScheme["block"], zeroPoint = false): QuantScheme {
  return { ...staticScheme(format, block, zeroPoint), range: "dynamic" };
}

/** A constant of random entries. */
function constant(builder: GraphBuilder, type: TensorType, seed = 1): ValueName {
  return builder.constant(randomTensor(type, seed));
}

function indices(builder: GraphBuilder, shape: readonly number[], values: readonly number[]): ValueName {
  return builder.constant(plainTensor("i64", shape, BigInt64Array.from(values, BigInt)));
}

function f32(...shape: number[]): TensorType {
  return tensorType("f32", shape);
}

/** One float input `x`, one op on it. */
function onInput<Op extends OpName>(
  op: Op,
  name: string,
  type: TensorType,
  attributes: OpAttributes[Op],
  more: (builder: GraphBuilder) => readonly ValueName[] = () => [],
): Plan {
  return {
    name,
    level: type.encoding.kind === "plain" ? "float" : "quant",
    make: (builder) => builder.addAll(op, [builder.input("x", type), ...more(builder)], attributes),
  };
}

const window = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], layout: "channelsFirst" } as const;
const conv = { ...window, groups: 1, hasBias: false, result: { kind: "real" } } as const;
const matmul = { transposeB: false, hasBias: false, result: { kind: "real" } } as const;

function quantizedMatmul(
  name: string,
  a: QuantScheme,
  b: QuantScheme,
  result: OpAttributes["matmul"]["result"],
  extras: (builder: GraphBuilder) => readonly ValueName[],
  hasBias: boolean,
): Plan {
  return {
    name,
    level: "quant",
    make: (builder) => {
      const x = builder.input("x", f32(2, 3, 64));
      const steps = a.range === "dynamic"
        ? []
        : [builder.scalar(1 / 64), ...(a.zeroPoint ? [builder.constant(intScalar(3))] : [])];
      const left = builder.add("quantize", [x, ...steps], { scheme: a });
      const right = constant(builder, quantizedType(b, [5, 64]), 2);
      return builder.addAll("matmul", [left, right, ...extras(builder)], { transposeB: true, hasBias, result });
    },
  };
}

function intScalar(value: number): Tensor {
  return plainTensor("i32", [], Int32Array.of(value));
}

/** Multipliers that bring accumulators of the samples into the range of 8-bit codes. */
function multipliers(builder: GraphBuilder, channels: number): ValueName {
  const values = Float32Array.from({ length: channels }, (_, channel) => (channel + 1) / 3000);
  return builder.constant(plainTensor("f32", [channels], values));
}

function integers(...values: number[]): Tensor {
  return plainTensor("i32", [values.length], Int32Array.from(values));
}

function decoderState(name: string, type: TensorType, runs: readonly SymbolValues[], scheme?: QuantScheme): Plan {
  return {
    name,
    level: scheme === undefined ? "float" : "quant",
    runs,
    make: (builder) => {
      builder.symbol("seq", { min: 1, max: 4 });
      builder.symbol("past", { min: 0, max: 7 });
      builder.symbol("total", { min: 1, max: 8 });
      builder.state({ name: "cache", type, axis: 1 });
      const x = builder.input("x", tensorType("f32", [1, symbolic("seq"), 2, 4]));
      const held = scheme === undefined ? x : builder.add("quantize", [x], { scheme });
      return [builder.add("append", [held], { state: "cache", axis: 1 })];
    },
  };
}

const hardSwish = binary(
  "mul",
  input(0),
  binary(
    "min",
    binary("max", binary("add", binary("mul", input(0), literal(1 / 6)), literal(0.5)), literal(0)),
    literal(1),
  ),
);

const recurrent = { direction: "forward", clip: 0, linearBeforeReset: false, coupledGates: false } as const;

function recurrentPlan(
  name: string,
  gates: number,
  attributes: OpAttributes["recurrent"],
  extras: number,
): Plan {
  const directions = attributes.direction === "bidirectional" ? 2 : 1;
  const [batch, hidden, width] = [2, 3, 5];
  const shapes = [
    f32(directions, gates * hidden, width),
    f32(directions, gates * hidden, hidden),
    f32(directions, 2 * gates * hidden),
    f32(directions, batch, hidden),
    f32(directions, batch, hidden),
    f32(directions, 3 * hidden),
  ];
  return onInput(
    "recurrent",
    name,
    f32(4, batch, width),
    attributes,
    (builder) => shapes.slice(0, 4 + extras).map((type, index) => constant(builder, type, index + 1)),
  );
}

function int8Tensor(rank: number): QuantScheme {
  return staticScheme(int8, perTensor(rank));
}

function q(scheme: QuantScheme, ...shape: number[]): TensorType {
  return quantizedType(scheme, shape);
}

/** Integer steps of blocks under one step a row, as QServe has them. */
const twoLevels: QuantScheme = {
  ...staticScheme(uint4, [1, 16], true),
  step: "u8",
  outer: { block: [1, "all"], step: "f16" },
};

/** Steps of small blocks in a minifloat under a step of blocks twice as long. */
const twoFloatLevels: QuantScheme = {
  ...staticScheme(minifloat(2, 1), [1, 16]),
  step: "e4m3fn",
  outer: { block: ["all", 32], step: "f32" },
};

const offsetBlocks: QuantScheme = { ...staticScheme(int4, [1, 16]), step: "f16", offset: true };

const plans: { readonly [Op in OpName]: readonly Plan[] } = {
  constant: [
    { name: "f32", make: (builder) => [constant(builder, f32(2, 3))] },
    { name: "i64", make: (builder) => [constant(builder, tensorType("i64", [4]))] },
    { name: "bf16 scalar", make: (builder) => [constant(builder, tensorType("bf16", []))] },
    { name: "nf4 blocks", level: "quant", make: (b) => [constant(b, q(staticScheme(nf4, [1, 16]), 3, 32))] },
  ],
  map: [
    onInput("map", "hard swish", f32(3, 700), { expression: hardSwish }),
    onInput(
      "map",
      "broadcast bias",
      f32(2, 3, 4),
      { expression: binary("add", input(0), input(1)) },
      (builder) => [constant(builder, f32(3, 1))],
    ),
    onInput("map", "select and cast", tensorType("i32", [5, 6]), {
      expression: select(
        compare("lt", input(0), literal(0, "i32")),
        unary("erf", cast("f32", input(0))),
        literal(-0),
      ),
    }),
    onInput("map", "64-bit integers", tensorType("i64", [7]), {
      expression: binary("mod", binary("mul", input(0), literal(3n, "i64")), literal(7, "i64")),
    }),
    { name: "no operands", make: (builder) => [builder.map(literal(2.5, "f64"), [])] },
  ],
  matmul: [
    onInput("matmul", "batched", f32(2, 3, 4), matmul, (builder) => [constant(builder, f32(2, 4, 5))]),
    onInput("matmul", "shared right operand, transposed, bias", f32(2, 3, 4), {
      ...matmul,
      transposeB: true,
      hasBias: true,
    }, (builder) => [constant(builder, f32(5, 4)), constant(builder, f32(5), 2)]),
    onInput("matmul", "integers", tensorType("i32", [3, 4]), matmul, (builder) => [
      constant(builder, tensorType("i32", [4, 2])),
    ]),
    {
      ...onInput("matmul", "weight only", f32(3, 64), { ...matmul, transposeB: true }, (builder) => [
        constant(builder, q(staticScheme(int4, perBlock(2, 1, 32)), 5, 64)),
      ]),
      level: "quant",
    },
    quantizedMatmul(
      "dynamic int8 by int4 blocks",
      dynamicScheme(int8, perToken(3)),
      staticScheme(int4, perBlock(2, 1, 32), true),
      { kind: "real" },
      (builder) => [constant(builder, f32(5), 4)],
      true,
    ),
    quantizedMatmul(
      "dynamic int8 by blocks with offsets",
      dynamicScheme(uint8, perToken(3), true),
      offsetBlocks,
      { kind: "real" },
      () => [],
      false,
    ),
    quantizedMatmul(
      "dynamic int8 by two-level blocks",
      dynamicScheme(int8, perToken(3)),
      twoLevels,
      { kind: "real" },
      (builder) => [constant(builder, f32(5), 4)],
      true,
    ),
    quantizedMatmul(
      "dynamic minifloats by minifloats with two-level steps",
      { ...dynamicScheme(minifloat(2, 1), [1, 1, 16]), step: "e4m3fn" },
      twoFloatLevels,
      { kind: "real" },
      () => [],
      false,
    ),
    {
      ...onInput("matmul", "weight only, two-level", f32(3, 64), { ...matmul, transposeB: true }, (builder) => [
        constant(builder, q(twoLevels, 5, 64)),
      ]),
      level: "quant",
    },
    quantizedMatmul(
      "accumulators",
      staticScheme(uint8, perTensor(3), true),
      staticScheme(int8, [1, "all"]),
      { kind: "accumulator" },
      (builder) => [builder.constant(integers(5, -4, 3, 2, 1))],
      true,
    ),
    quantizedMatmul(
      "requantized",
      staticScheme(int8, perTensor(3)),
      staticScheme(int8, [1, "all"]),
      { kind: "quantized", scheme: staticScheme(uint8, perTensor(3), true), low: 10, high: 250 },
      (builder) => [
        multipliers(builder, 5),
        builder.scalar(0.5),
        builder.constant(intScalar(128)),
      ],
      false,
    ),
  ],
  conv: [
    onInput("conv", "3x3", f32(2, 3, 5, 6), conv, (builder) => [constant(builder, f32(4, 3, 3, 3))]),
    onInput("conv", "grouped, strided, dilated, bias", f32(1, 4, 9, 9), {
      ...conv,
      strides: [2, 1],
      dilations: [1, 2],
      pads: [0, 2, 1, 1],
      groups: 2,
      hasBias: true,
    }, (builder) => [constant(builder, f32(6, 2, 3, 2)), constant(builder, f32(6), 2)]),
    onInput("conv", "depthwise, channels last", f32(1, 5, 5, 4), {
      ...conv,
      layout: "channelsLast",
      groups: 4,
    }, (builder) => [constant(builder, f32(4, 3, 3, 1))]),
    onInput("conv", "one axis", f32(2, 3, 8), { ...conv, strides: [2], dilations: [1], pads: [1, 0] }, (builder) => [
      constant(builder, f32(4, 3, 3)),
    ]),
    {
      name: "quantized",
      level: "quant",
      make: (builder) => {
        const scheme = staticScheme(uint8, perTensor(4), true);
        const x = builder.input("x", f32(1, 3, 5, 5));
        const left = builder.add("quantize", [x, builder.scalar(0.01), builder.constant(intScalar(100))], { scheme });
        const w = constant(builder, q(staticScheme(int8, [1, "all", "all", "all"]), 4, 3, 3, 3));
        const bias = builder.constant(integers(10, -20, 30, 0));
        const multiplier = multipliers(builder, 4);
        return builder.addAll(
          "conv",
          [left, w, bias, multiplier, builder.scalar(0.02), builder.constant(intScalar(7))],
          { ...conv, hasBias: true, result: { kind: "quantized", scheme, low: 7, high: 255 } },
        );
      },
    },
  ],
  convTranspose: [
    onInput("convTranspose", "strided", f32(1, 4, 3, 3), {
      strides: [2, 2],
      dilations: [1, 1],
      pads: [1, 1, 1, 1],
      outputPadding: [1, 0],
      groups: 2,
    }, (builder) => [constant(builder, f32(4, 3, 3, 3)), constant(builder, f32(6), 2)]),
  ],
  pool: [
    onInput("pool", "max", f32(1, 2, 5, 5), {
      ...window,
      kind: "max",
      kernel: [3, 3],
      strides: [2, 2],
      outputExtents: [3, 3],
      countPadding: false,
      norm: 2,
    }),
    onInput("pool", "average in ceil mode", f32(1, 2, 6, 6), {
      ...window,
      kind: "average",
      kernel: [3, 3],
      strides: [2, 2],
      pads: [0, 0, 0, 0],
      outputExtents: [3, 3],
      countPadding: false,
      norm: 2,
    }),
    onInput("pool", "lp, channels last", f32(1, 4, 4, 2), {
      ...window,
      layout: "channelsLast",
      kind: "lp",
      kernel: [2, 2],
      pads: [0, 0, 0, 0],
      outputExtents: [3, 3],
      countPadding: true,
      norm: 3,
    }),
  ],
  poolIndices: [
    onInput("poolIndices", "row major", f32(1, 2, 4, 4), {
      ...window,
      kernel: [2, 2],
      strides: [2, 2],
      pads: [0, 0, 0, 0],
      outputExtents: [2, 2],
      columnMajor: false,
    }),
  ],
  reduce: [
    onInput("reduce", "sum of the last axis", f32(3, 4), { kind: "sum", axes: [1], keepAxes: true }),
    onInput("reduce", "max of leading axes", f32(3, 4, 5), { kind: "max", axes: [0, 1], keepAxes: false }),
    onInput("reduce", "product of 64-bit integers", tensorType("i64", [3, 2]), {
      kind: "prod",
      axes: [0],
      keepAxes: false,
    }),
  ],
  argReduce: [
    onInput("argReduce", "last of equals", f32(3, 4), { kind: "max", axis: 1, keepAxes: false, last: true }),
    onInput("argReduce", "min along the first axis", f32(3, 4), { kind: "min", axis: 0, keepAxes: true, last: false }),
  ],
  softmax: [
    onInput("softmax", "last axis", f32(3, 7), { axis: 1 }),
    onInput("softmax", "middle axis", f32(2, 3, 4), { axis: 1 }),
  ],
  norm: [
    onInput("norm", "layer", f32(2, 3, 8), { kind: "layer", axis: 2, epsilon: 1e-5 }, (builder) => [
      constant(builder, f32(8)),
      constant(builder, f32(8), 2),
    ]),
    onInput(
      "norm",
      "rms",
      f32(2, 8),
      { kind: "rms", axis: 1, epsilon: 1e-6 },
      (builder) => [constant(builder, f32(8))],
    ),
  ],
  rope: [
    onInput("rope", "half split", f32(1, 3, 2, 8), { extent: 8, interleaved: false, fromPast: false }, (builder) => [
      constant(builder, f32(16, 4)),
      constant(builder, f32(16, 4), 2),
    ]),
    onInput("rope", "partial, interleaved", f32(1, 3, 2, 8), {
      extent: 4,
      interleaved: true,
      fromPast: false,
    }, (builder) => [constant(builder, f32(16, 2)), constant(builder, f32(16, 2), 2)]),
  ],
  attention: [
    onInput("attention", "grouped, causal", f32(2, 3, 4, 8), {
      scale: 0.5,
      causal: true,
      softcap: 0,
      window: 0,
    }, (builder) => [constant(builder, f32(2, 5, 2, 8)), constant(builder, f32(2, 5, 2, 6), 2)]),
    onInput("attention", "masked, capped, windowed", f32(1, 4, 2, 4), {
      scale: 1,
      causal: true,
      softcap: 20,
      window: 2,
    }, (builder) => [
      constant(builder, f32(1, 4, 2, 4)),
      constant(builder, f32(1, 4, 2, 4), 2),
      constant(builder, tensorType("bool", [1, 1, 4, 4]), 3),
    ]),
  ],
  append: [
    decoderState("plain", f32(1, 8, 2, 4), [{ seq: 3 }, { seq: 1 }, { seq: 4 }]),
    decoderState(
      "quantized",
      q(dynamicScheme(int8, perToken(4)), 1, 8, 2, 4),
      [{ seq: 4 }, { seq: 2 }],
      dynamicScheme(int8, perToken(4)),
    ),
  ],
  readState: [
    {
      name: "counter",
      runs: [{}, {}],
      make: (builder) => {
        builder.state({ name: "counter", type: f32(2), axis: -1 });
        const old = builder.add("readState", [], { state: "counter" });
        const next = builder.map(binary("add", input(0), input(1)), [old, builder.input("x", f32(2))]);
        return [builder.add("writeState", [next], { state: "counter" })];
      },
    },
  ],
  writeState: [
    {
      name: "kept input",
      make: (builder) => {
        builder.state({ name: "kept", type: f32(2), axis: -1 });
        return [builder.add("writeState", [builder.input("x", f32(2))], { state: "kept" })];
      },
    },
  ],
  gather: [
    onInput("gather", "negative and clamped", f32(4, 3), { axis: 0 }, (b) => [indices(b, [2, 2], [0, -1, 3, 9])]),
    {
      name: "quantized table",
      level: "quant",
      make: (builder) => [
        builder.add(
          "gather",
          [constant(builder, q(staticScheme(int8, [1, 16]), 6, 32)), indices(builder, [3], [5, 0, 2])],
          { axis: 0 },
        ),
      ],
    },
  ],
  gatherElements: [
    onInput("gatherElements", "rows", f32(3, 3), { axis: 1 }, (b) => [indices(b, [2, 3], [0, 2, -1, 1, 1, 0])]),
  ],
  gatherNd: [
    onInput("gatherNd", "batched", f32(2, 3, 4), { batchAxes: 1 }, (b) => [indices(b, [2, 2, 1], [0, 2, 1, 1])]),
  ],
  scatterElements: [
    onInput("scatterElements", "added", f32(3, 3), { axis: 0, reduction: "add" }, (b) => [
      indices(b, [2, 3], [0, 0, 2, 0, 1, 2]),
      constant(b, f32(2, 3)),
    ]),
  ],
  scatterNd: [
    onInput("scatterNd", "replaced", f32(4, 2), { reduction: "none" }, (b) => [
      indices(b, [2, 1], [3, 1]),
      constant(b, f32(2, 2)),
    ]),
  ],
  reshape: [onInput("reshape", "flattened", f32(2, 3, 4), { shape: [2, 12] })],
  transpose: [onInput("transpose", "rotated axes", f32(2, 3, 4), { permutation: [2, 0, 1] })],
  expand: [onInput("expand", "repeated", f32(3, 1), { shape: [2, 3, 4] })],
  slice: [
    onInput("slice", "backwards", f32(4, 6), { starts: [3, 1], steps: [-1, 2], extents: [4, 3] }),
  ],
  pad: [
    onInput("pad", "constant", f32(2, 3), { before: [1, 0], after: [0, 2], mode: "constant" }, (b) => [b.scalar(7)]),
    onInput("pad", "reflected", f32(4, 5), { before: [2, 1], after: [1, 3], mode: "reflect" }),
    onInput("pad", "cropped", f32(4, 5), { before: [-1, 1], after: [0, -2], mode: "constant" }),
  ],
  concat: [
    onInput("concat", "columns", f32(2, 3), { axis: 1 }, (builder) => [constant(builder, f32(2, 2))]),
  ],
  resample: [
    onInput("resample", "linear", f32(2, 4), { axis: 1 }, (builder) => [
      builder.constant(plainTensor("i32", [3, 2], Int32Array.of(0, 1, 1, 2, 2, 3))),
      builder.constant(plainTensor("f32", [3, 2], Float32Array.of(0.75, 0.25, 0.5, 0.5, 0.25, 0.75))),
    ]),
  ],
  cumulative: [
    onInput("cumulative", "exclusive, reversed", f32(2, 5), { kind: "sum", axis: 1, exclusive: true, reverse: true }),
    onInput("cumulative", "product", f32(4, 2), { kind: "prod", axis: 0, exclusive: false, reverse: false }),
  ],
  transform: [
    onInput("transform", "core and butterflies", f32(3, 24), { doublings: 2, stride: 1 }, (b) => [
      constant(b, f32(3, 3)),
    ]),
    onInput("transform", "apart by a stride", f32(2, 60), { doublings: 1, stride: 5 }, (b) => [constant(b, f32(3, 3))]),
    onInput("transform", "butterflies alone", f32(2, 64), { doublings: 5, stride: 1 }, (b) => [
      constant(b, f32(1, 1)),
    ]),
  ],
  topK: [onInput("topK", "smallest", f32(3, 6), { axis: 1, count: 2, largest: false })],
  recurrent: [
    recurrentPlan("lstm", 4, { ...recurrent, cell: "lstm", activations: ["sigmoid", "tanh", "tanh"] }, 2),
    recurrentPlan("gru, both ways", 3, {
      ...recurrent,
      cell: "gru",
      direction: "bidirectional",
      activations: ["sigmoid", "tanh", "hardsigmoid", "softsign"],
      linearBeforeReset: true,
    }, 0),
    recurrentPlan("rnn, reversed", 1, { ...recurrent, cell: "rnn", direction: "reverse", activations: ["relu"] }, 0),
  ],
  quantize: [
    onInput("quantize", "static", f32(2, 8), { scheme: int8Tensor(2) }, (builder) => [builder.scalar(0.02)]),
    onInput("quantize", "dynamic with zero point", f32(3, 8), { scheme: dynamicScheme(uint8, perToken(2), true) }),
    onInput("quantize", "minifloat blocks", f32(2, 32), {
      scheme: { ...dynamicScheme(minifloat(2, 1), perBlock(2, 1, 16)), step: "e4m3fn" },
    }),
  ].map((plan) => ({ ...plan, level: "quant" as const })),
  dequantize: [
    onInput("dequantize", "int4 blocks", q(staticScheme(int4, perBlock(2, 1, 16), true), 2, 32), {}),
    onInput("dequantize", "offsets", q(offsetBlocks, 2, 32), {}),
    {
      ...onInput("dequantize", "two levels", q(twoLevels, 2, 32), {}),
      make: (b) => b.addAll("dequantize", [constant(b, q(twoLevels, 2, 32))], {}),
      level: "quant",
    },
  ],
  fromCodes: [
    {
      name: "per row",
      level: "quant",
      make: (builder) => [
        builder.add(
          "fromCodes",
          [builder.input("x", tensorType("i8", [3, 4])), constant(builder, f32(3, 1))],
          { scheme: staticScheme(int8, [1, "all"]), element: "f32" },
        ),
      ],
    },
  ],
  toCodes: [onInput("toCodes", "int8", q(int8Tensor(2), 2, 3), {})],
  toSteps: [onInput("toSteps", "blocks", q(staticScheme(int4, perBlock(2, 1, 16)), 2, 32), {})],
};

/** Samples of one op. */
export function samplesOf(op: OpName): readonly OpSample[] {
  return plans[op].map(({ name, make, level, runs }) => {
    const builder = new GraphBuilder(`${op}_sample`);
    make(builder).forEach((value, index) => builder.output(index === 0 ? "y" : `y${index}`, value));
    return { name: `${op}: ${name}`, graph: builder.finish(level ?? "float"), runs: runs ?? [{}] };
  });
}

/** Samples of every op, in the order of the table. */
export function allSamples(): readonly OpSample[] {
  // The keys of the table are exactly the ops, by its type.
  return (Object.keys(plans) as OpName[]).flatMap(samplesOf);
}

/** Random inputs of a graph by source name. */
export function randomInputs(graph: Graph, seed: number, symbols: SymbolValues = {}): Record<string, Tensor> {
  const next = randomStream(seed);
  return Object.fromEntries(graph.inputs.map(({ name, value }) => {
    const type = typeOf(graph, value);
    const shape = evaluateShape(type.shape, symbols);
    return [name, randomTensor({ ...type, shape }, Math.floor(next() * 2 ** 31))];
  }));
}
