/** What happens to a tile of sums before it is stored: bias, requantization, the epilogue, and the store itself. */

import { type Graph, typeOf } from "../../../compiler/ir/graph.ts";
import type { ContractionResult, ValueName } from "../../../compiler/ir/node.ts";
import { schemeOf } from "../../../compiler/ir/types.ts";
import { elementBytes, type ElementType } from "../../../compiler/numeric/element.ts";
import { codeElement, formatName } from "../../../compiler/numeric/number_format.ts";
import { expressionSize } from "../../../compiler/rewrite/expressions.ts";
import { type Region, regionOutputs } from "../../region.ts";
import type { KernelOperand } from "../kernel.ts";
import { constant, get, type Lines } from "../text.ts";
import { hasCalls, hasLanes, printVector } from "../vector_expression.ts";
import { formula } from "./formula.ts";
import type { MatrixView } from "./matrix.ts";
import type { DotProblem } from "./problem.ts";
import type { BroadcastStrides } from "./rows.ts";
import {
  type ContractionExtras,
  type EpilogueLane,
  type FinishRequest,
  type SharedStore,
  sharedStore,
  type StoreState,
  storeTile,
} from "./store.ts";

/** A parameter of the function and what it is called with. */
export interface Parameter {
  readonly name: string;
  readonly operand: KernelOperand;
}

/** Names the trailing inputs of a matmul or conv. */
export function contractionExtras(
  rest: readonly ValueName[],
  hasBias: boolean,
  result: ContractionResult,
): ContractionExtras {
  const [bias, ...more] = hasBias ? rest : [undefined, ...rest];
  if (result.kind !== "quantized") return { bias };
  return { bias, multiplier: more[0], outStep: more[1], outZero: more[2] };
}

/**
 * Reads the locals `$row_at` (row of the tile's first row in the whole output), `$outer`, `$column` (first column of the
 * panel in the whole row), `$panel_column` (the same within its group) and the sums `$v_sum_R_C`.
 */
export interface Finish {
  readonly parameters: readonly Parameter[];
  /** The part of the kernel's id that this code depends on. */
  readonly id: string;
  readonly header: readonly string[];
  readonly calls: readonly string[];
  /** Runs once per call. */
  readonly setup: Lines;
  /** Finishes and stores the sums of a tile. */
  readonly storeTile: (rows: number) => Lines;
  /** Where finishing takes much code, it is printed once for tiles of all sizes. */
  readonly shared?: SharedStore;
}

/** Epilogues of more operators than this, or with functions, are printed once per kernel, not once per vector of a tile. */
const shortEpilogue = 3;

/** Most rows that a tile has. */
const mostTileRows = 8;

