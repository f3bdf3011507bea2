/** f32 rows x quantized weights. */

import type { ValueName } from "../../../compiler/ir/node.ts";
import type { Tensor } from "../../../compiler/ir/tensor.ts";
import { formatBits, intRange } from "../../../compiler/numeric/number_format.ts";
import type { PackedWeights, WasmKernel, WasmVariant } from "../kernel.ts";
import { constant, get, ifThen, type Lines, op } from "../text.ts";
import { rowBlockOf } from "./engine.ts";
import type { QuantizedMatrix } from "./matrix.ts";
import { panelStep } from "./pack_nibble.ts";
import { packWeightOnlyPanels, type StoredCodes, storedCodes } from "./pack_weight_only.ts";
import { type Declined, dotKernel, type DotProblem, loopsOf, panelWidth } from "./problem.ts";
import {
  decodedCore,
  decodedPanelBytes,
  singleRowBytes,
  singleRowCore,
  type WeightOnlyLayout,
  type WeightOnlyOptions,
} from "./weight_only.ts";

const tileRows = 5;

/** The panels of a quantized matrix, and how they are read. */
export interface WeightOnlyPanels {
  readonly layout: WeightOnlyLayout;
  /** The zero point of every block, where it does not vary. */
  readonly zero: number;
  readonly weights: PackedWeights;
}

/** Panels of the whole matrix, or why there are none. `weightsKey` names the constant and the order of its entries. */
export function weightOnlyPanels(
  tensor: Tensor,
  matrix: QuantizedMatrix | undefined,
  weightsKey: string,
  value: ValueName,
): WeightOnlyPanels | Declined {
  if (matrix === undefined || tensor.kind !== "quantized" || tensor.scheme.format.kind !== "int") {
    return { declined: "weights are not integers of 8 bits" };
  }
  if (matrix.outerStep !== undefined) return { declined: "two-level steps" };
  const { view, block, blocks } = matrix;
  const { depth } = view;
  if (view.groupColumns !== view.columns) return { declined: "columns in groups" };
  if (blocks > 1 && block % 8 !== 0) return { declined: "blocks are not whole groups of 8" };
  const { format } = tensor.scheme;
  const codes = formatBits(format) <= 4 ? "nibble" : "byte";
  const stored = storedCodes(matrix, codes, intRange(format).min);
  if (stored === undefined) return { declined: "codes outside their format" };
  const layout: WeightOnlyLayout = {
    codes,
    depth,
    block,
    panelColumns: panelWidth({ view }, 8),
    step: panelStep(matrix),
    zeros: zeroStorage(matrix, stored, codes),
    offsets: matrix.offsets !== undefined,
  };
  const text = `columns=${layout.panelColumns},block=${block},codes=${codes},step=${layout.step},zeros=${
    layout.zeros === "none" ? stored.zero : layout.zeros
  },offsets=${layout.offsets ? 1 : 0}`;
  return {
    layout,
    zero: stored.zero ?? 0,
    weights: {
      key: `${weightsKey}/weight-only-panels(${text})`,
      layout: `weight-only-panels(${text})`,
      value,
      pack: () => packWeightOnlyPanels(matrix, stored, layout),
    },
  };
}

function zeroStorage(
  { zeros }: QuantizedMatrix,
  { zero, shift }: StoredCodes,
  codes: WeightOnlyLayout["codes"],
): WeightOnlyLayout["zeros"] {
  if (zero !== undefined || zeros === undefined) return "none";
  return codes === "nibble" && zeros.every((one) => one - shift >= 0 && one - shift <= 15) ? "u4" : "i16";
}

export function selectWeightOnly(problem: DotProblem): WasmKernel | Declined {
  const { a, b, matrix, tensor, view, weightsKey, space } = problem;
  if (problem.aType.element !== "f32") return { declined: "rows are not f32" };
  if (problem.source !== undefined) return { declined: "rows are gathered" };
  const panels = weightOnlyPanels(tensor, matrix, weightsKey, b);
  if ("declined" in panels) return panels;
  const { layout, zero, weights } = panels;
  const finish = problem.finishOf(layout.panelColumns);
  if ("declined" in finish) return finish;
  const rowBlock = rowBlockOf(space, 4 * view.depth, tileRows);
  const scratchBytes = Math.max(
    singleRowBytes(layout),
    space.rowsBound === 1 ? 0 : decodedPanelBytes(layout),
  );
  const body = (variant: WasmVariant): Lines => {
    const options: WeightOnlyOptions = { layout, zero, variant };
    const single = (): Lines => loopsOf(problem, finish, singleRowCore(options), 1, 1);
    const more = (): Lines => loopsOf(problem, finish, decodedCore(options, tileRows), rowBlock);
    if (space.rows === 1) return single();
    if (typeof space.rows === "number") return more();
    return ifThen(op("i32.eq", get("rows"), constant(1)), single(), more());
  };
  return dotKernel({
    problem,
    arithmetic: "weights",
    details: `tile=${tileRows}x${layout.panelColumns},w=${weights.layout.replace("weight-only-panels", "")}`,
    header: header(layout),
    finish,
    leading: [{ name: "a", operand: { kind: "value", value: a, part: "data" } }],
    weights,
    scratchBytes,
    body,
  });
}

function header(layout: WeightOnlyLayout): string[] {
  const offset = layout.offsets ? " + offset" : "";
  return [
    `y[m][n] = sum over k of a[m][k] * ((q[k][n] - z) * w_step${offset}), blocks of ${layout.block}`,
    "one row: per block, w_step * (sum of a * q - z * sum of a) plus offset * sum of a",
    "more rows: a panel is decoded to f32, then multiplied",
  ];
}
