/**
 * f32 x f32 where neither side is constant: the right operand of every batch is put in panel order in scratch, then the
 * rows are multiplied as they are by constant weights.
 */

import { isStatic, printExtent } from "../../../compiler/ir/extent.ts";
import { typeOf } from "../../../compiler/ir/graph.ts";
import { stridesOf } from "../../../compiler/ir/tensor.ts";
import type { TensorType } from "../../../compiler/ir/types.ts";
import { regionOutputs } from "../../region.ts";
import type { KernelSelector } from "../kernel.ts";
import {
  advance,
  constant,
  countedLoop,
  get,
  type Lines,
  load,
  op,
  printFunction,
  set,
  store,
  sum,
  times,
} from "../text.ts";
import { constantNode } from "../../plan/constants.ts";
import { dotLoops, rowBlockOf } from "./engine.ts";
import { contractionExtras, type Parameter, planFinish } from "./finish.ts";
import { floatCore, floatPanelBytes } from "./float.ts";
import { extentText, rowSpace } from "./rows.ts";

const tileRows = 5;

/** Fewer rows do not repay the packing. */
const fewestRows = 4;

export const selectDynamicMatmul: KernelSelector = (region, { graph, symbols }) => {
  const node = region.main;
  if (node.op !== "matmul") return { declined: "not a matmul" };
  const [a, b, ...rest] = node.inputs;
  const { transposeB, hasBias, result } = node.attributes;
  if (constantNode(graph, b) !== undefined) return { declined: "weights are constant" };
  const geometry = dynamicGeometry(typeOf(graph, a), typeOf(graph, b), transposeB);
  if ("declined" in geometry) return geometry;
  const { depth, columns, batches } = geometry;
  const output = regionOutputs(region)[0];
  const axes = typeOf(graph, node.outputs[0]).shape.slice(0, -1);
  const shapes = (region.epilogue?.operands ?? []).map((value) => typeOf(graph, value).shape);
  // The outer blocks are the batches of the right operand.
  const rows = rowSpace(axes, columns, shapes, symbols, batches.length === 0 ? 0 : axes.length - 1);
  if (rows === undefined) return { declined: "operands do not step along the rows" };
  const { space } = rows;
  if (batches.length > 0 && space.outer !== batches.reduce((product, { extent }) => product * extent, 1)) {
    return { declined: "operands step along parts of a batch" };
  }
  if (space.rowsBound < fewestRows) return { declined: "too few rows to repay packing" };
  const panelColumns = Math.min(8, Math.ceil(columns / 4) * 4);
  const finish = planFinish({
    graph,
    result,
    extras: contractionExtras(rest, hasBias, result),
    epilogue: region.epilogue,
    output,
    strides: rows.strides,
    columns,
    width: columns,
    panelColumns,
  });
  if ("declined" in finish) return finish;
  const panels = Math.ceil(columns / panelColumns);
  const parameters: Parameter[] = [
    { name: "a", operand: { kind: "value", value: a, part: "data" } },
    { name: "b", operand: { kind: "value", value: b, part: "data" } },
    ...finish.parameters,
    { name: "weights", operand: { kind: "scratch", bytes: panels * floatPanelBytes(depth, panelColumns) + 16 } },
  ];
  const extents = `${space.outer === 1 ? "" : `${space.outer}x`}${printExtent(space.rows)}`;
  const form = `b=[${batches.map(({ extent, stride }) => `${extent}*${stride}`).join(",")}]${
    transposeB ? ",transposed" : ""
  }`;
  return {
    id: `matmul.dynamic(m=${extents},k=${depth},n=${columns},tile=${tileRows}x${panelColumns},${form},${finish.id})`,
    operands: parameters.map((parameter) => parameter.operand),
    calls: finish.calls,
    wat: (name, variant) => {
      const rowBytes = 4 * depth;
      const core = floatCore({ depth, panelColumns, tileRows, rowBytes, variant });
      const packing = packPanels({ depth, columns, panelColumns, batches, transposeB });
      return printFunction({
        name,
        header: [
          "y[m][n] = sum over k of a[m][k] * b[k][n]; b goes to panels of columns first",
          ...finish.header,
          `m = ${extents}, k = ${depth}, n = ${columns}; tiles of ${tileRows} x ${panelColumns}`,
        ],
        parameters: parameters.map((parameter) => parameter.name),
        body: [
          ...finish.setup,
          set("rows", extentText(space.rows)),
          ...dotLoops({
            core,
            finish,
            space,
            columns,
            groups: 1,
            rowBlock: rowBlockOf(space, rowBytes, tileRows),
            beginOuter: packing,
          }),
        ],
      });
    },
  };
};

interface DynamicGeometry {
  readonly depth: number;
  readonly columns: number;
  /** Strides of `b` over the batch axes of the result, in matrices, with their extents; empty when there is one matrix. */
  readonly batches: readonly BatchAxis[];
}

