/** The parts of a kernel's text that gemv and gemm share. */

import type { Index } from "../../loops/program.ts";
import { accessors } from "../accessors.ts";
import type { Frame, GpuFeature, WgslOperand } from "../kernel.ts";
import { bufferOperand } from "../loops/print.ts";
import { indexText } from "../loops/scalar.ts";
import type { DotProblem } from "./problem.ts";
import type { RightForm } from "./right.ts";

/** Invocations of a workgroup. */
export const invocations = 64;

/** How sums are made. */
export interface Arithmetic {
  /** `codes`: exact i32 sums of bytes. */
  readonly kind: "codes" | "float";
  /** Type of a staged unit, and the bytes that it takes. */
  readonly unit: "u32" | "vec4<f32>";
  readonly unitBytes: number;
  readonly sum: "i32" | "f32";
  /** Whether each block's sum is scaled on its own: by real steps, into an f32 total, or by integers, into an i32 one. */
  readonly scalesBlocks: "no" | "real" | "integer";
  /** Units that share a step, or all. */
  readonly blockUnits: number;
  /** Whether offsets of blocks add terms of their own. */
  readonly offsets: boolean;
  /** Whether the sum of the left codes mends the sum of products: right zero points that bytes do not hold, offsets. */
  readonly needsLefts: boolean;
}

export function arithmeticOf({ left, right, units }: DotProblem): Arithmetic {
  if (left.kind === "float" || right.kind !== "codes") {
    return {
      kind: "float",
      unit: "vec4<f32>",
      unitBytes: 16,
      sum: "f32",
      scalesBlocks: "no",
      offsets: false,
      blockUnits: right.kind === "dynamic" ? units : right.blockUnits,
      needsLefts: false,
    };
  }
  return {
    kind: "codes",
    unit: "u32",
    unitBytes: 4,
    sum: "i32",
    scalesBlocks: right.inner ? "integer" : right.blocks > 1 || right.offsets ? "real" : "no",
    offsets: right.offsets,
    blockUnits: right.blockUnits,
    needsLefts: right.byteZeros || right.offsets,
  };
}

export function dotOperands({ finish, right }: DotProblem): WgslOperand[] {
  return [
    ...finish.buffers.map(bufferOperand),
    ...(right.kind === "dynamic" ? [] : [{ kind: "weights" as const, name: "weights", weights: right.weights }]),
  ];
}

/**
 * Σ (a - zeroA)(b - zeroB) from Σ a b. `block`: less zeroB Σ a, where bytes keep their zero points. `column`: less
 * zeroA Σ (b - zeroB), a sum that the weights hold for each block, or for the column where blocks have integer steps.
 */
export function mendedText(
  { left, right }: DotProblem,
  sum: string,
  of: { readonly column: string; readonly block: string; readonly lefts: string; readonly leftZero: string },
  parts: { readonly block: boolean; readonly column: boolean },
): string {
  if (right.kind === "dynamic") return sum;
  return [
    sum,
    ...(parts.block && right.byteZeros ? [`right_zero(${of.column}, ${of.block}) * ${of.lefts}`] : []),
    ...(parts.column && left.zeros ? [`${of.leftZero} * right_sum(${of.column}, ${of.block})`] : []),
  ].join(" - ");
}

/** The total that `finish` takes, from the sum of a whole column; `column` counts through all outer blocks. */
export function finishedText(
  problem: DotProblem,
  { kind, scalesBlocks }: Arithmetic,
  sum: string,
  lefts: string,
): string {
  if (kind === "float" || scalesBlocks === "real") return sum;
  const of = { column: "column", block: "0", lefts, leftZero: "left_zero(outer, row)" };
  const mended = mendedText(problem, sum, of, { block: scalesBlocks === "no", column: true });
  return problem.result.kind === "real" ? `scaled(left_step(outer, row), column, 0, ${mended}) + 0f` : mended;
}

/** Whether that text reads `column`. */
export function usesColumn({ result, left, right }: DotProblem, { kind, scalesBlocks }: Arithmetic): boolean {
  if (kind === "float" || scalesBlocks === "real" || right.kind === "dynamic") return false;
  return result.kind === "real" || left.zeros || right.byteZeros && scalesBlocks === "no";
}

/** A column counted through all outer blocks, as constants are. */
export function wholeColumn({ outer, right }: DotProblem, column: string): string {
  return outer > 1 && right.kind !== "dynamic" ? `outer * columns + ${column}` : column;
}

