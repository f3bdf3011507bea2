/** Selects the kernels of a matmul. */

import { isStatic, type SymbolTable } from "../../../compiler/ir/extent.ts";
import { isPlain } from "../../../compiler/ir/tensor.ts";
import { Lowering } from "../../loops/context.ts";
import { extentIndex, indexValue, largestSymbols, mulIndex, variable } from "../../loops/index.ts";
import { bufferOf, type Operand } from "../../loops/operand.ts";
import { resultAlgebra, sumsFit } from "../../loops/lower/contraction.ts";
import type { Index } from "../../loops/program.ts";
import { constantNode } from "../../plan/constants.ts";
import { matmulView, quantizedMatrix } from "../../wasm/dot/matrix.ts";
import type { KernelSelector, SelectContext, WgslKernel } from "../kernel.ts";
import { bare, indexText } from "../loops/scalar.ts";
import type { Region } from "../../region.ts";
import { planFinish } from "./finish.ts";
import { gemmDispatch } from "./gemm.ts";
import { gemvDispatch } from "./gemv.ts";
import { leftForm, leftKind, rowUnit } from "./left.ts";
import { placeAxes, type PlaceAxis } from "./places.ts";
import type { Declined, DotProblem, DynamicRight } from "./problem.ts";
import { codesRight, floatRight, type RightForm } from "./right.ts";

/** From this many rows on tiles do better than one workgroup a row and a few columns. */
const rowsOfTiles = 5;

export const selectMatmul: KernelSelector = (region, context) => {
  const problem = matmulProblem(region, context);
  return "declined" in problem ? problem : dotKernels(problem, context.symbols);
};

/** The kernel of a problem: by the rows that a run has, one workgroup a row and a few columns, or tiles. */
export function dotKernels(problem: DotProblem, symbols: SymbolTable): WgslKernel {
  const fewest = Object.fromEntries(Object.entries(symbols).map(([name, { min }]) => [name, min]));
  const { family, left, right, rows, rowsBound, columns, depth, outer, result, algebra } = problem;
  const small = indexValue(rows, fewest) < rowsOfTiles;
  const gemv = small ? gemvDispatch(problem, rowsBound < rowsOfTiles ? Infinity : rowsOfTiles) : undefined;
  const hasGemv = gemv !== undefined && !("declined" in gemv);
  const dispatches = [
    ...(hasGemv ? [gemv] : []),
    ...(hasGemv && rowsBound < rowsOfTiles ? [] : [gemmDispatch(problem, hasGemv ? rowsOfTiles : 1)]),
  ];
  const sizes = `rows=${outer === 1 ? "" : `${outer}x`}${rowsBound},depth=${depth},columns=${columns}`;
  return {
    id: `${family}.${formName(problem)}(${sizes},${left.name},${right.name},${result.kind})`,
    algebra,
    dispatches,
  };
}

function formName({ left, right }: DotProblem): string {
  if (right.kind === "dynamic") return "dynamic";
  if (left.kind === "codes") return right.name.startsWith("nibble") ? "int4" : "int8";
  return right.name.startsWith("f32") ? "f32" : "weights";
}

