/**
 * Few rows: a workgroup makes a few columns of one row. The row is staged in workgroup memory; its spans of the depth
 * are dealt out to the invocations, and one invocation a column adds their sums up, in the order of the depth.
 *
 * f32 rows times decoded weights: Σ x (code - zero) step, the weight rounded once. With f16 the weights are held as
 * code - zero, integers of at most 9 bits, which f16 has exactly; rows stay f32, as they may leave its range, and so do
 * products and sums. The step multiplies the sum of a span in one block, or each unit's, so that two roundings of a term
 * (product, step) stand in for two (weight, product): the bound gamma_(K+4) Σ |x w| holds for both forms. Sums before
 * the step are larger by it: rows with Σ |x| over 2^120 may leave f32.
 */

import { mulIndex } from "../../loops/index.ts";
import type { Index } from "../../loops/program.ts";
import type { Frame, GpuFeature, WgslDispatch, WgslVariant } from "../kernel.ts";
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
import type { Declined, DotProblem } from "./problem.ts";

/** Columns of a workgroup. */
const mostColumns = 16;
const fewestColumns = 4;
/** Bytes of workgroup memory for the sums of spans, and for the staged row. */
const sumBytes = 6144;
const stageBytes = 8192;
/** Units of a span where blocks leave it open. */
const shortestSpan = 8;
/** Spans of a column that keep the invocations busy. */
const wantedSpans = 32;

interface Cut {
  readonly columns: number;
  readonly spanUnits: number;
  readonly spans: number;
  /** Units that are staged at once: whole spans. */
  readonly stageUnits: number;
}

/** Undefined where the sums of the spans do not fit. */
function cutOf(
  { units, columns }: DotProblem,
  { scalesBlocks, blockUnits, unitBytes, needsLefts, offsets }: Arithmetic,
): Cut | undefined {
  const fixed = scalesBlocks !== "no";
  let spanUnits = fixed ? Math.min(blockUnits, units) : Math.min(units, shortestSpan);
  while (!fixed && Math.ceil(units / spanUnits) > wantedSpans) spanUnits *= 2;
  const spans = Math.ceil(units / spanUnits);
  const spanBytes = needsLefts ? 8 * spans : 0;
  const columnBytes = (offsets ? 8 : 4) * spans;
  let wide = Math.min(mostColumns, Math.ceil(columns / 4) * 4);
  while (wide > fewestColumns && wide * columnBytes > sumBytes) wide /= 2;
  const stageUnits = Math.floor(stageBytes / unitBytes / spanUnits) * spanUnits;
  if (wide * columnBytes + spanBytes > sumBytes || stageUnits === 0 || !Number.isInteger(wide)) return undefined;
  return { columns: wide, spanUnits, spans, stageUnits: Math.min(stageUnits, spans * spanUnits) };
}

/** `below` is the number of rows from which on the kernel has no workgroups. */
export function gemvDispatch(problem: DotProblem, below: number): WgslDispatch | Declined {
  const arithmetic = arithmeticOf(problem);
  const cut = cutOf(problem, arithmetic);
  if (cut === undefined) return { declined: "the depth is too long for one workgroup" };
  const { rows, columns, outer } = problem;
  const columnTiles = Math.ceil(columns / cut.columns);
  const count = mulIndex(rows, columnTiles * outer);
  const inner = innerProducts(problem);
  const may = { subgroups: arithmetic.scalesBlocks === "no", f16: inner !== problem };
  const variants = variantNeeds(arithmetic, may).map((needs): WgslVariant => ({
    needs,
    workgroups: [mulIndex(count, whileRows(rows, below))],
    code: (frame) => gemvCode(needs.includes("shader-f16") ? inner : problem, arithmetic, cut, frame, needs),
  }));
  return { operands: dotOperands(problem), variants };
}

/** The problem with a right side that leaves its steps to the sums, where there is one. */
function innerProducts(problem: DotProblem): DotProblem {
  const { right } = problem;
  if (right.kind === "dynamic" || right.unscaled === undefined) return problem;
  return { ...problem, right: { ...right, ...right.unscaled } };
}

/** 1 where there are fewer rows, else 0. */
function whileRows(rows: Index, below: number): Index {
  if (typeof rows === "number") return rows < below ? 1 : 0;
  if (below === Infinity) return 1;
  return {
    kind: "max",
    x: { kind: "min", x: { kind: "add", x: mulIndex(rows, -1), y: below }, y: 1 },
    y: 0,
  };
}

