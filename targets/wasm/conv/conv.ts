/** Selects the kernel of a channels-last conv with constant weights: a matmul over windows. */

import { typeOf } from "../../../compiler/ir/graph.ts";
import { schemeOf } from "../../../compiler/ir/types.ts";
import type { Region } from "../../region.ts";
import { constantNode } from "../../plan/constants.ts";
import { regionFinish } from "../dot/finish.ts";
import { convView, quantizedMatrix } from "../dot/matrix.ts";
import { selectDot } from "../dot/matmul.ts";
import type { Declined, DotProblem } from "../dot/problem.ts";
import { rowSpace } from "../dot/rows.ts";
import type { KernelSelector, SelectContext } from "../kernel.ts";
import { selectDepthwise } from "./depthwise_kernel.ts";
import { isPointwise, type WindowGeometry, windowGeometry, windowSource } from "./window.ts";

export const selectConv: KernelSelector = (region, context) => {
  const found = convProblem(region, context);
  if ("declined" in found) return found;
  const depthwise = selectDepthwise(found.problem, found.geometry);
  return "declined" in depthwise ? selectDot(found.problem) : depthwise;
};

/** A conv as a contraction of windows with one constant matrix. */
export interface ConvProblem {
  readonly problem: DotProblem;
  readonly geometry: WindowGeometry;
}

/** Reads the geometry of a conv region. */
export function convProblem(region: Region, { graph, symbols }: SelectContext): ConvProblem | Declined {
  const node = region.main;
  if (node.op !== "conv") return { declined: "not a conv" };
  const [a, b, ...rest] = node.inputs;
  const { groups, hasBias, result } = node.attributes;
  const weights = constantNode(graph, b);
  if (weights === undefined) return { declined: "weights are not constant" };
  const { hash } = weights.attributes;
  const tensor = graph.constants.get(hash);
  const aType = typeOf(graph, a);
  const outShape = typeOf(graph, node.outputs[0]).shape;
  const geometry = windowGeometry(aType.shape, outShape, tensor.shape.slice(1, -1), node.attributes);
  if (geometry === undefined) return { declined: "not a channels-last image of static extents" };
  const view = convView(tensor.shape, groups);
  const operands = region.epilogue?.operands ?? [];
  const shapes = operands.map((value) => typeOf(graph, value).shape);
  const rows = rowSpace(outShape.slice(0, -1), view.columns, shapes, symbols);
  if (rows === undefined) return { declined: "operands do not step along the rows" };
  const entries = rows.space.outer * rows.space.rowsBound * view.depth * view.columns;
  if (entries === 0) return { declined: "no entries" };
  const dense = groups === 1 && isPointwise(geometry);
  const entryBytes = schemeOf(aType) === undefined ? 4 : 1;
  const problem: DotProblem = {
    family: "conv",
    graph,
    a,
    aType,
    b,
    tensor,
    weightsKey: `${hash}/conv${groups === 1 ? "" : `/groups=${groups}`}`,
    view,
    matrix: quantizedMatrix(tensor, view, 0, "whole"),
    space: rows.space,
    source: dense ? undefined : windowSource(geometry, groups, entryBytes),
    sums: result.kind === "real" ? "real" : "integer",
    finishOf: regionFinish({ graph, region, rest, hasBias, result, strides: rows.strides, view }),
  };
  return { problem, geometry };
}
