/** What happens to a tile of sums before it is stored: bias, requantization, the epilogue, and the store itself. */

import type { Expression } from "../../../compiler/ir/expression.ts";
import { type Graph, typeOf } from "../../../compiler/ir/graph.ts";
import type { ContractionResult, ValueName } from "../../../compiler/ir/node.ts";
import { schemeOf } from "../../../compiler/ir/types.ts";
import { elementBytes, type ElementType } from "../../../compiler/numeric/element.ts";
import { codeElement, formatName } from "../../../compiler/numeric/number_format.ts";
import type { Epilogue } from "../../region.ts";
import type { KernelOperand } from "../kernel.ts";
import { advance, get, ifThen, type Lines, load, op, repeatWhile, set, store, sum, times } from "../text.ts";
import { hasCalls, hasLanes, printVector, vectorLiteral } from "../vector_expression.ts";
import type { BroadcastStrides } from "./rows.ts";

/** A parameter of the function and what it is called with. */
export interface Parameter {
  readonly name: string;
  readonly operand: KernelOperand;
}

/** Inputs of a contraction after its two operands, by role. */
export interface ContractionExtras {
  readonly bias?: ValueName;
  readonly multiplier?: ValueName;
  readonly outStep?: ValueName;
  readonly outZero?: ValueName;
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

export interface FinishRequest {
  readonly graph: Graph;
  readonly result: ContractionResult;
  readonly extras: ContractionExtras;
  readonly epilogue?: Epilogue;
  readonly output: ValueName;
  /** Strides of the epilogue's operands. */
  readonly strides: readonly BroadcastStrides[];
  /** Columns that the panels of one group cover; `width` columns make a row of the output. */
  readonly columns: number;
  readonly width: number;
  /** Columns of a panel: a multiple of 4. */
  readonly panelColumns: number;
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

/** `keep` leaves the sums of a tile in memory; `store` finishes and stores what was kept last. */
export interface SharedStore {
  readonly keep: (rows: number) => Lines;
  readonly store: Lines;
}

interface EpilogueLane {
  readonly name: string;
  readonly element: ElementType;
  readonly strides: BroadcastStrides;
}

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
  const state: FinishState = { ...request, lanes, stored, bytes, perChannel };
  const expression = epilogue === undefined ? "" : `,epilogue=${formula(epilogue.expression)}` +
    lanes.map((lane) => `/${lane.element}:${lane.strides.outer}:${lane.strides.row}:${lane.strides.column}`).join("");
  const quantized = result.kind === "quantized"
    ? `,q=${formatName(result.scheme.format)}:${result.low}..${result.high}:${
      perChannel ? "channel" : "tensor"
    }:${steps}${extras.outZero === undefined ? "" : ":zero"}`
    : "";
  const isLong = epilogue !== undefined &&
    (countNodes(epilogue.expression) > shortEpilogue || hasCalls(epilogue.expression));
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

/** Epilogues of more nodes than this, or with functions, are printed once per kernel instead of once per vector of a tile. */
const shortEpilogue = 6;

function countNodes(expression: Expression): number {
  switch (expression.kind) {
    case "input":
    case "literal":
      return 1;
    case "unary":
    case "cast":
      return 1 + countNodes(expression.x);
    case "binary":
    case "compare":
      return 1 + countNodes(expression.x) + countNodes(expression.y);
    case "select":
      return 1 + countNodes(expression.condition) + countNodes(expression.x) + countNodes(expression.y);
  }
}

/** Most rows that a tile has. */
const mostTileRows = 8;

interface FinishState extends FinishRequest {
  readonly lanes: readonly EpilogueLane[];
  readonly stored: ElementType;
  readonly bytes: number;
  readonly perChannel: boolean;
}

function sizeOfValue(graph: Graph, value: ValueName): number {
  return typeOf(graph, value).shape.reduce<number>(
    (size, extent) => size * (typeof extent === "number" ? extent : 1),
    1,
  );
}

function finishHeader(state: FinishState): string[] {
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

/** The expression as text, for headers and ids: `x` is the sum, `e0`, `e1`... the operands. Literals are exact. */
export function formula(expression: Expression): string {
  switch (expression.kind) {
    case "input":
      return expression.index === 0 ? "x" : `e${expression.index - 1}`;
    case "literal":
      return Object.is(expression.value, -0) ? "-0" : String(expression.value);
    case "unary":
      return `${expression.operator}(${formula(expression.x)})`;
    case "cast":
      return `${expression.element}(${formula(expression.x)})`;
    case "select":
      return `(${formula(expression.condition)} ? ${formula(expression.x)} : ${formula(expression.y)})`;
    case "binary":
    case "compare": {
      const sign = { add: "+", sub: "-", mul: "*", div: "/", lt: "<", le: "<=", gt: ">", ge: ">=", eq: "==", ne: "!=" };
      const infix = expression.operator in sign ? sign[expression.operator as keyof typeof sign] : undefined;
      const [x, y] = [formula(expression.x), formula(expression.y)];
      return infix === undefined ? `${expression.operator}(${x}, ${y})` : `(${x} ${infix} ${y})`;
    }
  }
}

/** Steps and zeros of a static quantized result are constants of the graph; they become parts of the output's bundle. */
function copySteps(steps: number, extras: ContractionExtras): Lines {
  if (steps === 0) return [];
  const bytes = constantText(4 * steps);
  const lines = [`(memory.copy ${get("y_steps")} ${get("out_step")} ${bytes})`];
  if (extras.outZero !== undefined) lines.push(`(memory.copy ${get("y_zeros")} ${get("out_zero")} ${bytes})`);
  return lines;
}

function constantText(value: number): string {
  return `(i32.const ${value})`;
}

/** Address of the entry of an operand that the tile's first row and column meet. */
function cornerAddress({ name, element, strides }: EpilogueLane): string {
  const rowsCoverOuter = strides.row !== 0 && strides.outer !== 0;
  let index: string | undefined;
  const add = (term: string): void => {
    index = index === undefined ? term : sum(index, term);
  };
  if (strides.row !== 0) add(times(get(rowsCoverOuter ? "row_at" : "row"), strides.row));
  if (strides.outer !== 0 && !rowsCoverOuter) add(times(get("outer"), strides.outer));
  if (strides.column === 1) add(get("column"));
  return index === undefined ? get(name) : sum(get(name), times(index, elementBytes(element)));
}

/** Four entries of an operand from an address, or one in every lane. */
function loadOperand({ element, strides }: EpilogueLane, address: string, offset: number): string {
  if (element !== "i8" && element !== "u8") {
    return load(strides.column === 1 ? "v128.load" : "v128.load32_splat", address, offset);
  }
  const sign = element === "i8" ? "s" : "u";
  if (strides.column === 0) return op("i32x4.splat", load(`i32.load8_${sign}`, address, offset));
  const bytes = op(`i16x8.extend_low_i8x16_${sign}`, load("v128.load32_zero", address, offset));
  return op(`i32x4.extend_low_i16x8_${sign}`, bytes);
}

/** Addresses of everything that the tile's corner meets. */
function cornerAddresses(state: FinishState): string[] {
  const lines = [set("y_at", sum(get("y"), times(sum(times(get("row_at"), state.width), get("column")), state.bytes)))];
  if (state.extras.bias !== undefined) lines.push(set("bias_at", columnAddress("bias")));
  if (state.perChannel) lines.push(set("multiplier_at", columnAddress("multiplier")));
  for (const lane of state.lanes) lines.push(set(`${lane.name}_at`, cornerAddress(lane)));
  return lines;
}

/** `body` for whole panels, and for the last one where it holds fewer columns. */
function overColumns({ columns, panelColumns }: FinishState, body: (count: number) => Lines): Lines {
  const partial = columns % panelColumns;
  if (partial === 0) return body(panelColumns);
  if (columns < panelColumns) return body(partial);
  return ifThen(`(i32.eq ${get("panel_column")} (i32.const ${columns - partial}))`, body(partial), body(panelColumns));
}

function storeTile(state: FinishState, rows: number): Lines {
  return [
    ...cornerAddresses(state),
    ...overColumns(state, (count) => {
      const pool = new Map<string, string>();
      const vectors = Math.ceil(count / 4);
      const body: string[] = [];
      for (let vector = 0; vector < vectors; vector++) body.push(...loadColumnOperands(state, vector));
      for (let row = 0; row < rows; row++) body.push(...storeRow(state, row, count, pool));
      return [...poolLines(pool), ...body];
    }),
  ];
}

/** Sums of a tile go to `$tile`, row by row; one loop over its rows finishes them. */
function sharedStore(state: FinishState): SharedStore {
  const vectors = state.panelColumns / 4;
  return {
    keep: (rows) => [
      ...Array.from(
        { length: rows * vectors },
        (_, index) =>
          store("v128.store", get("tile"), get(`v_sum_${Math.floor(index / vectors)}_${index % vectors}`), 16 * index),
      ),
      set("tile_rows", constantText(rows)),
    ],
    store: [
      ...cornerAddresses(state),
      set("tile_at", get("tile")),
      set("tile_end", sum(get("tile"), times(get("tile_rows"), 16 * vectors))),
      ...overColumns(state, (count) => {
        const pool = new Map<string, string>();
        const used = Math.ceil(count / 4);
        const columns = Array.from({ length: used }, (_, vector) => loadColumnOperands(state, vector)).flat();
        const row = storeRow(state, 0, count, pool);
        return [
          ...poolLines(pool),
          ...columns,
          ...repeatWhile("tile_rows", op("i32.lt_u", get("tile_at"), get("tile_end")), [
            ...Array.from(
              { length: used },
              (_, vector) => set(`v_sum_0_${vector}`, load("v128.load", get("tile_at"), 16 * vector)),
            ),
            ...row,
            advance("tile_at", 16 * vectors),
            advance("y_at", state.width * state.bytes),
            ...state.lanes.filter(({ strides }) => strides.row !== 0).map(({ name, element, strides }) =>
              advance(`${name}_at`, strides.row * elementBytes(element))
            ),
          ]),
        ];
      }),
    ],
  };
}

/** Sets the locals that hold literals. */
function poolLines(pool: ReadonlyMap<string, string>): string[] {
  return [...pool].map(([text, name]) => set(name, text));
}

/** The literal's local, a new one at its first use. */
function pooled(pool: Map<string, string>, text: string): string {
  let name = pool.get(text);
  if (name === undefined) {
    name = `v_literal_${pool.size}`;
    pool.set(text, name);
  }
  return get(name);
}

/** Finishes and stores `count` columns of one row. */
function storeRow(state: FinishState, row: number, count: number, pool: Map<string, string>): string[] {
  const vectors = Math.ceil(count / 4);
  const lines: string[] = [];
  for (const lane of state.lanes) {
    const { name, element, strides } = lane;
    if (strides.column !== 0 || strides.row === 0) continue;
    const offset = elementBytes(element) * row * strides.row;
    lines.push(set(`v_${name}`, loadOperand(lane, get(`${name}_at`), offset)));
  }
  for (let vector = 0; vector < vectors; vector++) lines.push(...finishVector(state, row, vector, pool));
  if (state.bytes === 1) return [...lines, ...storeCodes(state, row, count)];
  for (let vector = 0; vector < vectors; vector++) {
    lines.push(...storeLanes(row, vector, Math.min(4, count - 4 * vector), state.width));
  }
  return lines;
}

function columnAddress(name: string): string {
  return sum(get(name), op("i32.shl", get("column"), constantText(2)));
}

function loadColumnOperands(state: FinishState, vector: number): string[] {
  const lines: string[] = [];
  const offset = 16 * vector;
  if (state.extras.bias !== undefined) {
    lines.push(set(`v_bias_${vector}`, load("v128.load", get("bias_at"), offset)));
  }
  if (state.extras.multiplier !== undefined) {
    if (state.perChannel) {
      lines.push(set(`v_multiplier_${vector}`, load("v128.load", get("multiplier_at"), offset)));
    } else if (vector === 0) lines.push(set("v_multiplier_0", load("v128.load32_splat", get("multiplier"))));
  }
  if (state.extras.outZero !== undefined && vector === 0) {
    lines.push(set("v_out_zero", op("f32x4.convert_i32x4_s", load("v128.load32_splat", get("out_zero")))));
  }
  for (const lane of state.lanes) {
    const { name, element, strides } = lane;
    if (strides.row !== 0) continue;
    const at = get(`${name}_at`);
    if (strides.column === 1) {
      lines.push(set(`v_${name}_${vector}`, loadOperand(lane, at, 4 * vector * elementBytes(element))));
    } else if (vector === 0) lines.push(set(`v_${name}`, loadOperand(lane, at, 0)));
  }
  return lines;
}

/** Turns the sum of one vector into what is stored. */
function finishVector(state: FinishState, row: number, vector: number, pool: Map<string, string>): string[] {
  const name = `v_sum_${row}_${vector}`;
  const lines: string[] = [];
  if (state.extras.bias !== undefined) {
    const add = state.result.kind === "real" ? "f32x4.add" : "i32x4.add";
    lines.push(set(name, op(add, get(name), get(`v_bias_${vector}`))));
  }
  if (state.result.kind === "quantized") lines.push(set(name, requantize(state, get(name), vector, pool)));
  if (state.epilogue !== undefined) {
    const operands = state.lanes.map((lane) => {
      const { name: operand, element, strides } = lane;
      if (strides.column === 0) return { text: get(`v_${operand}`), element };
      if (strides.row === 0) return { text: get(`v_${operand}_${vector}`), element };
      const offset = elementBytes(element) * (row * strides.row + 4 * vector);
      lines.push(set(`v_${operand}_${vector}`, loadOperand(lane, get(`${operand}_at`), offset)));
      return { text: get(`v_${operand}_${vector}`), element };
    });
    const sumElement: ElementType = state.result.kind === "real" ? "f32" : "i32";
    const code = printVector(
      state.epilogue.expression,
      [{ text: get(name), element: sumElement }, ...operands],
      (text) => pooled(pool, text),
    );
    lines.push(set(name, code?.text ?? get(name)));
  }
  return lines;
}

/** i32 codes: round half to even in f32, then add the zero point and clamp. Sums are finite, so the pseudo forms serve. */
function requantize(state: FinishState, sums: string, vector: number, pool: Map<string, string>): string {
  if (state.result.kind !== "quantized") return sums;
  const multiplier = get(state.perChannel ? `v_multiplier_${vector}` : "v_multiplier_0");
  const rounded = op("f32x4.nearest", op("f32x4.mul", op("f32x4.convert_i32x4_s", sums), multiplier));
  const moved = state.extras.outZero === undefined ? rounded : op("f32x4.add", rounded, get("v_out_zero"));
  const raised = op("f32x4.pmax", moved, pooled(pool, vectorLiteral("f32", state.result.low)));
  return op("i32x4.trunc_sat_f32x4_s", op("f32x4.pmin", raised, pooled(pool, vectorLiteral("f32", state.result.high))));
}

/** Stores the first `lanes` of a vector of 4-byte entries. */
function storeLanes(row: number, vector: number, lanes: number, width: number): string[] {
  const offset = 4 * (row * width + 4 * vector);
  const value = get(`v_sum_${row}_${vector}`);
  const at = get("y_at");
  switch (lanes) {
    case 4:
      return [store("v128.store", at, value, offset)];
    case 3:
      return [laneStore(64, at, value, offset, 0), laneStore(32, at, value, offset + 8, 2)];
    case 2:
      return [laneStore(64, at, value, offset, 0)];
    default:
      return [laneStore(32, at, value, offset, 0)];
  }
}

function laneStore(bits: 8 | 16 | 32 | 64, address: string, value: string, offset: number, lane: number): string {
  return `(v128.store${bits}_lane${offset === 0 ? "" : ` offset=${offset}`} ${lane} ${address} ${value})`;
}

/** Stores `count` codes of a row, one byte each. Codes are in range, so saturating narrows keep them. */
function storeCodes(state: FinishState, row: number, count: number): string[] {
  const unsigned = state.stored === "u8";
  const lines: string[] = [];
  for (let first = 0; first < count; first += 8) {
    const vector = first / 4;
    const low = get(`v_sum_${row}_${vector}`);
    const high = first + 4 < count ? get(`v_sum_${row}_${vector + 1}`) : low;
    const halves = op("i16x8.narrow_i32x4_s", low, high);
    lines.push(set("v_codes", op(`i8x16.narrow_i16x8_${unsigned ? "u" : "s"}`, halves, halves)));
    let done = 0;
    const wanted = Math.min(8, count - first);
    for (const bits of [64, 32, 16, 8] as const) {
      const size = bits / 8;
      if (wanted - done < size) continue;
      lines.push(laneStore(bits, get("y_at"), get("v_codes"), row * state.width + first + done, done / size));
      done += size;
    }
  }
  return lines;
}