function gemvCode(
  problem: DotProblem,
  arithmetic: Arithmetic,
  cut: Cut,
  frame: Frame,
  needs: readonly GpuFeature[],
): string {
  const subgroups = needs.includes("subgroups");
  const f16 = needs.includes("shader-f16");
  const { units, columns, rows } = problem;
  const usesNothing = arithmetic.kind === "codes" && problem.result.kind === "real";
  const { unit, sum, blockUnits, needsLefts, scalesBlocks } = arithmetic;
  const kept = scalesBlocks === "real" ? "f32" : sum;
  return [
    `const invocations = ${invocations};`,
    `const columns = ${columns};`,
    `const units = ${units}; // of four entries of the depth`,
    `const block_units = ${blockUnits}; // that share a step`,
    `const span_units = ${cut.spanUnits}; // that one invocation sums`,
    `const spans = ${cut.spans};`,
    `const stage_units = ${cut.stageUnits}; // of the row in workgroup memory at once`,
    `const tile_columns = ${cut.columns};`,
    "",
    `var<workgroup> staged: array<${unit}, stage_units>;`,
    subgroups
      ? `var<workgroup> sums: array<${kept}, tile_columns>;`
      : `var<workgroup> sums: array<${kept}, tile_columns * spans>;`,
    ...(arithmetic.offsets ? [`var<workgroup> shifts: array<f32, tile_columns * spans>;`] : []),
    ...(needsLefts ? ["var<workgroup> lefts: array<i32, spans>;"] : []),
    "",
    ...sharedCode(problem, arithmetic, frame, needs.includes("packed-dot")),
    ...entryLines(
      problem,
      frame.entry,
      { rows, columns: Math.ceil(columns / cut.columns) },
      usesNothing,
      subgroups,
      [
        "let row = row_tile;",
        "let first_column = column_tile * tile_columns;",
        ...(subgroups ? ["let width = i32(subgroup);"] : []),
        ...(subgroups ? [`if (lane < tile_columns) { sums[lane] = ${kept}(0); }`] : []),
        "for (var first_unit = 0; first_unit < units; first_unit += stage_units) {",
        "  let staged_units = min(stage_units, units - first_unit);",
        "  for (var u = lane; u < staged_units; u += invocations) {",
        "    staged[u] = left(outer, row, first_unit + u);",
        "  }",
        "  workgroupBarrier();",
        ...(needsLefts ? leftLines.map((line) => `  ${line}`) : []),
        ...(subgroups ? subgroupLines(problem, arithmetic, cut, f16) : spanLines(problem, arithmetic, cut, f16)).map((
          line,
        ) => `  ${line}`),
        "  workgroupBarrier();",
        "}",
        ...finishLines(problem, arithmetic, subgroups),
      ],
    ),
  ].join("\n");
}

/** Sums of the left codes of every staged span. */
const leftLines: readonly string[] = [
  "for (var span = lane; span * span_units < staged_units; span += invocations) {",
  "  var sum = 0;",
  "  for (var u = span * span_units; u < min((span + 1) * span_units, staged_units); u++) {",
  "    sum += dot_bytes(staged[u], 0x01010101u);",
  "  }",
  "  lefts[first_unit / span_units + span] = sum;",
  "}",
  "workgroupBarrier();",
];

/** Sums the products of staged units `from`, `from + by`, ... below `to`; what a block shares is read once where it can be. */
function sumLines(
  problem: DotProblem,
  { kind, sum, scalesBlocks, blockUnits }: Arithmetic,
  { from, to, by }: { readonly from: string; readonly to: string; readonly by: string },
  span: number,
  unscaled: boolean,
): string[] {
  const { right } = problem;
  const product = kind === "codes" ? "dot_bytes" : "dot";
  const at = "first_unit + u";
  if (right.kind === "dynamic") {
    return [
      `var sum = ${sum}(0);`,
      `for (var u = ${from}; u < ${to}; u += ${by}) {`,
      `  sum += ${product}(staged[u], right(outer, column, ${at}));`,
      "}",
    ];
  }
  const begin = right.begin("column", "block");
  const isOne = right.blocks === 1 || by === "1" && blockUnits % span === 0;
  const block = (unit: string) => [`let block = ${right.blocks === 1 ? "0" : `(first_unit + ${unit}) / block_units`};`];
  return [
    ...(isOne && (begin.length > 0 || scalesBlocks !== "no") ? block(from) : []),
    ...(isOne ? begin : []),
    `var sum = ${sum}(0);`,
    `for (var u = ${from}; u < ${to}; u += ${by}) {`,
    ...(isOne || begin.length === 0 ? [] : [...block("u"), ...begin]).map((line) => `  ${line}`),
    `  sum += ${unscaled && !isOne ? "step * " : ""}${product}(staged[u], ${right.unit("column", at)});`,
    "}",
    ...(unscaled && isOne ? ["sum *= step;"] : []),
  ];
}