function matmulProblem(region: Region, { graph, symbols }: SelectContext): DotProblem | Declined {
  const node = region.main;
  if (node.op !== "matmul") return { declined: "not a matmul" };
  const { transposeB, hasBias, result } = node.attributes;
  const lowering = new Lowering(region, graph);
  const [a, b] = [lowering.input(0, "a"), lowering.input(1, "b")];
  const shape = lowering.resultShape();
  const rank = shape.length;
  const depth = a.shape[a.shape.length - 1];
  const columns = shape[rank - 1];
  if (a.shape.length < 2 || b.shape.length < 2) return { declined: "vectors" };
  if (!isStatic(depth) || !isStatic(columns)) return { declined: "symbolic depth or columns" };
  const kind = leftKind(a, [a.shape.length - 1]);
  if (typeof kind !== "string") return kind;
  const units = Math.ceil(depth / 4);
  const weights = constantNode(graph, node.inputs[1]);
  const batches = b.shape.slice(0, -2).some((extent) => extent !== 1);
  if (weights !== undefined && batches) return { declined: "batched weights" };
  const names = shape.slice(0, -1).map((_, axis) => axis === rank - 2 ? "m" : `batch${axis}`);
  const axes = names.map((name, axis): PlaceAxis => ({ variable: name, extent: extentIndex(shape[axis]) }));
  const outerAxes = batches ? axes.slice(0, -1).filter(({ extent }) => extent !== 1) : [];
  const rowAxes = batches ? axes.slice(-1) : axes.filter(({ extent }) => extent !== 1);
  const outer = outerAxes.reduce<Index>((product, { extent }) => mulIndex(product, extent), 1);
  if (typeof outer !== "number") return { declined: "symbolic batches" };
  const held = rowAxes.length === 0 ? axes.slice(-1) : rowAxes;
  const rows = held.reduce<Index>((product, { extent }) => mulIndex(product, extent), 1);
  const rowsBound = indexValue(rows, largestSymbols(symbols));
  if (rowsBound * outer * depth * columns === 0) return { declined: "no entries" };
  const indexOf = (axis: number): Index => shape[axis] === 1 && !held.includes(axes[axis]) ? 0 : variable(names[axis]);
  const leading = shape.slice(0, -1).map((_, axis) => indexOf(axis));
  const along = (operand: Operand): Index[] =>
    operand.shape.slice(0, -1).map((extent, axis) => extent === 1 ? 0 : leading[axis + rank - operand.shape.length]);
  const right = weights === undefined
    ? dynamicRight(b, transposeB, depth, columns, outerAxes, leading)
    : constantRight(node.inputs[1], weights.attributes.hash, transposeB, graph.constants.get(weights.attributes.hash), {
      decoded: kind === "float",
      sums: a.scheme?.zeroPoint === true || isUnsignedByte(a),
    });
  if ("declined" in right) return right;
  if (kind === "codes" && right.kind !== "codes") return { declined: "codes times floats" };
  if (kind === "codes" && !sumsFit(a.scheme, b.scheme, depth, result)) return { declined: "sums that leave 32 bits" };
  const indices = [...along(a), 0];
  let left: ReturnType<typeof leftForm> | undefined;
  const finish = planFinish({
    region,
    graph,
    result,
    hasBias,
    total: kind === "float" || result.kind === "real" ? "f32" : "i32",
    outerAxes,
    rowAxes: held,
    indices: [...leading, variable("column")],
    channel: variable("column"),
    register: (own) => {
      const operand = own.input(0, "a");
      const rowsOf = { operand, lowering: own, outerAxes, rowAxes: held, indices };
      const buffer = bufferOf(own.b, operand, kind === "codes" ? "codes" : "data", "read");
      left = leftForm(kind, rowsOf, rowUnit(buffer, rowsOf, depth, kind));
      if (right.kind === "dynamic") bufferOf(own.b, own.input(1, "b"), "data", "read");
    },
  });
  if (left === undefined) return { declined: "no left side" };
  const product = `a[m, k] * b[${transposeB ? "n, k" : "k, n"}]`;
  return {
    family: "matmul",
    region,
    graph,
    algebra: [`y[m, n] = sum_k ${product}${hasBias ? " + bias[n]" : ""}`, ...resultAlgebra(result)],
    outer,
    rows,
    rowsBound,
    columns,
    depth,
    units,
    left,
    right,
    finish,
    result,
  };
}

/** Whether an operand's codes are uint8. */
export function isUnsignedByte({ scheme }: Pick<Operand, "scheme">): boolean {
  return scheme?.format.kind === "int" && !scheme.format.signed && scheme.format.bits === 8;
}

