/** Selects the dot kernel of a matmul with constant weights. */

import { typeOf } from "../../../compiler/ir/graph.ts";
import { schemeOf } from "../../../compiler/ir/types.ts";
import { formatBits } from "../../../compiler/numeric/number_format.ts";
import type { Region } from "../../region.ts";
import type { KernelSelector, SelectContext, WasmKernel } from "../kernel.ts";
import { constantNode } from "../../plan/constants.ts";
import { regionFinish } from "./finish.ts";
import { selectFloat } from "./float_kernel.ts";
import { selectInt8 } from "./int8_kernel.ts";
import { selectPacked, selectPackedFloat } from "./packed_kernel.ts";
import { matmulView, quantizedMatrix } from "./matrix.ts";
import { selectNibble } from "./nibble_kernel.ts";
import type { Declined, DotProblem } from "./problem.ts";
import { rowSpace } from "./rows.ts";
import { selectWeightOnly } from "./weight_only_kernel.ts";

export const selectMatmul: KernelSelector = (region, context) => {
  const problem = matmulProblem(region, context);
  return "declined" in problem ? problem : selectDot(problem);
};

/** The family that fits the operands. */
export function selectDot(problem: DotProblem): WasmKernel | Declined {
  const { tensor } = problem;
  const quantizedRows = schemeOf(problem.aType) !== undefined;
  if (tensor.kind === "plain") return selectFloat(problem);
  const { format } = tensor.scheme;
  const integer = format.kind === "int" && tensor.outerSteps === undefined;
  const bits = formatBits(format);
  const families: readonly (() => WasmKernel | Declined)[] = quantizedRows
    ? [
      ...(integer && bits === 4 ? [() => selectNibble(problem, format)] : []),
      ...(integer && bits === 8 ? [() => selectInt8(problem)] : []),
      () => selectPacked(problem, format),
      ...(integer && bits < 4 ? [() => selectNibble(problem, format)] : []),
      ...(integer && bits !== 8 ? [() => selectInt8(problem)] : []),
    ]
    : [
      ...(integer && (bits === 4 || bits === 8) ? [() => selectWeightOnly(problem)] : []),
      () => selectPackedFloat(problem, format),
      ...(integer ? [() => selectWeightOnly(problem)] : []),
    ];
  return firstOf(families);
}

/** The first family that takes the problem, or the last one's reason. */
function firstOf(families: readonly (() => WasmKernel | Declined)[]): WasmKernel | Declined {
  let last: Declined = { declined: "no family" };
  for (const select of families) {
    const kernel = select();
    if (!("declined" in kernel)) return kernel;
    last = kernel;
  }
  return last;
}

/** Reads the geometry of a matmul region. */
export function matmulProblem(region: Region, { graph, symbols }: SelectContext): DotProblem | Declined {
  const node = region.main;
  if (node.op !== "matmul") return { declined: "not a matmul" };
  const [a, b, ...rest] = node.inputs;
  const { transposeB, hasBias, result } = node.attributes;
  const weights = constantNode(graph, b);
  if (weights === undefined) return { declined: "weights are not constant" };
  const { hash } = weights.attributes;
  const tensor = graph.constants.get(hash);
  const view = matmulView(tensor.shape, transposeB);
  if (view === undefined) return { declined: "weights are batched" };
  if (view.depth === 0 || view.columns === 0) return { declined: "no entries" };
  const aType = typeOf(graph, a);
  const operands = region.epilogue?.operands ?? [];
  const shapes = operands.map((value) => typeOf(graph, value).shape);
  const rows = rowSpace(aType.shape.slice(0, -1), view.columns, shapes, symbols);
  if (rows === undefined) return { declined: "operands do not step along the rows" };
  if (rows.space.outer * rows.space.rowsBound === 0) return { declined: "no entries" };
  const rank = tensor.shape.length;
  const [columnAxis, depthAxis] = transposeB ? [rank - 2, rank - 1] : [rank - 1, rank - 2];
  return {
    family: "matmul",
    graph,
    a,
    aType,
    b,
    tensor,
    weightsKey: `${hash}${transposeB ? "/transposed" : ""}`,
    view,
    matrix: quantizedMatrix(tensor, view, columnAxis, depthAxis),
    space: rows.space,
    sums: result.kind === "real" ? "real" : "integer",
    finishOf: regionFinish({ graph, region, rest, hasBias, result, strides: rows.strides, view }),
  };
}