/** Sizes, accessors and the functions of both sides. */
export function sharedCode(problem: DotProblem, arithmetic: Arithmetic, frame: Frame, packedDot: boolean): string[] {
  const { finish, left, right } = problem;
  const reads = new Set([...finish.reads, ...left.reads, ...(right.kind === "dynamic" ? right.reads : [])]);
  const codes = arithmetic.kind === "codes";
  return [
    ...finish.buffers.flatMap((buffer) => accessors(buffer, frame.memoryOf(buffer.name), reads, finish.writes)),
    ...left.functions,
    ...(right.kind === "dynamic" ? right.functions : right.functions(frame.memoryOf("weights"))),
    ...(codes ? [...dotFunction(packedDot), ""] : []),
    ...(codes && problem.result.kind === "real" && right.kind !== "dynamic" ? scaleFunctions(problem, right) : []),
    ...finish.functions,
  ];
}

function dotFunction(packed: boolean): string[] {
  if (packed) return ["fn dot_bytes(x: u32, y: u32) -> i32 {", "  return dot4I8Packed(x, y);", "}"];
  return [
    "// Sum of the products of four signed bytes.",
    "fn dot_bytes(x: u32, y: u32) -> i32 {",
    "  let a = bitcast<vec4<i32>>(vec4<u32>(x) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);",
    "  let b = bitcast<vec4<i32>>(vec4<u32>(y) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);",
    "  return dot(a, b);",
    "}",
  ];
}

/**
 * Steps multiply in the order that ContractionResult states, each operation rounded. WGSL may fuse a product with the sum
 * that it goes into, which would leave out a rounding: `nothing`, the count of workgroups along z less one, is 0, though
 * no compiler can know it, so a product that went through it stands alone.
 */
function scaleFunctions({ depth, left }: DotProblem, { offsets }: RightForm): string[] {
  return [
    "// A product that no compiler fuses with a sum: `nothing` is 0, from a place that only the device knows.",
    "var<private> nothing: u32;",
    "fn alone(product: f32) -> f32 {",
    "  return bitcast<f32>(bitcast<u32>(product) ^ nothing);",
    "}",
    "",
    "fn scaled(step: f32, column: i32, block: i32, sum: i32) -> f32 {",
    "  return alone(alone(step * right_step(column, block)) * f32(sum));",
    "}",
    "",
    ...(offsets
      ? [
        "// What the offsets of a block add: they stand once for each left entry.",
        "fn shifted(step: f32, column: i32, block: i32, lefts: i32) -> f32 {",
        "  return alone(alone(step * right_offset(column, block)) * f32(lefts));",
        "}",
        "",
      ]
      : []),
    ...(offsets && left.zeros
      ? [
        "// Entries of the depth in a block: the last may hold fewer.",
        "fn entries_of(block: i32) -> i32 {",
        `  return min(4 * block_units, ${depth} - block * 4 * block_units);`,
        "}",
        "",
      ]
      : []),
  ];
}

/** The frame of an entry: workgroups count through row tiles, then column tiles, then outer blocks. */
export function entryLines(
  problem: DotProblem,
  entry: string,
  tiles: { readonly rows: Index; readonly columns: number },
  usesNothing: boolean,
  subgroups: boolean,
  body: readonly string[],
): string[] {
  const { outer, finish } = problem;
  return [
    `@compute @workgroup_size(invocations)`,
    `fn ${entry}(`,
    "  @builtin(workgroup_id) group: vec3<u32>,",
    "  @builtin(num_workgroups) groups: vec3<u32>,",
    "  @builtin(local_invocation_index) local: u32,",
    ...(subgroups ? ["  @builtin(subgroup_size) subgroup: u32,"] : []),
    ") {",
    "  let id = i32(group.y * groups.x + group.x);",
    `  let row_tiles = ${indexText(tiles.rows)};`,
    `  if (id >= row_tiles * ${tiles.columns * outer}) { return; }`,
    "  let lane = i32(local);",
    ...(usesNothing ? ["  nothing = groups.z - 1u;"] : []),
    ...(finish.once.length === 0 ? [] : ["  if (id == 0) {", ...finish.once.map((line) => `    ${line}`), "  }"]),
    "  let row_tile = id % row_tiles;",
    ...(outer === 1 ? ["  let outer = 0;", "  let column_tile = id / row_tiles;"] : [
      `  let outer = id / (row_tiles * ${tiles.columns});`,
      `  let column_tile = (id / row_tiles) % ${tiles.columns};`,
    ]),
    ...body.map((line) => `  ${line}`),
    "}",
  ];
}

/** Variants of a kernel by what its text makes use of: subgroups, and f16 for weights that are decoded. */
export function variantNeeds(
  { kind }: Arithmetic,
  { subgroups, f16 }: { readonly subgroups: boolean; readonly f16: boolean },
): readonly (readonly GpuFeature[])[] {
  const arithmetic: (readonly GpuFeature[])[] = kind === "codes"
    ? [["packed-dot"], []]
    : f16
    ? [["shader-f16"], []]
    : [[]];
  return [
    ...(subgroups ? arithmetic.map((needs): readonly GpuFeature[] => ["subgroups", ...needs]) : []),
    ...arithmetic,
  ];
}