export function planFinish(request: FinishRequest): Finish | { readonly declined: string } {
  const { graph, result, extras, epilogue, output } = request;
  const type = typeOf(graph, output);
  const scheme = schemeOf(type);
  const stored = scheme === undefined ? type.element : codeElement(scheme.format);
  const bytes = elementBytes(stored);
  const sumElement: ElementType = result.kind === "real" ? "f32" : "i32";
  const lanes = (epilogue?.operands ?? []).map((value, index): EpilogueLane => ({
    name: `e${index}`,
    element: typeOf(graph, value).element,
    strides: request.strides[index],
  }));
  const unsupported = lanes.find(({ element }) => !hasLanes(element) || element === "bool");
  if (unsupported !== undefined) return { declined: `epilogue reads ${unsupported.element}` };
  if (!hasLanes(stored) || stored === "bool") return { declined: `stores ${stored}` };
  const probe = epilogue === undefined ? undefined : printVector(epilogue.expression, [
    { text: "", element: sumElement },
    ...lanes.map((lane) => ({ text: "", element: lane.element })),
  ]);
  if (epilogue !== undefined && probe === undefined) return { declined: "epilogue has no vector form" };

  const parameters: Parameter[] = [];
  const value = (name: string, from: ValueName, part: "data" | "codes" | "steps" | "zeros" = "data"): void => {
    parameters.push({ name, operand: { kind: "value", value: from, part } });
  };
  if (extras.bias !== undefined) value("bias", extras.bias);
  if (extras.multiplier !== undefined) value("multiplier", extras.multiplier);
  if (extras.outStep !== undefined) value("out_step", extras.outStep);
  if (extras.outZero !== undefined) value("out_zero", extras.outZero);
  lanes.forEach((lane, index) => value(lane.name, epilogue?.operands[index] ?? output));
  value("y", output, scheme === undefined ? "data" : "codes");
  if (extras.outStep !== undefined) value("y_steps", output, "steps");
  if (extras.outZero !== undefined) value("y_zeros", output, "zeros");

  const perChannel = extras.multiplier !== undefined &&
    typeOf(graph, extras.multiplier).shape.some((extent) => extent !== 1);
  const steps = extras.outStep === undefined ? 0 : sizeOfValue(graph, extras.outStep);
  if (steps > 1 && extras.outZero !== undefined) return { declined: "zero points per output channel" };
  const state: StoreState = { ...request, lanes, stored, bytes, perChannel };
  const expression = epilogue === undefined ? "" : `,epilogue=${formula(epilogue.expression)}` +
    lanes.map((lane) => `/${lane.element}:${lane.strides.outer}:${lane.strides.row}:${lane.strides.column}`).join("");
  const quantized = result.kind === "quantized"
    ? `,q=${formatName(result.scheme.format)}:${result.low}..${result.high}:${
      perChannel ? "channel" : "tensor"
    }:${steps}${extras.outZero === undefined ? "" : ":zero"}`
    : "";
  const isLong = epilogue !== undefined && request.writtenOut !== true &&
    (expressionSize(epilogue.expression) > shortEpilogue || hasCalls(epilogue.expression));
  const shared = isLong ? sharedStore(state) : undefined;
  if (isLong) {
    const bytes = 4 * mostTileRows * request.panelColumns;
    parameters.push({ name: "tile", operand: { kind: "scratch", bytes } });
  }
  return {
    parameters,
    id: `${result.kind}${extras.bias === undefined ? "" : ",bias"}${quantized}${expression},width=${request.width}`,
    header: finishHeader(state),
    calls: probe?.calls ?? [],
    setup: copySteps(steps, extras),
    storeTile: (rows) => (shared === undefined ? storeTile(state, rows) : [...shared.keep(rows), ...shared.store]),
    shared,
  };
}

function sizeOfValue(graph: Graph, value: ValueName): number {
  return typeOf(graph, value).shape.reduce<number>(
    (size, extent) => size * (typeof extent === "number" ? extent : 1),
    1,
  );
}

function finishHeader(state: StoreState): string[] {
  const lines: string[] = [];
  if (state.extras.bias !== undefined) lines.push("sum += bias[n]");
  if (state.result.kind === "quantized") {
    const { low, high } = state.result;
    const zero = state.extras.outZero === undefined ? "" : " + out_zero";
    lines.push(`code = clamp(round(f32(sum) * multiplier)${zero}, ${low}, ${high})`);
  }
  if (state.epilogue !== undefined) lines.push(`y = ${formula(state.epilogue.expression)}`);
  return lines;
}

/** Steps and zeros of a static quantized result are constants of the graph; they become parts of the output's bundle. */
function copySteps(steps: number, extras: ContractionExtras): Lines {
  if (steps === 0) return [];
  const bytes = constant(4 * steps);
  const lines = [`(memory.copy ${get("y_steps")} ${get("out_step")} ${bytes})`];
  if (extras.outZero !== undefined) lines.push(`(memory.copy ${get("y_zeros")} ${get("out_zero")} ${bytes})`);
  return lines;
}

/** What a contraction's region and geometry tell of its finish; panels are chosen later. */
export interface RegionFinish {
  readonly graph: Graph;
  readonly region: Region;
  /** Inputs of the main node after its two operands. */
  readonly rest: readonly ValueName[];
  readonly hasBias: boolean;
  readonly result: ContractionResult;
  readonly strides: readonly BroadcastStrides[];
  readonly view: MatrixView;
}

/** The finish of a region, by the panels that its kernel takes. */
export function regionFinish(
  { graph, region, rest, hasBias, result, strides, view }: RegionFinish,
): DotProblem["finishOf"] {
  return (panelColumns, columns = view.groupColumns) =>
    planFinish({
      graph,
      result,
      extras: contractionExtras(rest, hasBias, result),
      epilogue: region.epilogue,
      output: regionOutputs(region)[0],
      strides,
      columns,
      width: view.columns,
      panelColumns,
    });
}
