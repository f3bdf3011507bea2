import assert from "node:assert/strict";
import { GraphBuilder } from "../../../compiler/ir/build.ts";
import { evaluateGraph } from "../../../compiler/ir/evaluate/mod.ts";
import { symbolic } from "../../../compiler/ir/extent.ts";
import type { ChannelLayout, ContractionResult, ValueName } from "../../../compiler/ir/node.ts";
import { floatTensor, plainTensor, sizeOf, type Tensor, tensorParts } from "../../../compiler/ir/tensor.ts";
import { quantizedType, tensorType } from "../../../compiler/ir/types.ts";
import { int4, int8, type NumberFormat, uint8 } from "../../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../../compiler/numeric/scheme.ts";
import { gpuTest } from "../../../tests/support/gpu.ts";
import { uniform } from "../../../tests/support/random.ts";
import { randomFloats, randomQuantized } from "../../../tests/support/wasm_kernels.ts";
import { startOnGpu } from "../run_graph.ts";

interface Case {
  readonly name: string;
  readonly layout: ChannelLayout;
  readonly image: readonly number[];
  readonly channels: number;
  readonly filters: number;
  readonly kernel: readonly number[];
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  /** Begins, then ends. */
  readonly pads?: readonly number[];
  readonly groups?: number;
  readonly batch?: number;
  /** A batch axis whose extent each run gives. */
  readonly symbolicBatch?: true;
  readonly left?: NumberFormat;
  readonly right?: NumberFormat;
  readonly result?: "real" | "accumulator" | "quantized";
}

const cases: readonly Case[] = [
  {
    name: "f32, 3x3 with padding, three channels",
    layout: "channelsFirst",
    image: [7, 6],
    channels: 3,
    filters: 9,
    kernel: [3, 3],
    pads: [1, 1, 1, 1],
  },
  {
    name: "f32, strided and dilated, in groups",
    layout: "channelsLast",
    image: [9, 8],
    channels: 10,
    filters: 16,
    kernel: [3, 2],
    strides: [2, 1],
    dilations: [1, 2],
    groups: 2,
  },
  {
    name: "f32, along one axis",
    layout: "channelsFirst",
    image: [20],
    channels: 5,
    filters: 8,
    kernel: [5],
    strides: [3],
    pads: [2, 1],
  },
  {
    name: "f32 windows, int4 filters",
    layout: "channelsLast",
    image: [4, 5],
    channels: 6,
    filters: 8,
    kernel: [2, 2],
    right: int4,
  },
  {
    name: "pointwise int8, requantized",
    layout: "channelsLast",
    image: [5, 5],
    channels: 19,
    filters: 33,
    kernel: [1, 1],
    left: int8,
    right: int8,
    result: "quantized",
  },
  {
    name: "uint8 with zero point and padding, requantized",
    layout: "channelsFirst",
    image: [6, 5],
    channels: 5,
    filters: 12,
    kernel: [3, 3],
    pads: [1, 0, 1, 2],
    left: uint8,
    right: int8,
    result: "quantized",
  },
  {
    name: "uint8 x uint8 sums, strided",
    layout: "channelsLast",
    image: [8, 7],
    channels: 7,
    filters: 8,
    kernel: [3, 3],
    strides: [2, 2],
    pads: [1, 1, 1, 1],
    left: uint8,
    right: uint8,
    result: "accumulator",
  },
  {
    name: "int8 x int4 in groups, real",
    layout: "channelsLast",
    image: [4, 4],
    channels: 8,
    filters: 16,
    kernel: [3, 3],
    pads: [1, 1, 1, 1],
    groups: 2,
    left: int8,
    right: int4,
    batch: 2,
  },
  {
    name: "int8 of a symbolic batch",
    layout: "channelsLast",
    image: [3, 3],
    channels: 4,
    filters: 8,
    kernel: [2, 2],
    left: int8,
    right: int8,
    symbolicBatch: true,
  },
];

