/**
 * Many rows: a workgroup makes a tile of the result. Units of both sides are staged in workgroup memory, a chunk of the
 * depth at a time, and each invocation sums the products of four rows and two columns.
 */

import { addIndex, divIndex, mulIndex } from "../../loops/index.ts";
import type { Index } from "../../loops/program.ts";
import type { Frame, WgslDispatch, WgslVariant } from "../kernel.ts";
import { indexText } from "../loops/scalar.ts";
import {
  type Arithmetic,
  arithmeticOf,
  dotOperands,
  entryLines,
  invocations,
  sharedCode,
  variantNeeds,
} from "./code.ts";
import type { DotProblem } from "./problem.ts";

const tileRows = 16;
const tileColumns = 32;
/** Rows and columns of one invocation. */
const rowsEach = 4;
/** Most units of the depth that are staged at once. */
const mostChunkUnits = 8;

/** `least` is the number of rows below which the kernel has no workgroups. */
export function gemmDispatch(problem: DotProblem, least: number): WgslDispatch {
  const arithmetic = arithmeticOf(problem);
  const { rows, columns, outer } = problem;
  const rowTiles = divIndex(addIndex(rows, tileRows - 1), tileRows);
  const columnTiles = Math.ceil(columns / tileColumns);
  const count = mulIndex(rowTiles, columnTiles * outer);
  const variants = variantNeeds(arithmetic, false).map((needs): WgslVariant => ({
    needs,
    workgroups: [mulIndex(count, fromRows(rows, least))],
    code: (frame) => gemmCode(problem, arithmetic, frame, rowTiles, needs.includes("packed-dot")),
  }));
  return { operands: dotOperands(problem), variants };
}

/** 1 where there are at least that many rows, else 0. */
function fromRows(rows: Index, least: number): Index {
  if (typeof rows === "number") return rows >= least ? 1 : 0;
  if (least <= 1) return 1;
  return { kind: "min", x: { kind: "max", x: addIndex(rows, 1 - least), y: 0 }, y: 1 };
}

/** Units of a chunk: a divisor of a block's units where blocks are scaled on their own. */
function chunkUnits({ units }: DotProblem, { scalesBlocks, blockUnits }: Arithmetic): number {
  if (!scalesBlocks || blockUnits >= units) return Math.min(units, mostChunkUnits);
  for (let size = mostChunkUnits; size > 1; size--) if (blockUnits % size === 0) return size;
  return 1;
}

function gemmCode(
  problem: DotProblem,
  arithmetic: Arithmetic,
  frame: Frame,
  rowTiles: Index,
  packedDot: boolean,
): string {
  const { units, columns } = problem;
  const chunk = chunkUnits(problem, arithmetic);
  const real = problem.result.kind === "real";
  const usesNothing = arithmetic.kind === "codes" && real;
  return [
    `const invocations = ${invocations};`,
    `const columns = ${columns};`,
    `const units = ${units}; // of four entries of the depth`,
    `const block_units = ${arithmetic.blockUnits}; // that share a step`,
    `const chunk_units = ${chunk}; // staged at once`,
    `const tile_rows = ${tileRows};`,
    `const tile_columns = ${tileColumns};`,
    "",
    `var<workgroup> left_tile: array<${arithmetic.unit}, tile_rows * chunk_units>;`,
    `var<workgroup> right_tile: array<${arithmetic.unit}, tile_columns * chunk_units>;`,
    "",
    ...sharedCode(problem, arithmetic, frame, packedDot),
    ...entryLines(
      problem,
      frame.entry,
      { rows: rowTiles, columns: Math.ceil(columns / tileColumns) },
      usesNothing,
      false,
      [
        `let rows = ${rowsText(problem)};`,
        "let first_row = row_tile * tile_rows;",
        "let first_column = column_tile * tile_columns;",
        `let own_row = ${rowsEach} * (lane / 16);`,
        "let own_column = lane % 16;",
        ...startLines(problem, arithmetic),
        "for (var first_unit = 0; first_unit < units; first_unit += chunk_units) {",
        ...stageLines(problem, arithmetic).map((line) => `  ${line}`),
        "  workgroupBarrier();",
        "  for (var u = 0; u < chunk_units; u++) {",
        ...productLines(arithmetic).map((line) => `    ${line}`),
        "  }",
        ...(arithmetic.scalesBlocks ? blockLines(problem).map((line) => `  ${line}`) : []),
        "  workgroupBarrier();",
        "}",
        ...finishLines(problem, arithmetic),
      ],
    ),
  ].join("\n");
}

