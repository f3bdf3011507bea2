/** Selects the dot kernel of a matmul with constant weights. */

import { type Extent, isStatic, printExtent } from "../../../compiler/ir/extent.ts";
import { type Graph, typeOf } from "../../../compiler/ir/graph.ts";
import type { NodeOf, ValueName } from "../../../compiler/ir/node.ts";
import type { QuantizedTensor } from "../../../compiler/ir/tensor.ts";
import { isPlain } from "../../../compiler/ir/tensor.ts";
import { schemeOf, type TensorType } from "../../../compiler/ir/types.ts";
import { formatBits, formatName, type IntFormat, intRange } from "../../../compiler/numeric/number_format.ts";
import { type Region, regionOutputs } from "../../region.ts";
import {
  type KernelSelector,
  type PackedWeights,
  type SelectContext,
  type WasmKernel,
  type WasmVariant,
  wasmVariants,
} from "../kernel.ts";
import { type Lines, printFunction } from "../text.ts";
import { constantNode } from "./constants.ts";
import { type CoreOf, type DotCore, dotLoops, rowBlockOf, setRows } from "./engine.ts";
import { contractionExtras, type Finish, type Parameter, planFinish } from "./finish.ts";
import { floatCore } from "./float.ts";
import { int8Core, type Int8CoreOptions, type LeftCodes } from "./int8.ts";
import { matrixView, type QuantizedMatrix, quantizedMatrix } from "./matrix.ts";
import { nibbleCore, type NibbleLayout, nibbleRowBytes } from "./nibble.ts";
import { packFloatPanels } from "./pack_float.ts";
import { codeShift, hasZeros, packInt8Panels } from "./pack_int8.ts";
import { fitsHalf, nibbleCodes, packNibblePanels } from "./pack_nibble.ts";
import { type RowSpace, rowSpace } from "./rows.ts";

type Declined = { readonly declined: string };

/** A matmul whose right operand is one constant matrix, with its finish planned. */
export interface DotProblem {
  readonly graph: Graph;
  readonly a: ValueName;
  readonly b: ValueName;
  readonly aType: TensorType;
  readonly hash: string;
  readonly transposeB: boolean;
  readonly depth: number;
  readonly columns: number;
  readonly space: RowSpace;
  readonly finishOf: (panelColumns: number) => Finish | Declined;
  readonly node: NodeOf<"matmul">;
}

export const selectMatmul: KernelSelector = (region, context) => {
  const problem = matmulProblem(region, context);
  if ("declined" in problem) return problem;
  const aScheme = schemeOf(problem.aType);
  const bScheme = schemeOf(typeOf(problem.graph, problem.b));
  if (aScheme === undefined && bScheme === undefined) return selectFloat(problem);
  if (aScheme !== undefined && bScheme !== undefined) return selectInteger(problem);
  return { declined: "float rows with quantized weights" };
};

/** Reads the geometry of a matmul region. */
export function matmulProblem(region: Region, { graph, symbols }: SelectContext): DotProblem | Declined {
  const node = region.main;
  if (node.op !== "matmul") return { declined: "not a matmul" };
  const [a, b, ...rest] = node.inputs;
  const { transposeB, hasBias, result } = node.attributes;
  const weights = constantNode(graph, b);
  if (weights === undefined) return { declined: "weights are not constant" };
  const view = matrixView(typeOf(graph, b).shape, transposeB);
  if (view === undefined) return { declined: "weights are batched" };
  const aType = typeOf(graph, a);
  const axes = aType.shape.slice(0, -1);
  const operands = region.epilogue?.operands ?? [];
  const rows = rowSpace(axes, view.columns, operands.map((value) => typeOf(graph, value).shape), symbols);
  if (rows === undefined) return { declined: "operands do not step along the rows" };
  const finishOf = (panelColumns: number): Finish | Declined =>
    planFinish({
      graph,
      result,
      extras: contractionExtras(rest, hasBias, result),
      epilogue: region.epilogue,
      output: regionOutputs(region)[0],
      strides: rows.strides,
      columns: view.columns,
      width: view.columns,
      panelColumns,
    });
  return {
    graph,
    a,
    b,
    aType,
    hash: weights.attributes.hash,
    transposeB,
    depth: view.depth,
    columns: view.columns,
    space: rows.space,
    finishOf,
    node,
  };
}

