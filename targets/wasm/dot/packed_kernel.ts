/** Rows x packed codes: of integers or small floats, with one or two levels of steps. */

import type { NumberFormat } from "../../../compiler/numeric/number_format.ts";
import { formatBits, formatName } from "../../../compiler/numeric/number_format.ts";
import type { PackedWeights, WasmKernel, WasmVariant } from "../kernel.ts";
import { constant, get, type Lines, set, sum } from "../text.ts";
import { type DotCore, rowBlockOf } from "./engine.ts";
import { floatTile } from "./float.ts";
import { int8Core, type LeftCodes } from "./int8.ts";
import type { QuantizedMatrix } from "./matrix.ts";
import {
  decodedBytes,
  decodePanel,
  entriesName,
  packedColumns,
  packedGroup,
  type PackedLayout,
  packedShape,
} from "./packed.ts";
import { type PackedEntries, packedEntries } from "./packed_entries.ts";
import { packPackedPanels } from "./pack_packed.ts";
import { type Declined, dotKernel, type DotProblem, leftCodes, leftName, leftParameters, loopsOf } from "./problem.ts";
import { copySlack, matrixSource } from "./source.ts";
import { panelStepOf } from "./steps.ts";

const tileRows = 5;

/** Largest |sum| that i32 holds. */
const largestSum = 2 ** 31 - 1;

/** Panels of the matrix in one layout. */
interface Panels {
  readonly layout: PackedLayout;
  readonly entries: PackedEntries;
  readonly weights: PackedWeights;
}

function panelsOf(problem: DotProblem, format: NumberFormat, rowBlock: number, real: boolean): Panels | Declined {
  const { matrix, view, weightsKey, b } = problem;
  if (matrix === undefined) return { declined: "weights of more than 8 bits" };
  if (matrix.offsets !== undefined) return { declined: "packed codes with offsets" };
  const entries = packedEntries(matrix, format);
  if ("declined" in entries) return entries;
  const twoLevel = matrix.outerStep !== undefined;
  const block = twoLevel ? matrix.block : Math.min(matrix.block, rowBlock);
  const nested = (extent: number) => extent >= view.depth || extent % block === 0;
  if (!nested(matrix.block) || !nested(rowBlock)) return { declined: "blocks of rows and columns that do not nest" };
  if (block < view.depth && block % packedGroup !== 0) {
    return { declined: `blocks are not whole groups of ${packedGroup}` };
  }
  const layout: PackedLayout = {
    depth: view.depth,
    block,
    width: formatBits(format),
    step: real ? panelStepOf(stepsOf(matrix)) : undefined,
    entries: entries.form,
  };
  const text = `format=${formatName(format)},block=${block},step=${layout.step ?? "none"},entry=${
    entriesName(layout.entries)
  }`;
  return {
    layout,
    entries,
    weights: {
      key: `${weightsKey}/packed-panels(${text})`,
      layout: `packed-panels(${text})`,
      value: b,
      pack: () => packPackedPanels(matrix, entries, layout),
    },
  };
}

/** The steps that stand before sums. */
function stepsOf({ outerStep, steps, view }: QuantizedMatrix): ArrayLike<number> {
  return outerStep === undefined ? steps : Array.from({ length: view.columns }, (_, column) => outerStep(column));
}