function rowsText({ rows }: DotProblem): string {
  return typeof rows === "number" ? String(rows) : indexText(rows);
}

/** Column counted through all outer blocks, as constants are. */
function wholeColumn({ outer, right }: DotProblem, column: string): string {
  return outer > 1 && right.kind !== "dynamic" ? `outer * columns + ${column}` : column;
}

function startLines({ left }: DotProblem, { sum, scalesBlocks, needsLefts }: Arithmetic): string[] {
  const zero = `vec4<${sum}>(0)`;
  return [
    `var sum0 = ${zero};`,
    `var sum1 = ${zero};`,
    ...(needsLefts ? ["var lefts = vec4<i32>(0);"] : []),
    ...(scalesBlocks ? ["var total0 = vec4<f32>(0f);", "var total1 = vec4<f32>(0f);"] : []),
    ...(scalesBlocks ? [`let step = vec4<f32>(${fourRows((row) => `left_step(outer, ${row})`)});`] : []),
    ...(scalesBlocks && left.zeros
      ? [`let left_zeros = vec4<i32>(${fourRows((row) => `left_zero(outer, ${row})`)});`]
      : []),
  ];
}

/** A text for each of an invocation's rows; rows past the last repeat it, and are not stored. */
function fourRows(text: (row: string) => string): string {
  return [0, 1, 2, 3].map((index) => text(`min(first_row + own_row + ${index}, rows - 1)`)).join(", ");
}

function stageLines(problem: DotProblem, arithmetic: Arithmetic): string[] {
  const { right, units } = problem;
  const { kind } = arithmetic;
  const chunk = chunkUnits(problem, arithmetic);
  const guard = units % chunk !== 0;
  const none = kind === "codes" ? "0u" : "vec4<f32>(0f)";
  const guarded = (target: string, lines: readonly string[], value: string) =>
    guard
      ? [
        `var staged = ${none};`,
        "if (unit < units) {",
        ...lines.map((line) => `  ${line}`),
        `  staged = ${value};`,
        "}",
        `${target} = staged;`,
      ]
      : [...lines, `${target} = ${value};`];
  const column = wholeColumn(problem, "min(first_column + i / chunk_units, columns - 1)");
  const rightLines = right.kind === "dynamic" ? [] : right.begin("column", "unit / block_units");
  const rightUnit = right.kind === "dynamic" ? "right(outer, column, unit)" : right.unit("column", "unit");
  return [
    "// Rows and columns past the last repeat it.",
    "for (var i = lane; i < tile_rows * chunk_units; i += invocations) {",
    "  let row = min(first_row + i / chunk_units, rows - 1);",
    "  let unit = first_unit + i % chunk_units;",
    ...guarded("left_tile[i]", [], "left(outer, row, unit)").map((line) => `  ${line}`),
    "}",
    "for (var i = lane; i < tile_columns * chunk_units; i += invocations) {",
    `  let column = ${column};`,
    "  let unit = first_unit + i % chunk_units;",
    ...guarded("right_tile[i]", rightLines, rightUnit).map((line) => `  ${line}`),
    "}",
  ];
}

