/** Matmuls that the WebGPU kernels are tested on: every form, by rows and by tiles. */

import { GraphBuilder } from "../../compiler/ir/build.ts";
import { binary, input, literal } from "../../compiler/ir/expression.ts";
import type { ContractionResult, ValueName } from "../../compiler/ir/node.ts";
import { floatTensor, plainTensor, type QuantizedTensor, type Tensor } from "../../compiler/ir/tensor.ts";
import { quantizedType, tensorType } from "../../compiler/ir/types.ts";
import { int4, int8, intFormat, type NumberFormat, uint4, uint8 } from "../../compiler/numeric/number_format.ts";
import type { QuantScheme } from "../../compiler/numeric/scheme.ts";
import { uniform } from "./random.ts";
import { randomFloats, randomQuantized } from "./wasm_kernels.ts";

export interface DotCase {
  readonly form: "f32" | "int8" | "int4" | "weights" | "dynamic";
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
  readonly left?: NumberFormat;
  readonly leftBlock?: "row" | "tensor";
  readonly leftZero?: boolean;
  readonly right?: NumberFormat;
  /** Entries of the depth that share a step. */
  readonly block?: number | "all";
  readonly rightZero?: boolean;
  readonly offset?: true;
  readonly half?: boolean;
  /** Integer steps of the blocks under one real step a column. */
  readonly twoLevel?: true;
  readonly result?: "real" | "accumulator" | "quantized";
  readonly bias?: boolean;
  readonly transposeB?: boolean;
  readonly batches?: number;
  readonly epilogue?: boolean;
}

/** Every form, by rows of one workgroup each and by tiles, with odd tails; zero points off zero; steps in every granularity. */
export const dotCases: readonly DotCase[] = [
  { form: "f32", rows: 1, depth: 33, columns: 21, bias: true },
  { form: "f32", rows: 2, depth: 130, columns: 7, transposeB: true, epilogue: true },
  { form: "f32", rows: 19, depth: 37, columns: 35, transposeB: true, bias: true, epilogue: true },
  { form: "dynamic", rows: 3, depth: 10, columns: 9, batches: 2 },
  { form: "dynamic", rows: 17, depth: 8, columns: 33, batches: 3, transposeB: true },
  { form: "weights", rows: 1, depth: 70, columns: 18, right: int4, block: 32, half: true, offset: true },
  { form: "weights", rows: 1, depth: 96, columns: 5, right: uint4, block: 16, rightZero: true },
  { form: "weights", rows: 9, depth: 66, columns: 40, right: int8, block: 32, rightZero: true },
  { form: "weights", rows: 6, depth: 50, columns: 33, right: uint8, block: "all", bias: true },
  { form: "int8", rows: 1, depth: 301, columns: 19, left: int8, right: int8, block: "all", bias: true },
  {
    form: "int8",
    rows: 3,
    depth: 68,
    columns: 17,
    left: uint8,
    leftZero: true,
    right: uint8,
    rightZero: true,
    block: "all",
  },
  {
    form: "int8",
    rows: 18,
    depth: 45,
    columns: 34,
    left: uint8,
    leftZero: true,
    right: int8,
    rightZero: true,
    block: "all",
  },
  { form: "int8", rows: 2, depth: 70, columns: 9, left: int8, leftZero: true, right: int8, rightZero: true, block: 32 },
  {
    form: "int8",
    rows: 7,
    depth: 72,
    columns: 33,
    left: int8,
    leftZero: true,
    right: intFormat(6, false),
    rightZero: true,
    block: 24,
  },
  {
    form: "int8",
    rows: 5,
    depth: 40,
    columns: 12,
    left: int8,
    right: int8,
    block: "all",
    result: "accumulator",
    bias: true,
  },
  {
    form: "int8",
    rows: 2,
    depth: 39,
    columns: 20,
    left: int8,
    leftBlock: "tensor",
    leftZero: true,
    right: int8,
    block: "all",
    result: "quantized",
    bias: true,
  },
  {
    form: "int8",
    rows: 20,
    depth: 64,
    columns: 35,
    left: uint8,
    leftBlock: "tensor",
    leftZero: true,
    right: int8,
    block: "all",
    result: "quantized",
    bias: true,
  },
  { form: "int4", rows: 1, depth: 576, columns: 22, left: int8, right: int4, block: 32, half: true },
  { form: "int4", rows: 1, depth: 136, columns: 17, left: int8, right: uint4, rightZero: true, block: 32 },
  {
    form: "int4",
    rows: 2,
    depth: 70,
    columns: 6,
    left: uint8,
    leftZero: true,
    right: int4,
    block: 32,
    offset: true,
    half: true,
  },
  { form: "int4", rows: 17, depth: 70, columns: 37, left: int8, leftZero: true, right: uint4, block: 32, offset: true },
  {
    form: "int4",
    rows: 16,
    depth: 96,
    columns: 32,
    left: intFormat(4, true),
    right: int4,
    rightZero: true,
    block: 16,
    epilogue: true,
  },
  {
    form: "int4",
    rows: 2,
    depth: 100,
    columns: 21,
    left: int8,
    right: uint4,
    rightZero: true,
    block: 32,
    twoLevel: true,
    half: true,
  },
  { form: "int4", rows: 9, depth: 64, columns: 33, left: int8, leftZero: true, right: int4, block: 16, twoLevel: true },
  { form: "weights", rows: 1, depth: 64, columns: 9, right: uint4, rightZero: true, block: 32, twoLevel: true },
  { form: "int4", rows: 4, depth: 99, columns: 21, left: int8, right: int4, block: "all", bias: true },
];

