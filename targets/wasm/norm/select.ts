/** Selects the kernel of norms over the last axis, with what follows them, up to integer codes. */

import { isStatic, printExtent, shapeBound } from "../../../compiler/ir/extent.ts";
import { typeOf } from "../../../compiler/ir/graph.ts";
import { sizeOf } from "../../../compiler/ir/tensor.ts";
import { regionOutputs } from "../../region.ts";
import { type Parameter, planFinish } from "../dot/finish.ts";
import { rowSpace } from "../dot/rows.ts";
import type { KernelSelector } from "../kernel.ts";
import { printFunction } from "../text.ts";
import { normBody, widestPanel } from "./norm.ts";

export const selectNorm: KernelSelector = (region, { graph, symbols }) => {
  const node = region.main;
  if (node.op !== "norm") return { declined: "not a norm" };
  const [x, ...affine] = node.inputs;
  const { shape, element } = typeOf(graph, x);
  const { kind, axis, epsilon } = node.attributes;
  const width = shape[shape.length - 1];
  if (axis !== shape.length - 1) return { declined: "a norm over several axes" };
  if (element !== "f32" || affine.some((value) => typeOf(graph, value).element !== "f32")) {
    return { declined: "operands are not f32" };
  }
  if (!isStatic(width) || sizeOf(shapeBound(shape, symbols)) === 0) {
    return { declined: "no entries, or a symbolic extent" };
  }
  const operands = [...affine, ...region.epilogue?.operands ?? []].map((value) => typeOf(graph, value).shape);
  const rows = rowSpace(shape.slice(0, -1), width, operands, symbols);
  if (rows === undefined) return { declined: "operands do not step along the rows" };
  const shared = rows.strides.slice(0, affine.length);
  if (shared.some(({ outer, row, column }) => outer !== 0 || row !== 0 || column !== 1)) {
    return { declined: "gain or bias is not one entry per channel" };
  }
  const panelColumns = Math.min(widestPanel, 4 * Math.ceil(width / 4));
  const finish = planFinish({
    graph,
    result: { kind: "real" },
    extras: {},
    epilogue: region.epilogue,
    output: regionOutputs(region)[0],
    strides: rows.strides.slice(affine.length),
    columns: width,
    width,
    panelColumns,
    writtenOut: true,
  });
  if ("declined" in finish) return finish;
  const { space } = rows;
  const data = (name: string, value: string): Parameter => ({ name, operand: { kind: "value", value, part: "data" } });
  const names = ["gain", "shift"];
  const parameters = [data("x", x), ...affine.map((value, index) => data(names[index], value)), ...finish.parameters];
  const extents = `${space.outer === 1 ? "" : `${space.outer}x`}${printExtent(space.rows)}<=${space.rowsBound}`;
  const form = `${kind}${affine.length > 0 ? ",gain" : ""}${affine.length > 1 ? ",bias" : ""},epsilon=${epsilon}`;
  const gained = `${affine.length > 0 ? " * gain[k]" : ""}${affine.length > 1 ? " + shift[k]" : ""}`;
  return {
    id: `norm.f32(m=${extents},k=${width},${form},${finish.id})`,
    operands: parameters.map((parameter) => parameter.operand),
    calls: finish.calls,
    wat: (name) =>
      printFunction({
        name,
        header: [
          kind === "layer"
            ? `y[m][k] = (x[m][k] - mean x[m]) / sqrt(variance of x[m] + ${epsilon})${gained}`
            : `y[m][k] = x[m][k] / sqrt(mean of x[m]^2 + ${epsilon})${gained}`,
          ...finish.header,
          `m = ${extents}, k = ${width}; panels of ${panelColumns}`,
        ],
        parameters: parameters.map((parameter) => parameter.name),
        body: normBody({
          kind,
          epsilon,
          width,
          space,
          hasGain: affine.length > 0,
          hasBias: affine.length > 1,
          panelColumns,
          finish,
        }),
      }),
  };
};