function productLines({ kind, needsLefts }: Arithmetic): string[] {
  const product = kind === "codes" ? "dot_bytes" : "dot";
  const type = kind === "codes" ? "i32" : "f32";
  const four = (side: string) => [0, 1, 2, 3].map((row) => `${product}(a${row}, ${side})`).join(", ");
  return [
    ...[0, 1, 2, 3].map((row) => `let a${row} = left_tile[(own_row + ${row}) * chunk_units + u];`),
    "let b0 = right_tile[own_column * chunk_units + u];",
    "let b1 = right_tile[(own_column + 16) * chunk_units + u];",
    `sum0 += vec4<${type}>(${four("b0")});`,
    `sum1 += vec4<${type}>(${four("b1")});`,
    ...(needsLefts ? [`lefts += vec4<i32>(${four("0x01010101u")});`] : []),
  ];
}

/** At the end of a block: its sums are mended and scaled, in the order of the blocks. */
function blockLines(problem: DotProblem): string[] {
  const { right, left } = problem;
  if (right.kind === "dynamic") return [];
  const mended = (column: number) =>
    mendedText(problem, `sum${column}`, `column${column}`, "lefts", "left_zeros", "block");
  const lefts = left.zeros ? "lefts - left_zeros * entries_of(block)" : "lefts";
  const each = (text: (at: string) => string) => `vec4<f32>(${["x", "y", "z", "w"].map(text).join(", ")})`;
  const scaled = (column: number) => each((at) => `scaled(step.${at}, column${column}, block, mended${column}.${at})`);
  const shifted = (column: number) => each((at) => `shifted(step.${at}, column${column}, block, block_lefts.${at})`);
  return [
    "if ((first_unit + chunk_units) % block_units == 0 || first_unit + chunk_units >= units) {",
    "  let block = first_unit / block_units;",
    ...[0, 1].map((column) =>
      `  let column${column} = ${wholeColumn(problem, `min(first_column + own_column + ${16 * column}, columns - 1)`)};`
    ),
    ...[0, 1].map((column) => `  let mended${column} = ${mended(column)};`),
    ...(right.offsets ? [`  let block_lefts = ${lefts};`] : []),
    ...[0, 1].map((column) => `  total${column} += ${scaled(column)};`),
    ...(right.offsets ? [0, 1].map((column) => `  total${column} += ${shifted(column)};`) : []),
    "  sum0 = vec4<i32>(0);",
    "  sum1 = vec4<i32>(0);",
    ...(right.byteZeros || right.offsets ? ["  lefts = vec4<i32>(0);"] : []),
    "}",
  ];
}

/** Σ (a - zeroA)(b - zeroB) from Σ a b: less zeroB Σ a, less zeroA Σ (b - zeroB). */
export function mendedText(
  { left, right }: DotProblem,
  sum: string,
  column: string,
  lefts: string,
  leftZero: string,
  block: string,
): string {
  if (right.kind === "dynamic") return sum;
  return [
    sum,
    ...(right.byteZeros ? [`right_zero(${column}, ${block}) * ${lefts}`] : []),
    ...(left.zeros ? [`${leftZero} * right_sum(${column}, ${block})`] : []),
  ].join(" - ");
}

function finishLines(problem: DotProblem, { kind, scalesBlocks }: Arithmetic): string[] {
  const { result, right, left } = problem;
  const total = (column: number): string => {
    if (scalesBlocks) return `total${column}[j]`;
    if (kind === "float") return `sum${column}[j]`;
    const mended = mendedText(problem, `sum${column}[j]`, "whole", "lefts[j]", "left_zero(outer, row)", "0");
    return result.kind === "real" ? `scaled(left_step(outer, row), whole, 0, ${mended}) + 0f` : mended;
  };
  const needsWhole = kind === "codes" && right.kind !== "dynamic" &&
    (result.kind === "real" && !scalesBlocks || right.byteZeros || left.zeros);
  return [
    `for (var j = 0; j < ${rowsEach}; j++) {`,
    "  let row = first_row + own_row + j;",
    "  if (row >= rows) { return; }",
    ...[0, 1].flatMap((column) => [
      `  let column${column} = first_column + own_column + ${16 * column};`,
      `  if (column${column} < columns) {`,
      ...(needsWhole ? [`    let whole = ${wholeColumn(problem, `column${column}`)};`] : []),
      `    finish(outer, row, column${column}, ${total(column)});`,
      "  }",
    ]),
    "}",
  ];
}