export interface BuiltCase {
  readonly graph: ReturnType<GraphBuilder["finish"]>;
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** Σ |a b| over the depth and the bias, at most. */
  readonly magnitude: number;
}

export function buildDotCase(of: DotCase, seed: number): BuiltCase {
  const { rows, depth, columns, transposeB = false, batches = 1, bias = false } = of;
  const random = uniform(seed);
  const b = new GraphBuilder("dot");
  const lead = of.form === "dynamic" ? [batches] : [];
  const aShape = [...lead, rows, depth];
  const bShape = [...lead, ...(transposeB || of.right !== undefined ? [columns, depth] : [depth, columns])];
  const transposed = transposeB || of.right !== undefined;
  const inputs: Record<string, Tensor> = {};
  let a: ValueName;
  if (of.left === undefined) {
    a = b.input("a", tensorType("f32", aShape));
    inputs.a = randomFloats(random, aShape);
  } else {
    const scheme: QuantScheme = {
      format: of.left,
      block: [of.leftBlock === "tensor" ? "all" : 1, "all"],
      step: "f32",
      zeroPoint: of.leftZero ?? false,
      range: "static",
    };
    a = b.input("a", quantizedType(scheme, aShape));
    inputs.a = randomQuantized(random, aShape, scheme);
  }
  const operands = [a];
  if (of.right !== undefined) {
    const weights = randomQuantized(random, bShape, {
      format: of.right,
      block: [1, of.block ?? "all"],
      step: of.half ? "f16" : "f32",
      zeroPoint: of.rightZero ?? false,
      ...(of.offset ? { offset: true } : {}),
      range: "static",
    });
    operands.push(b.constant(of.twoLevel ? withOuterSteps(weights, random) : weights));
  } else if (of.form === "dynamic") {
    operands.push(b.input("b", tensorType("f32", bShape)));
    inputs.b = randomFloats(random, bShape);
  } else operands.push(b.constant(randomFloats(random, bShape)));
  const kind = of.result ?? "real";
  if (bias) {
    operands.push(b.constant(
      kind === "real"
        ? randomFloats(random, [columns])
        : plainTensor("i32", [columns], Int32Array.from({ length: columns }, () => Math.floor(2000 * random()) - 1000)),
    ));
  }
  let result: ContractionResult = { kind: "real" };
  if (kind === "accumulator") result = { kind };
  if (kind === "quantized") {
    const scheme: QuantScheme = { format: uint8, block: ["all", "all"], step: "f32", zeroPoint: true, range: "static" };
    operands.push(b.constant(floatTensor([columns], Float32Array.from({ length: columns }, () => random() / 500))));
    operands.push(b.constant(floatTensor([1, 1], Float32Array.of(0.25))));
    operands.push(b.constant(plainTensor("i32", [1, 1], Int32Array.of(77))));
    result = { kind, scheme, low: 3, high: 255 };
  }
  let y = b.add("matmul", operands, { transposeB: transposed, hasBias: bias, result });
  if (of.epilogue) y = b.map(binary("max", input(0), literal(0)), [y]);
  b.output("y", y);
  const graph = b.finish(of.left === undefined && of.right === undefined ? undefined : "quant");
  return { graph, inputs, magnitude: depth * 12 + 1 };
}

/** Integer steps up to 16 in the place of real ones, and a real step for each row. */
function withOuterSteps(tensor: QuantizedTensor, random: () => number): QuantizedTensor {
  const [rows] = tensor.shape;
  const { scheme, steps } = tensor;
  const real = Float32Array.from({ length: rows }, () => Math.f16round(random() / 500 + 1e-4));
  return {
    ...tensor,
    scheme: { ...scheme, step: "u8", outer: { block: [1, "all"], step: scheme.step } },
    steps: floatTensor(steps.shape, steps.data.map(() => 1 + Math.floor(16 * random()))),
    outerSteps: floatTensor([rows, 1], real),
  };
}

/** How a test calls a case. */
export function dotCaseName(of: DotCase): string {
  return Object.entries(of).map(([key, value]) =>
    `${key} ${
      typeof value === "object"
        ? `${value.kind === "int" && !value.signed ? "u" : ""}int${value.kind === "int" ? value.bits : ""}`
        : value
    }`
  ).join(", ");
}

const unit = 2 ** -24;

/**
 * How far entries may lie off. Sums of floats: gamma_(K+4) times the sum of magnitudes (Higham 2002, eq. 3.5). All else
 * is exact.
 */
export function dotCaseBound(of: DotCase, magnitude: number): number {
  return of.left === undefined ? (of.depth + 4) * unit / (1 - (of.depth + 4) * unit) * magnitude : 0;
}
