/** What the dot families share before they differ: the geometry of a contraction with constant weights, and the kernel. */

import { type Extent, isStatic, printExtent } from "../../../compiler/ir/extent.ts";
import type { Graph } from "../../../compiler/ir/graph.ts";
import type { ValueName } from "../../../compiler/ir/node.ts";
import { isPlain, type PlainTensor, type Tensor } from "../../../compiler/ir/tensor.ts";
import { schemeOf, type TensorType } from "../../../compiler/ir/types.ts";
import { formatBits } from "../../../compiler/numeric/number_format.ts";
import type { PackedWeights, WasmKernel } from "../kernel.ts";
import { type Lines, printFunction } from "../text.ts";
import { type CoreOf, dotLoops } from "./engine.ts";
import type { Finish, Parameter } from "./finish.ts";
import type { LeftCodes } from "./int8.ts";
import { integerTable } from "./packed_entries.ts";
import type { MatrixView, QuantizedMatrix } from "./matrix.ts";
import { extentText, type RowSpace } from "./rows.ts";
import type { RowSource } from "./source.ts";

export type Declined = { readonly declined: string };

/** A contraction of rows with one constant matrix. */
export interface DotProblem {
  readonly family: "matmul" | "conv";
  readonly graph: Graph;
  readonly a: ValueName;
  readonly aType: TensorType;
  readonly b: ValueName;
  readonly tensor: Tensor;
  /** Of the constant, and of the order that its entries are read in. */
  readonly weightsKey: string;
  readonly view: MatrixView;
  /** The matrix with its steps; undefined when the weights are plain or wider than 8 bits. */
  readonly matrix?: QuantizedMatrix;
  readonly space: RowSpace;
  /** How rows are gathered; absent when they lie dense, one after the other. */
  readonly source?: RowSource;
  /** Whether sums are f32, scaled by the steps, or i32. */
  readonly sums: "real" | "integer";
  /** `columns` are those that panels run over before they begin anew: a group's when absent. */
  readonly finishOf: (panelColumns: number, columns?: number) => Finish | Declined;
}

/** Panels no wider than the columns need. */
export function panelWidth({ view }: Pick<DotProblem, "view">, wanted: number): number {
  return Math.min(wanted, Math.ceil(view.groupColumns / 4) * 4);
}

export interface DotKernel {
  readonly problem: DotProblem;
  /** `f32`, `int8`, ... */
  readonly arithmetic: string;
  readonly details: string;
  readonly header: readonly string[];
  readonly finish: Finish;
  readonly leading: readonly Parameter[];
  readonly weights: PackedWeights;
  readonly scratchBytes: number;
  readonly body: (variant: Parameters<CoreOf>[0]) => Lines;
}

/** The loops of one core over all rows of the problem. */
export function loopsOf(
  problem: DotProblem,
  finish: Finish,
  core: ReturnType<CoreOf>,
  rowBlock: number,
  rowLimit?: number,
): Lines {
  const { space, view } = problem;
  const groups = view.columns / view.groupColumns;
  return dotLoops({ core, finish, space, columns: view.groupColumns, groups, rowBlock, rowLimit });
}

/** Puts parameters, header and body together. */
export function dotKernel(kernel: DotKernel): WasmKernel {
  const { problem, finish, arithmetic, details, leading, weights } = kernel;
  const { space, view, family, source } = problem;
  const parameters: Parameter[] = [
    ...leading,
    { name: "weights", operand: { kind: "weights", weights } },
    ...finish.parameters,
  ];
  if (kernel.scratchBytes > 0) {
    parameters.push({ name: "scratch", operand: { kind: "scratch", bytes: kernel.scratchBytes } });
  }
  const rows = `${space.outer === 1 ? "" : `${space.outer}x${space.rowsBound}:`}${printExtent(space.rows)}`;
  const columns = view.groupColumns === view.columns
    ? String(view.columns)
    : `${view.columns / view.groupColumns}x${view.groupColumns}`;
  const from = source === undefined || source.id === "" ? "" : `,${source.id}`;
  return {
    id: `${family}.${arithmetic}(m=${rows},k=${view.depth},n=${columns},${details}${from},${finish.id})`,
    operands: parameters.map((parameter) => parameter.operand),
    calls: finish.calls,
    wat: (name, variant) =>
      printFunction({
        name,
        header: [
          ...kernel.header,
          ...finish.header,
          `m = ${rows}, k = ${view.depth}, n = ${columns}; ${details}${from}`,
        ],
        parameters: parameters.map((parameter) => parameter.name),
        body: [...finish.setup, `(local.set $rows ${extentText(space.rows)})`, ...kernel.body(variant)],
      }),
  };
}

/**
 * How the left codes step, or undefined when steps vary along some leading axes only. Steps along the depth and codes of small
 * floats are for kernels that ask for them.
 */
export function leftCodes(
  type: TensorType,
  family: DotProblem["family"],
  kinds: "integers" | "blocks and tables" = "integers",
): LeftCodes | undefined {
  const scheme = schemeOf(type);
  if (scheme === undefined || formatBits(scheme.format) > 8 || scheme.offset) return undefined;
  const table = kinds === "integers" || scheme.zeroPoint ? undefined : integerTable(scheme.format);
  if (scheme.format.kind !== "int" && table === undefined) return undefined;
  const whole = (extent: Extent, block: number | "all"): boolean =>
    extent === 1 || block === "all" || isStatic(extent) && block >= extent;
  const last = type.shape.length - 1;
  const axes = type.shape.map((extent, axis) => ({ extent, block: scheme.block[axis] }));
  const leading = axes.slice(0, last);
  const signed = scheme.format.kind === "int" && scheme.format.signed;
  const common = { signed, ...(table === undefined ? {} : { table }) };
  if (!whole(axes[last].extent, axes[last].block)) {
    const { block } = axes[last];
    const perEntry = family === "matmul" && leading.every(({ extent, block }) => extent === 1 || block === 1);
    if (kinds === "integers" || !perEntry || block === "all" || scheme.zeroPoint) return undefined;
    return { ...common, steps: "block", zeros: "none", block };
  }
  const perTensor = leading.every(({ extent, block }) => whole(extent, block));
  const perRow = family === "matmul" && leading.every(({ extent, block }) => extent === 1 || block === 1);
  if (!perRow && !perTensor) return undefined;
  const kind = perTensor ? "tensor" : "row";
  return { ...common, steps: kind, zeros: scheme.zeroPoint ? kind : "none" };
}

/** A short name of the left codes for ids. */
export function leftName(left: LeftCodes): string {
  const codes = left.table === undefined ? left.signed ? "i8" : "u8" : `table${left.table.values.length}`;
  return `${codes}:${left.steps}${left.block ?? ""}:${left.zeros}`;
}

/** Parameters of a quantized left operand. */
export function leftParameters(a: ValueName, left: LeftCodes, real: boolean): Parameter[] {
  const part = (name: string, role: "codes" | "steps" | "zeros"): Parameter => ({
    name,
    operand: { kind: "value", value: a, part: role },
  });
  const parameters = [part("a", "codes")];
  if (real) parameters.push(part("a_steps", "steps"));
  if (left.zeros !== "none") parameters.push(part("a_zeros", "zeros"));
  return parameters;
}

export function plainFloats(tensor: Tensor): PlainTensor<"f32"> | undefined {
  return isPlain(tensor, "f32") ? tensor : undefined;
}
