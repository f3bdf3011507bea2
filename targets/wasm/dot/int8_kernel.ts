/** 8-bit codes x 8-bit codes. */

import type { WasmKernel, WasmVariant } from "../kernel.ts";
import { rowBlockOf } from "./engine.ts";
import { int8Core, type Int8CoreOptions } from "./int8.ts";
import { codeShift, hasZeros, packInt8Panels } from "./pack_int8.ts";
import { panelStep } from "./pack_nibble.ts";
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
import { copySlack, matrixSource } from "./source.ts";

/** Five rows of two vectors, the vectors of a panel and one of the left operand fill 13 of 16 registers. */
const tileRows = 5;

/** Largest depth whose sums of products up to 255 * 255 stay inside i32. */
const deepest = Math.floor((2 ** 31 - 1) / (255 * 255));

export function selectInt8(problem: DotProblem): WasmKernel | Declined {
  const { a, b, matrix, view, weightsKey, space, sums } = problem;
  const left = leftCodes(problem.aType, problem.family);
  if (left === undefined) return { declined: "left codes step along the depth" };
  if (matrix === undefined) return { declined: "weights are not integers of 8 bits" };
  const { depth } = view;
  const { block, blocks } = matrix;
  if (depth > deepest) return { declined: "sums may pass 32 bits" };
  if (blocks > 1 && block % 8 !== 0) return { declined: "blocks are not whole groups of 8" };
  if (blocks > 1 && sums === "integer") return { declined: "integer sums over blocks" };
  const panelColumns = panelWidth(problem, 8);
  const finish = problem.finishOf(panelColumns);
  if ("declined" in finish) return finish;
  const weightZeros = hasZeros(matrix, codeShift(matrix.codes));
  if (matrix.offsets !== undefined && (weightZeros || sums === "integer")) {
    return { declined: "offsets beside zero points" };
  }
  const optionsOf = (variant: WasmVariant): Int8CoreOptions => ({
    depth,
    block,
    panelColumns,
    tileRows,
    left,
    source: problem.source ?? matrixSource(depth, 1),
    weightZeros,
    weightOffsets: matrix.offsets !== undefined,
    step: panelStep(matrix),
    variant,
    sums,
  });
  const options = optionsOf("simd128");
  const core = int8Core(options);
  const rowBlock = rowBlockOf(space, core.rowBytes, core.tileRows);
  const text = `columns=${panelColumns},block=${block},steps=${sums === "real" ? options.step : "none"},zeros=${
    weightZeros ? 1 : 0
  },offsets=${options.weightOffsets ? 1 : 0}`;
  return dotKernel({
    problem,
    arithmetic: "int8",
    details: `tile=${tileRows}x${panelColumns},a=${leftName(left)},w=(${text})`,
    header: header(options),
    finish,
    leading: leftParameters(a, left, sums === "real"),
    weights: {
      key: `${weightsKey}/int8-panels(${text})`,
      layout: `int8-panels(${text})`,
      value: b,
      pack: () => packInt8Panels(matrix, options),
    },
    scratchBytes: rowBlock * core.rowBytes + copySlack,
    body: (variant) => loopsOf(problem, finish, int8Core(optionsOf(variant)), rowBlock),
  });
}

function header(options: Int8CoreOptions): string[] {
  const a = options.left.zeros === "none" ? "a[m][k]" : "(a[m][k] - a_zero)";
  const w = options.weightZeros ? "(w[k][n] - w_zero[n])" : "w[k][n]";
  const dot = `sum over k of ${a} * ${w}, exact in i32`;
  if (options.sums === "integer") return [`sum[m][n] = ${dot}`];
  const offset = options.weightOffsets ? " + (a_step[m] * w_offset[block][n]) * f32(sum of a)" : "";
  return options.block < options.depth
    ? [
      `y[m][n] = sum over blocks of (a_step[m] * w_step[block][n]) * f32(dot)${offset}`,
      `dot = ${dot}, within a block of ${options.block}`,
    ]
    : [`y[m][n] = (a_step[m] * w_step[n]) * f32(dot)${offset}`, `dot = ${dot}`];
}