function build(of: Case, seed: number) {
  const { layout, image, channels, filters, kernel, groups = 1, batch = 1 } = of;
  const rank = image.length;
  const random = uniform(seed);
  const b = new GraphBuilder("conv");
  const place = (first: number, middle: number, spatial: readonly number[]) =>
    layout === "channelsFirst" ? [first, middle, ...spatial] : [first, ...spatial, middle];
  const xShape = place(batch, channels, image);
  const wShape = place(filters, channels / groups, kernel);
  const types = of.symbolicBatch ? [symbolic("batch"), ...xShape.slice(1)] : xShape;
  if (of.symbolicBatch) b.symbol("batch", { min: 1, max: 3 });
  let x: ValueName;
  let given: Tensor;
  if (of.left === undefined) {
    x = b.input("x", tensorType("f32", types));
    given = randomFloats(random, xShape);
  } else {
    const scheme: QuantScheme = {
      format: of.left,
      block: xShape.map(() => "all"),
      step: "f32",
      zeroPoint: true,
      range: "static",
    };
    x = b.input("x", quantizedType(scheme, types));
    given = randomQuantized(random, xShape, scheme);
  }
  const rightScheme = (format: NumberFormat): QuantScheme => ({
    format,
    block: wShape.map((_, axis) => axis === 0 ? 1 : "all"),
    step: "f32",
    zeroPoint: format !== int8,
    range: "static",
  });
  const operands = [
    x,
    b.constant(
      of.right === undefined ? randomFloats(random, wShape) : randomQuantized(random, wShape, rightScheme(of.right)),
    ),
  ];
  const kind = of.result ?? "real";
  operands.push(b.constant(
    kind === "real"
      ? randomFloats(random, [filters])
      : plainTensor("i32", [filters], Int32Array.from({ length: filters }, () => Math.floor(2000 * random()) - 1000)),
  ));
  let result: ContractionResult = { kind: "real" };
  if (kind === "accumulator") result = { kind };
  if (kind === "quantized") {
    const scheme: QuantScheme = {
      format: int8,
      block: xShape.map(() => "all"),
      step: "f32",
      zeroPoint: true,
      range: "static",
    };
    const ones = xShape.map(() => 1);
    operands.push(b.constant(floatTensor([filters], Float32Array.from({ length: filters }, () => random() / 900))));
    operands.push(b.constant(floatTensor(ones, Float32Array.of(0.25))));
    operands.push(b.constant(plainTensor("i32", ones, Int32Array.of(-9))));
    result = { kind, scheme, low: -9, high: 127 };
  }
  b.output(
    "y",
    b.add("conv", operands, {
      strides: of.strides ?? image.map(() => 1),
      dilations: of.dilations ?? image.map(() => 1),
      pads: of.pads ?? new Array(2 * rank).fill(0),
      layout,
      groups,
      hasBias: true,
      result,
    }),
  );
  return {
    graph: b.finish(of.left === undefined && of.right === undefined ? undefined : "quant"),
    inputs: { x: given },
  };
}

const unit = 2 ** -24;

for (const [index, of] of cases.entries()) {
  await gpuTest(`conv on the GPU: ${of.name}`, async () => {
    const { graph, inputs } = build({ ...of, batch: of.symbolicBatch ? 2 : of.batch }, index + 1);
    const running = await startOnGpu(graph);
    assert.ok(running.program.steps.every(({ kernel }) => kernel.id.startsWith("conv.")));
    const expected = evaluateGraph(graph, inputs).outputs.y;
    const actual = (await running.run(inputs)).y;
    running.dispose();
    const depth = sizeOf(of.kernel) * of.channels;
    // |x| <= 1 and |w| < 8 * 0.05: the bound of sums of products (Higham 2002, eq. 3.5). Sums of codes are exact.
    const bound = of.left === undefined ? (depth + 4) * unit / (1 - (depth + 4) * unit) * (depth + 1) : 0;
    const parts = tensorParts(actual);
    tensorParts(expected).forEach(({ role, tensor }, part) => {
      const wrong = Array.from(tensor.data, Number).flatMap((value, at) => {
        const got = Number(parts[part].tensor.data[at]);
        return Math.abs(got - value) <= bound ? [] : [[at, got, value]];
      });
      assert.deepEqual(wrong.slice(0, 3), [], `${role}: ${wrong.length} of ${tensor.data.length} differ`);
    });
  });
}