/** Panels no wider than the columns need. */
export function panelWidth(columns: number, wanted: number): number {
  return Math.min(wanted, Math.ceil(columns / 4) * 4);
}

/** Rows of a tile: five rows of two vectors, the vectors of a panel and one of the left operand fill 13 of 16 registers. */
const tileRows = 5;

interface DotKernel {
  readonly family: string;
  readonly details: string;
  readonly header: readonly string[];
  readonly problem: DotProblem;
  readonly finish: Finish;
  readonly leading: readonly Parameter[];
  readonly weights: PackedWeights;
  readonly coreOf: CoreOf;
  readonly scratchBytes: number;
  readonly rowBlock: number;
}

function dotKernel(kernel: DotKernel): WasmKernel {
  const { problem, finish, family, details, leading, weights, coreOf, rowBlock } = kernel;
  const { space, depth, columns } = problem;
  const parameters: Parameter[] = [...leading, { name: "weights", operand: { kind: "weights", weights } }];
  parameters.push(...finish.parameters);
  if (kernel.scratchBytes > 0) {
    parameters.push({ name: "scratch", operand: { kind: "scratch", bytes: kernel.scratchBytes } });
  }
  const rows = printExtent(space.rows);
  const outer = space.outer === 1 ? "" : `${space.outer}x${space.rowsBound},`;
  return {
    id: `${family}(m=${outer}${rows},k=${depth},n=${columns},${details},${finish.id})`,
    operands: parameters.map((parameter) => parameter.operand),
    calls: finish.calls,
    wat: (name, variant) => {
      const core = coreOf(variant);
      const body: Lines = [
        ...finish.setup,
        setRows(space),
        ...dotLoops({ core, finish, space, columns, rowBlock }),
      ];
      return printFunction({
        name,
        header: [
          ...kernel.header,
          ...finish.header,
          `m = ${outer}${rows}, k = ${depth}, n = ${columns}; tiles of ${core.tileRows} x ${core.panelColumns}`,
        ],
        parameters: parameters.map((parameter) => parameter.name),
        body,
      });
    },
  };
}

function selectFloat(problem: DotProblem): WasmKernel | Declined {
  const { graph, a, b, hash, depth, columns, transposeB, space } = problem;
  const tensor = graph.constants.get(hash);
  if (problem.aType.element !== "f32" || !isPlain(tensor, "f32")) return { declined: "operands are not f32" };
  const panelColumns = panelWidth(columns, 8);
  const finish = problem.finishOf(panelColumns);
  if ("declined" in finish) return finish;
  const view = matrixView(tensor.shape, transposeB);
  if (view === undefined) return { declined: "weights are batched" };
  const layout = `float-panels(columns=${panelColumns})`;
  return dotKernel({
    family: "matmul.f32",
    details: `tile=${tileRows}x${panelColumns}`,
    header: ["y[m][n] = sum over k of a[m][k] * w[k][n]"],
    problem,
    finish,
    leading: [{ name: "a", operand: { kind: "value", value: a, part: "data" } }],
    weights: {
      key: `${hash}/${layout}${transposeB ? "/transposed" : ""}`,
      layout,
      value: b,
      pack: () => packFloatPanels(tensor.data, view, panelColumns),
    },
    coreOf: (variant: WasmVariant) => floatCore({ depth, panelColumns, tileRows, rowBytes: 4 * depth, variant }),
    scratchBytes: 0,
    rowBlock: rowBlockOf(space, 4 * depth, tileRows),
  });
}

