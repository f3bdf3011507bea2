/** The store of a tile of sums: addresses, bias, requantization, the epilogue, and lanes to memory. */

import type { Graph } from "../../../compiler/ir/graph.ts";
import type { ContractionResult, ValueName } from "../../../compiler/ir/node.ts";
import { elementBytes, type ElementType } from "../../../compiler/numeric/element.ts";
import type { Epilogue } from "../../region.ts";
import {
  advance,
  constant,
  get,
  ifThen,
  type Lines,
  load,
  op,
  repeatWhile,
  set,
  store,
  storeLane,
  storeWords,
  sum,
  times,
} from "../text.ts";
import { printVector, vectorLiteral } from "../vector_expression.ts";
import type { BroadcastStrides } from "./rows.ts";

/** Inputs of a contraction after its two operands, by role. */
export interface ContractionExtras {
  readonly bias?: ValueName;
  readonly multiplier?: ValueName;
  readonly outStep?: ValueName;
  readonly outZero?: ValueName;
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
  /** Prints a long epilogue where it stands: for kernels that store in one place anyway. */
  readonly writtenOut?: boolean;
}

/** An operand of the epilogue. */
export interface EpilogueLane {
  readonly name: string;
  readonly element: ElementType;
  readonly strides: BroadcastStrides;
}

/** A request with what planning found: element and bytes of an entry of the output, and the epilogue's operands. */
export interface StoreState extends FinishRequest {
  readonly lanes: readonly EpilogueLane[];
  readonly stored: ElementType;
  readonly bytes: number;
  readonly perChannel: boolean;
}

/** `keep` leaves the sums of a tile in memory; `store` finishes and stores what was kept last. */
export interface SharedStore {
  readonly keep: (rows: number) => Lines;
  readonly store: Lines;
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
function cornerAddresses(state: StoreState): string[] {
  const lines = [set("y_at", sum(get("y"), times(sum(times(get("row_at"), state.width), get("column")), state.bytes)))];
  if (state.extras.bias !== undefined) lines.push(set("bias_at", columnAddress("bias")));
  if (state.perChannel) lines.push(set("multiplier_at", columnAddress("multiplier")));
  for (const lane of state.lanes) lines.push(set(`${lane.name}_at`, cornerAddress(lane)));
  return lines;
}

/** `body` for whole panels, and for the last one where it holds fewer columns. */
function overColumns({ columns, panelColumns }: StoreState, body: (count: number) => Lines): Lines {
  const partial = columns % panelColumns;
  if (partial === 0) return body(panelColumns);
  if (columns < panelColumns) return body(partial);
  return ifThen(`(i32.eq ${get("panel_column")} (i32.const ${columns - partial}))`, body(partial), body(panelColumns));
}

/** Finishes and stores the sums of a tile, every vector written out. */
export function storeTile(state: StoreState, rows: number): Lines {
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
export function sharedStore(state: StoreState): SharedStore {
  const vectors = state.panelColumns / 4;
  return {
    keep: (rows) => [
      ...Array.from(
        { length: rows * vectors },
        (_, index) =>
          store("v128.store", get("tile"), get(`v_sum_${Math.floor(index / vectors)}_${index % vectors}`), 16 * index),
      ),
      set("tile_rows", constant(rows)),
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
function storeRow(state: StoreState, row: number, count: number, pool: Map<string, string>): string[] {
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
    const offset = 4 * (row * state.width + 4 * vector);
    lines.push(...storeWords(Math.min(4, count - 4 * vector), get("y_at"), get(`v_sum_${row}_${vector}`), offset));
  }
  return lines;
}

function columnAddress(name: string): string {
  return sum(get(name), op("i32.shl", get("column"), constant(2)));
}

function loadColumnOperands(state: StoreState, vector: number): string[] {
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
function finishVector(state: StoreState, row: number, vector: number, pool: Map<string, string>): string[] {
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
function requantize(state: StoreState, sums: string, vector: number, pool: Map<string, string>): string {
  if (state.result.kind !== "quantized") return sums;
  const multiplier = get(state.perChannel ? `v_multiplier_${vector}` : "v_multiplier_0");
  const rounded = op("f32x4.nearest", op("f32x4.mul", op("f32x4.convert_i32x4_s", sums), multiplier));
  const moved = state.extras.outZero === undefined ? rounded : op("f32x4.add", rounded, get("v_out_zero"));
  const raised = op("f32x4.pmax", moved, pooled(pool, vectorLiteral("f32", state.result.low)));
  return op("i32x4.trunc_sat_f32x4_s", op("f32x4.pmin", raised, pooled(pool, vectorLiteral("f32", state.result.high))));
}

/** Stores `count` codes of a row, one byte each. Codes are in range, so saturating narrows keep them. */
function storeCodes(state: StoreState, row: number, count: number): string[] {
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
      lines.push(storeLane(bits, done / size, get("y_at"), get("v_codes"), row * state.width + first + done));
      done += size;
    }
  }
  return lines;
}