/** Constant weights as kernels read them: `decoded` for f32 rows, `sums` for rows with zero points. */
export function constantRight(
  value: string,
  hash: string,
  transposeB: boolean,
  tensor: ReturnType<SelectContext["graph"]["constants"]["get"]>,
  request: { readonly decoded: boolean; readonly sums: boolean },
): RightForm | Declined {
  const view = matmulView(tensor.shape, transposeB);
  if (view === undefined) return { declined: "batched weights" };
  const { depth, columns, depthStride, columnStride } = view;
  const units = Math.ceil(depth / 4);
  const matrix = {
    key: `${hash}${transposeB ? "/transposed" : ""}`,
    value,
    tensor,
    columns,
    units,
    at: (k: number, column: number) => k < depth ? k * depthStride + column * columnStride : undefined,
  };
  if (isPlain(tensor, "f32")) return floatRight({ ...matrix, block: 4 * units, stepIndex: () => 0 }, tensor);
  if (tensor.kind === "plain") return { declined: `${tensor.element} weights` };
  const rank = tensor.shape.length;
  const [columnAxis, depthAxis] = transposeB ? [rank - 2, rank - 1] : [rank - 1, rank - 2];
  const { outerSteps: _, ...oneLevel } = tensor;
  const quantized = quantizedMatrix(oneLevel, view, columnAxis, depthAxis);
  if (quantized === undefined) return { declined: "weights are no bytes with steps along one axis" };
  const { block, blocks, stepIndex } = quantized;
  const outerBlock = tensor.scheme.outer?.block;
  const outerWhole = outerBlock !== undefined &&
    tensor.shape.every((extent, axis) => axis === columnAxis || isWhole(outerBlock[axis], extent));
  const shared = outerBlock?.[columnAxis] ?? "all";
  const outerStepIndex = outerWhole
    ? (column: number) => shared === "all" ? 0 : Math.floor(column / shared)
    : undefined;
  return codesRight(
    { ...matrix, block: blocks === 1 ? 4 * units : block, stepIndex, outerStepIndex },
    tensor,
    request,
  );
}

function isWhole(block: number | "all", extent: number): boolean {
  return block === "all" || block >= extent;
}

/** A right side that is made at run time: f32 matrices, one a batch. */
function dynamicRight(
  b: Operand,
  transposeB: boolean,
  depth: number,
  columns: number,
  outerAxes: readonly PlaceAxis[],
  leading: readonly Index[],
): DynamicRight | Declined {
  if (b.scheme !== undefined || b.element !== "f32") return { declined: "right side at run time is not f32" };
  const rank = b.shape.length;
  const batch = b.shape.slice(0, -2).map((extent, axis) =>
    extent === 1 ? 0 : leading[axis + leading.length + 1 - rank]
  );
  const start = batch.reduce<Index>(
    (sum, index, axis) => ({ kind: "add", x: sum, y: mulIndex(index, b.strides[axis]) }),
    0,
  );
  const [columnStride, depthStride] = transposeB ? [b.strides[rank - 2], 1] : [1, b.strides[rank - 2]];
  const places = outerAxes.length === 0 ? [] : placeAxes("outer", outerAxes);
  const load = (index: number) => {
    const at = `load_${b.role}(at + ${index * depthStride})`;
    return depth % 4 === 0 || index === 0
      ? at
      : `select(0f, load_${b.role}(at + select(0, ${
        index * depthStride
      }, 4 * unit + ${index} < ${depth})), 4 * unit + ${index} < ${depth})`;
  };
  return {
    kind: "dynamic",
    name: `${transposeB ? "transposed" : "plain"},columns=${columns}`,
    reads: [b.role],
    functions: [
      "// Four entries of a column.",
      "fn right(outer: i32, column: i32, unit: i32) -> vec4<f32> {",
      ...places.map((line) => `  ${line}`),
      `  let at = ${bare(indexText(start))} + column * ${columnStride} + unit * ${4 * depthStride};`,
      `  return vec4<f32>(${[0, 1, 2, 3].map(load).join(", ")});`,
      "}",
      "",
    ],
  };
}