/** How the left codes step, or undefined when steps vary along the depth or along some leading axes only. */
export function leftCodes(type: TensorType): LeftCodes | undefined {
  const scheme = schemeOf(type);
  if (scheme === undefined || scheme.format.kind !== "int" || formatBits(scheme.format) > 8 || scheme.offset) {
    return undefined;
  }
  const last = type.shape.length - 1;
  const depth = scheme.block[last];
  const whole = (extent: Extent, block: number | "all"): boolean =>
    extent === 1 || block === "all" || isStatic(extent) && block >= extent;
  if (!whole(type.shape[last], depth)) return undefined;
  const leading = type.shape.slice(0, last).map((extent, axis) => ({ extent, block: scheme.block[axis] }));
  const perRow = leading.every(({ extent, block }) => extent === 1 || block === 1);
  const perTensor = leading.every(({ extent, block }) => whole(extent, block));
  if (!perRow && !perTensor) return undefined;
  const kind = perTensor ? "tensor" : "row";
  return { signed: scheme.format.signed, steps: kind, zeros: scheme.zeroPoint ? kind : "none" };
}

function selectInteger(problem: DotProblem): WasmKernel | Declined {
  const tensor = problem.graph.constants.get(problem.hash);
  const left = leftCodes(problem.aType);
  if (left === undefined) return { declined: "left codes step along the depth" };
  if (tensor.kind !== "quantized") return { declined: "weights are not quantized" };
  if (tensor.scheme.format.kind !== "int" || tensor.offsets !== undefined) {
    return { declined: "weights are not integers" };
  }
  const matrix = quantizedMatrix(tensor, problem.transposeB);
  if (matrix === undefined) return { declined: "weights are wider than 8 bits" };
  if (formatBits(tensor.scheme.format) <= 4) {
    const kernel = selectNibble(problem, left, tensor.scheme.format, matrix);
    if (!("declined" in kernel)) return kernel;
  }
  return selectInt8(problem, left, tensor, matrix);
}

/** Largest depth whose sums of products up to 255 * 255 stay inside i32. */
const deepest = Math.floor((2 ** 31 - 1) / (255 * 255));

function selectInt8(
  problem: DotProblem,
  left: LeftCodes,
  tensor: QuantizedTensor,
  matrix: QuantizedMatrix,
): WasmKernel | Declined {
  const { depth, columns, node, a, b, hash, transposeB, space } = problem;
  const sums = node.attributes.result.kind === "real" ? "real" : "integer";
  if (depth > deepest) return { declined: "sums may pass 32 bits" };
  if (matrix.blocks > 1 && (depth % matrix.block !== 0 || matrix.block % 8 !== 0)) return { declined: "ragged blocks" };
  if (matrix.blocks > 1 && sums === "integer") return { declined: "integer sums over blocks" };
  const panelColumns = panelWidth(columns, 8);
  const finish = problem.finishOf(panelColumns);
  if ("declined" in finish) return finish;
  const options: Int8CoreOptions = {
    depth,
    block: matrix.block,
    panelColumns,
    tileRows,
    left,
    weightZeros: hasZeros(matrix, codeShift(matrix.codes)),
    sums,
  };
  const core = int8Core(options);
  const rowBlock = rowBlockOf(space, core.rowBytes, core.tileRows);
  const layout = `int8-panels(columns=${panelColumns},block=${matrix.block},steps=${sums === "real" ? 1 : 0},zeros=${
    options.weightZeros ? 1 : 0
  })`;
  const leftName = `${left.signed ? "i8" : "u8"}:${left.steps}:${left.zeros}`;
  return dotKernel({
    family: "matmul.int8",
    details: `tile=${tileRows}x${panelColumns},block=${matrix.block},a=${leftName},w=${
      formatName(tensor.scheme.format)
    }${options.weightZeros ? ":zero" : ""}`,
    header: int8Header(options),
    problem,
    finish,
    leading: leftParameters(a, left, sums === "real"),
    weights: {
      key: `${hash}/${layout}${transposeB ? "/transposed" : ""}`,
      layout,
      value: b,
      pack: () => packInt8Panels(matrix, options),
    },
    coreOf: () => core,
    scratchBytes: rowBlock * core.rowBytes,
    rowBlock,
  });
}

/** Rows of a tile of nibble kernels: each sum takes an i16 and an f32 register. */
const nibbleTileRows = 4;