/** Quantized rows. Sums are exact in i32; entries of tables are their values times a power of two, which the sums lose again. */
export function selectPacked(problem: DotProblem, format: NumberFormat): WasmKernel | Declined {
  const left = leftCodes(problem.aType, problem.family, "blocks and tables");
  if (left === undefined) return { declined: "left codes that are no small numbers, or whose steps vary" };
  const { view, space } = problem;
  const { depth } = view;
  const real = problem.sums === "real";
  const leftBlock = left.steps === "block" ? left.block ?? depth : depth;
  const panels = panelsOf(problem, format, leftBlock, real);
  if ("declined" in panels) return panels;
  const { layout, entries, weights } = panels;
  const twoLevel = layout.entries.kind === "twoLevel";
  if (twoLevel && left.steps === "block") return { declined: "outer steps along rows whose own steps vary" };
  if (left.steps === "block" && layout.block !== leftBlock) {
    return { declined: "steps of columns inside blocks of rows" };
  }
  if (depth * 256 * entries.largest > largestSum) return { declined: "sums may pass 32 bits" };
  const shape = packedShape(layout);
  const blocks = twoLevel ? 1 : shape.blocks;
  if (blocks > 1 && !real) return { declined: "integer sums over blocks" };
  const finish = problem.finishOf(packedColumns);
  if ("declined" in finish) return finish;
  const source = problem.source ?? matrixSource(depth, 1);
  const scaleBits = (left.table?.scaleBits ?? 0) + entries.scaleBits;
  const coreOf = (variant: WasmVariant, decodedAt: number) =>
    int8Core({
      depth,
      block: twoLevel ? depth : layout.block,
      panelColumns: packedColumns,
      tileRows,
      left,
      source,
      weightZeros: false,
      weightOffsets: false,
      step: layout.step ?? "f32",
      variant,
      sums: problem.sums,
      sumScale: 2 ** -scaleBits,
      decoded: {
        panelBytes: shape.panelBytes,
        blockBytes: shape.blockBytes,
        decode: [
          set("decoded", sum(get("scratch"), constant(decodedAt))),
          ...decodePanel(layout, "bytes", variant),
        ],
      },
    });
  const { rowBytes } = coreOf("simd128", 0);
  const rowBlock = rowBlockOf(space, rowBytes, tileRows);
  const decodedAt = Math.ceil((rowBlock * rowBytes + copySlack) / 16) * 16;
  return dotKernel({
    problem,
    arithmetic: "packed",
    details: `tile=${tileRows}x${packedColumns},a=${leftName(left)},w=${weights.layout.replace("packed-panels", "")}`,
    header: header(layout, left, real),
    finish,
    leading: leftParameters(problem.a, left, real),
    weights,
    scratchBytes: decodedAt + decodedBytes(layout, "bytes"),
    body: (variant) => loopsOf(problem, finish, coreOf(variant, decodedAt), rowBlock),
  });
}

function header(layout: PackedLayout, left: LeftCodes, real: boolean): string[] {
  const a = left.zeros === "none" ? "a[m][k]" : "(a[m][k] - a_zero)";
  const dot = `sum over k of ${a} * entry[k][n], exact in i32`;
  const entry = {
    centred: "entry = u - z",
    table: "entry = value(u) times a power of two, an 8-bit integer",
    twoLevel: "entry = (u - z) * inner step, an 8-bit integer; w_step is the outer one",
  }[layout.entries.kind];
  if (!real) return [`sum[m][n] = ${dot}`, entry];
  const blocked = layout.entries.kind !== "twoLevel" && layout.block < layout.depth;
  return blocked
    ? [
      `y[m][n] = sum over blocks of (a_step * w_step[block][n]) * f32(dot)`,
      `dot = ${dot}, within a block of ${layout.block}`,
      entry,
    ]
    : [`y[m][n] = (a_step * w_step[n]) * f32(dot)`, `dot = ${dot}`, entry];
}

/** f32 rows: every panel is decoded to f32, then multiplied. */
export function selectPackedFloat(problem: DotProblem, format: NumberFormat): WasmKernel | Declined {
  const { a, view, space } = problem;
  const { depth } = view;
  if (problem.aType.element !== "f32") return { declined: "rows are not f32" };
  if (problem.source !== undefined) return { declined: "rows are gathered" };
  const panels = panelsOf(problem, format, depth, true);
  if ("declined" in panels) return panels;
  const { layout, entries, weights } = panels;
  const finish = problem.finishOf(packedColumns);
  if ("declined" in finish) return finish;
  const coreOf = (variant: WasmVariant): DotCore => ({
    panelColumns: packedColumns,
    panelBytes: packedShape(layout).panelBytes,
    rowBytes: 4 * depth,
    tileRows,
    beginPanel: [
      set("decoded", get("scratch")),
      ...decodePanel(layout, "floats", variant, 2 ** -entries.scaleBits),
    ],
    tile: (rows): Lines =>
      floatTile(
        { depth, panelColumns: packedColumns, tileRows, rowBytes: 4 * depth, variant, weights: "scratch" },
        rows,
      ),
  });
  return dotKernel({
    problem,
    arithmetic: "packed-weights",
    details: `tile=${tileRows}x${packedColumns},w=${weights.layout.replace("packed-panels", "")}`,
    header: [
      "y[m][n] = sum over k of a[m][k] * (entry[k][n] * w_step)",
      "a panel is decoded to f32 once a block of rows, then multiplied",
    ],
    finish,
    leading: [{ name: "a", operand: { kind: "value", value: a, part: "data" } }],
    weights,
    scratchBytes: decodedBytes(layout, "floats"),
    body: (variant) => loopsOf(problem, finish, coreOf(variant), rowBlockOf(space, 4 * depth, tileRows)),
  });
}
