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
  finishedText,
  invocations,
  mendedText,
  sharedCode,
  usesColumn,
  variantNeeds,
  wholeColumn,
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
  const variants = variantNeeds(arithmetic, { subgroups: false, f16: false }).map((needs): WgslVariant => ({
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
  if (scalesBlocks === "no" || blockUnits >= units) return Math.min(units, mostChunkUnits);
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
        ...(arithmetic.scalesBlocks === "no" ? [] : blockLines(problem, arithmetic).map((line) => `  ${line}`)),
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

function startLines({ left }: DotProblem, { sum, scalesBlocks, needsLefts }: Arithmetic): string[] {
  const zero = `vec4<${sum}>(0)`;
  const total = `vec4<${scalesBlocks === "real" ? "f32" : "i32"}>(0)`;
  return [
    `var sum0 = ${zero};`,
    `var sum1 = ${zero};`,
    ...(needsLefts ? ["var lefts = vec4<i32>(0);"] : []),
    ...(scalesBlocks === "no" ? [] : [`var total0 = ${total};`, `var total1 = ${total};`]),
    ...(scalesBlocks === "real" ? [`let step = vec4<f32>(${fourRows((row) => `left_step(outer, ${row})`)});`] : []),
    ...(scalesBlocks === "real" && left.zeros
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
function blockLines(problem: DotProblem, { scalesBlocks, offsets, needsLefts }: Arithmetic): string[] {
  const { left } = problem;
  const real = scalesBlocks === "real";
  const mended = (column: number) =>
    mendedText(
      problem,
      `sum${column}`,
      { column: `column${column}`, block: "block", lefts: "lefts", leftZero: "left_zeros" },
      { block: true, column: real },
    );
  const lefts = left.zeros ? "lefts - left_zeros * entries_of(block)" : "lefts";
  const each = (text: (at: string) => string) => `vec4<f32>(${["x", "y", "z", "w"].map(text).join(", ")})`;
  const scaled = (column: number) =>
    real
      ? each((at) => `scaled(step.${at}, column${column}, block, mended${column}.${at})`)
      : `right_inner(column${column}, block) * mended${column}`;
  const shifted = (column: number) => each((at) => `shifted(step.${at}, column${column}, block, block_lefts.${at})`);
  return [
    "if ((first_unit + chunk_units) % block_units == 0 || first_unit + chunk_units >= units) {",
    "  let block = first_unit / block_units;",
    ...[0, 1].map((column) =>
      `  let column${column} = ${wholeColumn(problem, `min(first_column + own_column + ${16 * column}, columns - 1)`)};`
    ),
    ...[0, 1].map((column) => `  let mended${column} = ${mended(column)};`),
    ...(offsets ? [`  let block_lefts = ${lefts};`] : []),
    ...[0, 1].map((column) => `  total${column} += ${scaled(column)};`),
    ...(offsets ? [0, 1].map((column) => `  total${column} += ${shifted(column)};`) : []),
    "  sum0 = vec4<i32>(0);",
    "  sum1 = vec4<i32>(0);",
    ...(needsLefts ? ["  lefts = vec4<i32>(0);"] : []),
    "}",
  ];
}

function finishLines(problem: DotProblem, arithmetic: Arithmetic): string[] {
  const total = (column: number): string =>
    finishedText(problem, arithmetic, `${arithmetic.scalesBlocks === "no" ? "sum" : "total"}${column}[j]`, "lefts[j]");
  return [
    `for (var j = 0; j < ${rowsEach}; j++) {`,
    "  let row = first_row + own_row + j;",
    "  if (row >= rows) { return; }",
    ...[0, 1].flatMap((index) => [
      `  let column${index} = first_column + own_column + ${16 * index};`,
      `  if (column${index} < columns) {`,
      ...(usesColumn(problem, arithmetic) ? [`    let column = ${wholeColumn(problem, `column${index}`)};`] : []),
      `    finish(outer, row, column${index}, ${total(index)});`,
      "  }",
    ]),
    "}",
  ];
}