function spanLines(problem: DotProblem, arithmetic: Arithmetic, { spanUnits }: Cut, unscaled: boolean): string[] {
  const { left } = problem;
  const { scalesBlocks, offsets } = arithmetic;
  const of = { column: "column", block: "block", lefts: "lefts[span]", leftZero: "left_zero(outer, row)" };
  const mended = mendedText(problem, "sum", of, { block: true, column: scalesBlocks === "real" });
  const kept = scalesBlocks === "no"
    ? "sum"
    : scalesBlocks === "real"
    ? `scaled(left_step(outer, row), column, block, ${mended})`
    : `right_inner(column, block) * (${mended})`;
  const blockLefts = left.zeros ? "lefts[span] - left_zero(outer, row) * entries_of(block)" : "lefts[span]";
  const range = { from: "first", to: "min(first + span_units, staged_units)", by: "1" };
  return [
    "let staged_spans = (staged_units + span_units - 1) / span_units;",
    "for (var item = lane; item < tile_columns * staged_spans; item += invocations) {",
    `  let column = ${wholeColumn(problem, "min(first_column + item / staged_spans, columns - 1)")};`,
    "  let first = (item % staged_spans) * span_units;",
    "  let span = (first_unit + first) / span_units;",
    ...sumLines(problem, arithmetic, range, spanUnits, unscaled).map((line) => `  ${line}`),
    "  let at = (item / staged_spans) * spans + span;",
    `  sums[at] = ${kept};`,
    ...(offsets ? [`  shifts[at] = shifted(left_step(outer, row), column, block, ${blockLefts});`] : []),
    "}",
  ];
}

/** A subgroup sums a column at a time. Every subgroup goes through as many rounds, so that its invocations stay together. */
function subgroupLines(
  problem: DotProblem,
  arithmetic: Arithmetic,
  { spanUnits }: Cut,
  unscaled: boolean,
): string[] {
  const column = wholeColumn(problem, "min(first_column + own, columns - 1)");
  const range = { from: "lane % width", to: "end", by: "width" };
  return [
    "for (var round = 0; round < tile_columns; round++) {",
    "  let own = round * (invocations / width) + lane / width;",
    "  let end = select(0, staged_units, own < tile_columns);",
    `  let column = ${column};`,
    ...sumLines(problem, arithmetic, range, spanUnits, unscaled).map((line) => `  ${line}`),
    "  let whole = subgroupAdd(sum);",
    "  if (subgroupElect() && own < tile_columns) { sums[own] += whole; }",
    "}",
  ];
}

function finishLines(problem: DotProblem, arithmetic: Arithmetic, subgroups: boolean): string[] {
  const { scalesBlocks, sum, offsets, needsLefts } = arithmetic;
  return [
    "if (lane < tile_columns && first_column + lane < columns) {",
    ...(usesColumn(problem, arithmetic) ? [`  let column = ${wholeColumn(problem, "first_column + lane")};`] : []),
    ...(subgroups ? ["  let sum = sums[lane];"] : [
      `  var sum = ${scalesBlocks === "real" ? "f32" : sum}(0);`,
      "  for (var span = 0; span < spans; span++) {",
      "    sum += sums[lane * spans + span];",
      ...(offsets ? ["    sum += shifts[lane * spans + span];"] : []),
      "  }",
    ]),
    ...(needsLefts && scalesBlocks === "no"
      ? ["  var left_sum = 0;", "  for (var span = 0; span < spans; span++) { left_sum += lefts[span]; }"]
      : []),
    `  finish(outer, row, first_column + lane, ${finishedText(problem, arithmetic, "sum", "left_sum")});`,
    "}",
  ];
}
