/** f32 x f32: panels of columns, rows read in place. */

import type { WasmVariant } from "../kernel.ts";
import { advance, constant, get, type Lines, load, op, repeatWhile, set, sum } from "../text.ts";
import type { DotCore } from "./engine.ts";
import { floatCopier, type RowSource } from "./source.ts";

export interface FloatCoreOptions {
  readonly depth: number;
  readonly panelColumns: number;
  readonly tileRows: number;
  /** Bytes between rows of the left operand. */
  readonly rowBytes: number;
  readonly variant: WasmVariant;
  /** Rows that are copied to scratch first; they are read in place where it is absent. */
  readonly source?: RowSource;
  /** The local that holds the panel's address; `panel` when absent. */
  readonly weights?: string;
}

/** A panel is [depth][panelColumns] f32. */
export function floatPanelBytes(depth: number, panelColumns: number): number {
  return 4 * depth * panelColumns;
}

export function floatCore(options: FloatCoreOptions): DotCore {
  const { depth, panelColumns, tileRows, rowBytes, source } = options;
  const prepare = source === undefined ? undefined : {
    begin: source.begin,
    row: [set("to", get("prepared")), ...source.copyRow(floatCopier)],
    next: source.next,
  };
  return {
    prepare,
    panelColumns,
    panelBytes: floatPanelBytes(depth, panelColumns),
    rowBytes,
    tileRows,
    tile: (rows) => floatTile(options, rows),
  };
}

/** `total + x * y`, in one rounding where the variant may fuse. */
export function multiplyAdd(variant: WasmVariant, x: string, y: string, total: string): string {
  return variant === "relaxed" ? op("f32x4.relaxed_madd", x, y, total) : op("f32x4.add", total, op("f32x4.mul", x, y));
}

/**
 * sum[r][n] = Σ_k x[r][k] * w[k][n]. One row alone leaves too few sums in flight to hide the latency of the addition, so
 * its steps go round several sets of sums that are added at the end.
 */
export function floatTile(options: FloatCoreOptions, rows: number): Lines {
  const { depth, panelColumns, rowBytes, variant } = options;
  const vectors = panelColumns / 4;
  const sets = rows === 1 ? Math.min(4, depth) : 1;
  const unroll = rows === 1 ? sets : depth % 4 === 0 ? 4 : depth % 2 === 0 ? 2 : 1;
  const name = (turn: number, row: number, vector: number): string =>
    turn === 0 ? `v_sum_${row}_${vector}` : `v_part${turn}_${row}_${vector}`;
  const step = (index: number, turn: number): string[] => {
    const lines: string[] = [];
    for (let vector = 0; vector < vectors; vector++) {
      lines.push(set(`v_w_${vector}`, load("v128.load", get("w"), 4 * (index * panelColumns + 4 * vector))));
    }
    for (let row = 0; row < rows; row++) {
      lines.push(set("v_x", load("v128.load32_splat", get("xk"), row * rowBytes + 4 * index)));
      for (let vector = 0; vector < vectors; vector++) {
        const total = name(turn, row, vector);
        lines.push(set(total, multiplyAdd(variant, get("v_x"), get(`v_w_${vector}`), get(total))));
      }
    }
    return lines;
  };

  const lines: (string | Lines)[] = [set("w", get(options.weights ?? "panel")), set("xk", get("x"))];
  const zero = "(v128.const f32x4 0 0 0 0)";
  for (let turn = 0; turn < sets; turn++) {
    for (let row = 0; row < rows; row++) {
      for (let vector = 0; vector < vectors; vector++) lines.push(set(name(turn, row, vector), zero));
    }
  }
  const turns = Math.floor(depth / unroll);
  if (turns > 0) {
    lines.push(set("w_end", sum(get("w"), constant(4 * turns * unroll * panelColumns))));
    lines.push(...repeatWhile("depth", op("i32.lt_u", get("w"), get("w_end")), [
      ...Array.from({ length: unroll }, (_, index) => step(index, sets === 1 ? 0 : index)).flat(),
      advance("w", 4 * unroll * panelColumns),
      advance("xk", 4 * unroll),
    ]));
  }
  for (let index = 0; index < depth - turns * unroll; index++) lines.push(...step(index, sets === 1 ? 0 : index));
  for (let turn = 1; turn < sets; turn++) {
    for (let row = 0; row < rows; row++) {
      for (let vector = 0; vector < vectors; vector++) {
        const total = name(0, row, vector);
        lines.push(set(total, op("f32x4.add", get(total), get(name(turn, row, vector)))));
      }
    }
  }
  return lines;
}