interface BatchAxis {
  readonly extent: number;
  readonly stride: number;
}

function dynamicGeometry(
  a: TensorType,
  b: TensorType,
  transposeB: boolean,
): DynamicGeometry | { readonly declined: string } {
  if ([a, b].some(({ encoding, element }) => encoding.kind !== "plain" || element !== "f32")) {
    return { declined: "operands are not f32" };
  }
  const shape = b.shape;
  if (!shape.every(isStatic)) return { declined: "right operand has symbolic extents" };
  const [rows, last] = shape.slice(-2);
  const [depth, columns] = transposeB ? [last, rows] : [rows, last];
  if (shape.includes(0)) return { declined: "no entries" };
  const aBatch = a.shape.slice(0, -2);
  const bBatch = shape.slice(0, -2);
  if (bBatch.every((extent) => extent === 1)) return { depth, columns, batches: [] };
  if (!aBatch.every(isStatic)) return { declined: "symbolic batches" };
  const rank = Math.max(aBatch.length, bBatch.length);
  const aligned = (list: readonly number[]): number[] => [...new Array<number>(rank - list.length).fill(1), ...list];
  const [left, right] = [aligned(aBatch), aligned(bBatch)];
  // Rows of the left operand are read where they lie, so it may not be broadcast.
  if (right.some((extent, axis) => extent !== 1 && left[axis] !== extent)) {
    return { declined: "left batches are broadcast" };
  }
  const strides = stridesOf(right);
  const axes = left.map((extent, axis): BatchAxis => ({ extent, stride: right[axis] === 1 ? 0 : strides[axis] }));
  return { depth, columns, batches: mergeBatches(axes) };
}

/** Neighbouring axes that one stride serves become one. */
function mergeBatches(axes: readonly BatchAxis[]): BatchAxis[] {
  const merged: BatchAxis[] = [];
  for (const axis of axes) {
    if (axis.extent === 1) continue;
    const last = merged[merged.length - 1];
    if (last !== undefined && last.stride === axis.stride * axis.extent) {
      merged[merged.length - 1] = { extent: last.extent * axis.extent, stride: axis.stride };
    } else merged.push(axis);
  }
  return merged;
}

interface Packing {
  readonly depth: number;
  readonly columns: number;
  readonly panelColumns: number;
  readonly batches: readonly BatchAxis[];
  readonly transposeB: boolean;
}

/** Puts the matrix of batch `$outer` in panels of [depth][panelColumns] at `$weights`. */
function packPanels(packing: Packing): Lines {
  const { depth, columns, panelColumns, batches, transposeB } = packing;
  const panelBytes = floatPanelBytes(depth, panelColumns);
  const whole = Math.floor(columns / panelColumns);
  const rest = columns % panelColumns;
  const pack = transposeB ? packColumns : packRows;
  const begin = [set("matrix", matrixAddress(batches, depth * columns)), set("to", get("weights"))];
  return [
    ...begin,
    ...(whole > 0
      ? countedLoop("pack_panels", "packed", whole, [...pack(packing, panelColumns), advance("to", panelBytes)])
      : []),
    ...(rest > 0 ? pack(packing, rest) : []),
  ];
}

function matrixAddress(batches: readonly BatchAxis[], entries: number): string {
  let divisor = 1;
  let index: string | undefined;
  for (const { extent, stride } of [...batches].reverse()) {
    if (stride !== 0) {
      const place = op("i32.rem_u", op("i32.div_u", get("outer"), constant(divisor)), constant(extent));
      const term = times(place, 4 * stride * entries);
      index = index === undefined ? term : sum(index, term);
    }
    divisor *= extent;
  }
  return index === undefined ? get("b") : sum(get("b"), index);
}

/** From [depth][columns]: a row of the panel lies together. `$matrix` moves on to the next panel. */
function packRows({ depth, columns, panelColumns }: Packing, count: number): Lines {
  const vectors = Math.ceil(count / 4);
  const copies = Array.from(
    { length: vectors },
    (_, vector) => store("v128.store", get("at"), load("v128.load", get("from"), 16 * vector), 16 * vector),
  );
  return [
    set("from", get("matrix")),
    set("at", get("to")),
    ...countedLoop("pack_rows", "k", depth, [
      ...copies,
      advance("from", 4 * columns),
      advance("at", 4 * panelColumns),
    ]),
    advance("matrix", 4 * count),
  ];
}

/** From [columns][depth]: each column is spread over the rows of the panel. */
function packColumns({ depth, panelColumns }: Packing, count: number): Lines {
  return [
    set("at", get("to")),
    set("from", get("matrix")),
    ...countedLoop("pack_rows", "k", depth, [
      ...Array.from(
        { length: count },
        (_, column) => store("f32.store", get("at"), load("f32.load", get("from"), 4 * column * depth), 4 * column),
      ),
      advance("from", 4),
      advance("at", 4 * panelColumns),
    ]),
    advance("matrix", 4 * depth * count),
  ];
}
