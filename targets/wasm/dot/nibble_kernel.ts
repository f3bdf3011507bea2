/** 8-bit codes x 4-bit codes. */

import type { IntFormat } from "../../../compiler/numeric/number_format.ts";
import { intRange } from "../../../compiler/numeric/number_format.ts";
import { type WasmKernel, wasmVariants } from "../kernel.ts";
import { rowBlockOf } from "./engine.ts";
import type { LeftCodes } from "./int8.ts";
import { nibbleCore } from "./nibble.ts";
import { type NibbleLayout, nibbleRowBytes } from "./nibble_rows.ts";
import { nibbleCodes, packNibblePanels, panelStep } from "./pack_nibble.ts";
import {
  type Declined,
  dotKernel,
  type DotProblem,
  leftCodes,
  leftName,
  leftParameters,
  loopsOf,
  panelWidth,
} from "./problem.ts";

/** Each sum takes an i16 and an f32 register: four rows of two vectors fill all 16. */
const tileRows = 4;

export function selectNibble(problem: DotProblem, format: IntFormat): WasmKernel | Declined {
  const { a, b, matrix, view, weightsKey, space } = problem;
  const left = leftCodes(problem.aType, problem.family);
  if (left === undefined) return { declined: "left codes step along the depth" };
  if (matrix === undefined) return { declined: "weights are not integers" };
  if (problem.source !== undefined) return { declined: "rows are gathered" };
  const real = problem.sums === "real";
  const codes = nibbleCodes(matrix, intRange(format).min);
  if (codes === undefined) return { declined: "zero points outside the codes" };
  if (matrix.offsets !== undefined && codes.zero !== 0) return { declined: "offsets beside zero points" };
  const { depth } = view;
  if (matrix.blocks > 1 && matrix.block % 8 !== 0) return { declined: "blocks are not whole groups of 8" };
  const ragged = matrix.blocks > 1 && depth % matrix.block !== 0;
  if (ragged && matrix.offsets !== undefined && (left.zeros !== "none" || !left.signed)) {
    return { declined: "offsets and zero points over a last block that is not whole" };
  }
  const panelColumns = panelWidth(problem, 8);
  const finish = problem.finishOf(panelColumns);
  if ("declined" in finish) return finish;
  const layout: NibbleLayout = {
    depth,
    block: matrix.block,
    panelColumns,
    step: real ? panelStep(matrix) : undefined,
    zeros: codes.zero === undefined,
    sums: left.zeros !== "none" || !left.signed,
    offsets: matrix.offsets !== undefined,
  };
  const rowBytes = Math.max(...wasmVariants.map((variant) => nibbleRowBytes(layout, variant)));
  const rowBlock = rowBlockOf(space, rowBytes, tileRows);
  const text = `columns=${panelColumns},block=${matrix.block},step=${layout.step ?? "none"},zeros=${
    layout.zeros ? "block" : codes.zero
  },sums=${layout.sums ? 1 : 0},offsets=${layout.offsets ? 1 : 0}`;
  return dotKernel({
    problem,
    arithmetic: "int4",
    details: `tile=${tileRows}x${panelColumns},a=${leftName(left)},w=(${text})`,
    header: header(layout, left),
    finish,
    leading: leftParameters(a, left, real),
    weights: {
      key: `${weightsKey}/nibble-panels(${text})`,
      layout: `nibble-panels(${text})`,
      value: b,
      pack: () => packNibblePanels(matrix, codes, layout),
    },
    scratchBytes: rowBlock * rowBytes,
    body: (variant) => {
      const core = nibbleCore({ layout, tileRows, left, zero: codes.zero ?? 0, variant });
      return loopsOf(problem, finish, core, rowBlock);
    },
  });
}

function header(layout: NibbleLayout, left: LeftCodes): string[] {
  const a = left.zeros === "none" ? "a[m][k]" : "(a[m][k] - a_zero)";
  const dot = `dot = sum over k of ${a} * (u[k][n] - z[n]), u in 0..15, exact`;
  if (layout.step === undefined) return [`sum[m][n] = ${dot}`];
  const offset = layout.offsets ? " + (a_step[m] * w_offset[block][n]) * f32(sum of a)" : "";
  return layout.block < layout.depth
    ? [
      `y[m][n] = sum over blocks of (a_step[m] * w_step[block][n]) * f32(dot)${offset}`,
      `${dot}, within a block of ${layout.block}`,
    ]
    : [`y[m][n] = (a_step[m] * w_step[n]) * f32(dot)${offset}`, dot];
}