function selectNibble(
  problem: DotProblem,
  left: LeftCodes,
  format: IntFormat,
  matrix: QuantizedMatrix,
): WasmKernel | Declined {
  const { depth, columns, node, a, b, hash, transposeB, space } = problem;
  const real = node.attributes.result.kind === "real";
  const codes = nibbleCodes(matrix, intRange(format).min);
  if (codes === undefined) return { declined: "zero points outside the codes" };
  if (matrix.blocks > 1 && (depth % matrix.block !== 0 || matrix.block % 8 !== 0)) return { declined: "ragged blocks" };
  const panelColumns = panelWidth(columns, 8);
  const finish = problem.finishOf(panelColumns);
  if ("declined" in finish) return finish;
  const layout: NibbleLayout = {
    depth,
    block: matrix.block,
    panelColumns,
    step: real ? (fitsHalf(matrix.steps) ? "f16" : "f32") : undefined,
    zeros: codes.zero === undefined,
    sums: left.zeros !== "none" || !left.signed,
  };
  const coreOf = (variant: WasmVariant): DotCore =>
    nibbleCore({ layout, tileRows: nibbleTileRows, left, zero: codes.zero ?? 0, variant });
  const rowBytes = Math.max(...wasmVariants.map((variant) => nibbleRowBytes(layout, variant)));
  const rowBlock = rowBlockOf(space, rowBytes, nibbleTileRows);
  const text = `columns=${panelColumns},block=${matrix.block},step=${layout.step ?? "none"},zeros=${
    layout.zeros ? "block" : codes.zero
  },sums=${layout.sums ? 1 : 0}`;
  const leftName = `${left.signed ? "i8" : "u8"}:${left.steps}:${left.zeros}`;
  return dotKernel({
    family: "matmul.int4",
    details: `tile=${nibbleTileRows}x${panelColumns},a=${leftName},w=${text}`,
    header: nibbleHeader(layout, left),
    problem,
    finish,
    leading: leftParameters(a, left, real),
    weights: {
      key: `${hash}/nibble-panels(${text})${transposeB ? "/transposed" : ""}`,
      layout: `nibble-panels(${text})`,
      value: b,
      pack: () => packNibblePanels(matrix, codes, layout),
    },
    coreOf,
    scratchBytes: rowBlock * rowBytes,
    rowBlock,
  });
}

function nibbleHeader(layout: NibbleLayout, left: LeftCodes): string[] {
  const a = left.zeros === "none" ? "a[m][k]" : "(a[m][k] - a_zero)";
  const dot = `dot = sum over k of ${a} * (u[k][n] - z[n]), u in 0..15, exact`;
  if (layout.step === undefined) return [`sum[m][n] = ${dot}`];
  return layout.block < layout.depth
    ? [
      "y[m][n] = sum over blocks of (a_step[m] * w_step[block][n]) * f32(dot)",
      `${dot}, within a block of ${layout.block}`,
    ]
    : ["y[m][n] = (a_step[m] * w_step[n]) * f32(dot)", dot];
}

function leftParameters(a: ValueName, left: LeftCodes, real: boolean): Parameter[] {
  const part = (name: string, role: "codes" | "steps" | "zeros"): Parameter => ({
    name,
    operand: { kind: "value", value: a, part: role },
  });
  const parameters = [part("a", "codes")];
  if (real) parameters.push(part("a_steps", "steps"));
  if (left.zeros !== "none") parameters.push(part("a_zeros", "zeros"));
  return parameters;
}

function int8Header(options: Int8CoreOptions): string[] {
  const a = options.left.zeros === "none" ? "a[m][k]" : "(a[m][k] - a_zero)";
  const w = options.weightZeros ? "(w[k][n] - w_zero[n])" : "w[k][n]";
  const dot = `sum over k of ${a} * ${w}, exact in i32`;
  if (options.sums === "integer") return [`sum[m][n] = ${dot}`];
  return options.block < options.depth
    ? [
      `y[m][n] = sum over blocks of (a_step[m] * w_step[block][n]) * f32(dot)`,
      `dot = ${dot}, within a block of ${options.block}`,
    ]
    : [`y[m][n] = (a_step[m] * w_step[n]) * f32(dot)`, `dot = ${dot}`];
}
